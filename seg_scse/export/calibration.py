"""Tiles of training images, by which the ranges of int8 numbers are chosen."""

import numpy as np
import torch
from torch import Tensor

from seg_scse.data.prepare import PreparedData
from seg_scse.export.evidence import middle, spread
from seg_scse.inference.predictor import Predictor
from seg_scse.inference.rows import padded

TILES = 64
"""Training images that one tile each is taken of; more hardly change the ranges."""


def calibration_tiles(reference: Predictor, data: PreparedData) -> list[Tensor]:
    """Cut a tile from the middle of training images, as the network sees it.

    Args:
        reference: says how large tiles are, and standardises them.
        data: the data of the training.

    Returns:
        standardised (1, C, tile, tile) float32 each, contiguous.

    Raises:
        DataError: there are no training images, or one cannot be read.
    """
    tile = reference.tile
    found = []
    for index in spread(data.require("train", "int8 is calibrated on training images."), TILES):
        pixels = padded(middle(data.store.image(index), tile), tile)
        images = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None]
        found.append(reference.standardize(images).contiguous())
    return found
