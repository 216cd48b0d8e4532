"""Data: from files of many kinds to checked uint8 images and class-index masks, and on to batches.

`manifest` says which files belong together and in which split, `reading` and `masks` decode one file, `store` checks
and caches all of them, `cards` and `archives` know the public data sets.
"""
