"""Masks drawn for the tests of boundaries, skeletons and objects."""

import cv2
import numpy as np


def mask(*rows):
    """A mask from rows of text: `#` inside, anything else outside."""
    return np.array([[cell == "#" for cell in row] for row in rows], np.uint8)


def blobs(seed, height, width, scale=3.0, share=0.5):
    """Smooth random shapes that cover about this share of the image; the smaller the scale, the finer."""
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=(height, width)), (0, 0), scale)
    return (noise > np.quantile(noise, 1 - share)).astype(np.uint8)


def disc(size, row, column, radius):
    """A disc in a square image."""
    rows, columns = np.mgrid[:size, :size]
    return ((rows - row) ** 2 + (columns - column) ** 2 < radius**2).astype(np.uint8)
