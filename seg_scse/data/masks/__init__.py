"""Mask files to class indices, by the declared encoding."""
