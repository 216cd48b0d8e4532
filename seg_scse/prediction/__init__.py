"""Predictions of files that nobody has labelled: any number, any size, in standard formats."""
