"""Pixel counts and the scores computed from them."""
