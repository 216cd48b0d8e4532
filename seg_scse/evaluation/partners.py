"""Predicting images together with partners, so that one image's gates can be given to another."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from seg_scse.data.files.raster import Array
from seg_scse.data.lazy import ArrayLike
from seg_scse.data.prepare import PreparedData
from seg_scse.data.store import Store
from seg_scse.inference.predictor import Predictor


def with_partners(
    predictor: Predictor, data: PreparedData, indices: Sequence[int], seed: int
) -> tuple[Predictor, PreparedData]:
    """Make each forward pass see every tile followed by the same tile of the image's partner.

    For `probe.from_partner`. The partner goes through the network in the same batch, so that nothing has to be kept:
    twice the time and twice the memory of a batch, however large the images are.

    Args:
        predictor: the network and how it is applied.
        data: the samples.
        indices: the samples that are partners of each other; at least two.
        seed: seed of `partners_of`.

    Returns:
        Predictor and data in their place, for these samples only: the predictions are those of the images.
    """
    store = _PairedStore(data.store, partners_of(indices, seed))
    paired = replace(predictor, model=_FirstHalf(predictor.model), standardize=_Unpaired(predictor.standardize))
    return paired, replace(data, store=store)


def partners_of(indices: Sequence[int], seed: int) -> dict[int, int]:
    """Give each image another image as its partner, each to one: a random cycle through all of them."""
    order = np.random.default_rng(seed).permutation(indices).tolist()
    return dict(zip(order, [*order[1:], order[0]], strict=True))


def fitted(partner: Array, image: Array) -> Array:
    """Bring a partner (h, w, C) to the size of an image (H, W, C): cut at the lower and right side, or mirrored there.

    The same place of both then has the same coordinates, and nothing is resampled, which would change the gates.
    """
    for axis in (0, 1):
        size = image.shape[axis]
        bounce = np.concatenate((np.arange(partner.shape[axis]), np.arange(partner.shape[axis] - 2, 0, -1)))
        partner = np.take(partner, np.resize(bounce, size), axis)
    return partner


class _PairedStore(Store):
    """Each image with its partner behind it in the channels, mirrored or cut to the size of the image."""

    def __init__(self, store: Store, partners: Mapping[int, int]) -> None:
        self._store = store
        self._partners = partners

    def image(self, index: int) -> Array:
        """Pixels of the image and its partner, (H, W, 2 C)."""
        image = np.asarray(self._store.image(index))
        return np.concatenate((image, fitted(np.asarray(self._store.image(self._partners[index])), image)), axis=2)

    def mask(self, index: int) -> ArrayLike:
        """Truth of the image, uint8 (H, W)."""
        return self._store.mask(index)


class _Unpaired(nn.Module):
    """Standardise images (N, 2 C, H, W) that have their partners behind them in the channels, to (2 N, C, H, W)."""

    def __init__(self, standardize: nn.Module) -> None:
        super().__init__()
        self.standardize = standardize

    def forward(self, pairs: Tensor) -> Tensor:
        result: Tensor = self.standardize(torch.cat(pairs.chunk(2, dim=1)))
        return result


class _FirstHalf(nn.Module):
    """Run a network on images and partners, and return what it says of the images."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        return logits[: len(x) // 2]
