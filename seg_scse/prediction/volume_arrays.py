"""What is predicted of a volume, collected slice by slice on the voxels of its file."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seg_scse.data.files.volumes import Header, on_screen
from seg_scse.inference.predictor import Network
from seg_scse.inference.uncertainty import entropy_of

Volume = NDArray[np.float32]
Part = Callable[[NDArray[Any]], NDArray[Any]]
"""Cuts the same part out of an array of the volume, which can be written to."""


class Found(NamedTuple):
    """What the network says of a slice, on the pixels of the volume.

    Attributes:
        view: plane of the slice.
        number: of the slice, from 0.
        valid: bool (H, W), False where there is no data; None where all is.
        probabilities: float32 (K', H, W).
        entropy: float32 (H, W), nats: mean over the passes; None where it was not asked for.
    """

    view: str
    number: int
    valid: NDArray[np.bool_] | None
    probabilities: Tensor
    entropy: Tensor | None


@dataclass(frozen=True)
class Wanted:
    """What is collected beside the labels."""

    probabilities: bool = False
    uncertainty: bool = False


class VolumeArrays:
    """Labels, probabilities and uncertainty of a volume; arrays are in the axes of the file, first axis innermost.

    Attributes:
        labels: uint8 `(X, Y, Z)`; 0 where there is no data.
        uncertainty: float32 `(X, Y, Z, 2)`, nats; None where it is not wanted.
    """

    def __init__(self, header: Header, network: Network, planes: int, wanted: Wanted) -> None:
        """Take the memory that does not depend on the network.

        Args:
            header: of the volume.
            network: what chooses labels.
            planes: in how many planes each voxel is predicted.
            wanted: what is collected.
        """
        self._header, self._network, self._planes, self._wanted = header, network, planes, wanted
        self._shape = header.spatial
        self._sums: Volume | None = None
        self._entropies: Volume | None = self._new(np.float32) if wanted.uncertainty and planes > 1 else None
        self._missing: NDArray[np.bool_] | None = None
        self.labels: NDArray[np.uint8] = self._new(np.uint8)
        self.uncertainty: Volume | None = self._new(np.float32, 2) if wanted.uncertainty else None

    def _new(self, dtype: type[np.generic], *last: int) -> NDArray[Any]:
        return np.zeros((*self._shape, *last), dtype, order="F")

    def add(self, found: Found) -> None:
        """Take a slice."""
        if found.valid is not None:
            if self._missing is None:
                self._missing = self._new(np.bool_)
            self._slice(self._missing, found)[...] |= ~found.valid
        if self._wanted.probabilities or self._planes > 1:
            if self._sums is None:
                self._sums = self._new(np.float32, len(found.probabilities))
            self._slice(self._sums, found)[...] += found.probabilities.permute(1, 2, 0).cpu().numpy()
        if self._planes == 1:
            self._decide(lambda array: self._slice(array, found), found.probabilities, found.entropy)
        elif self._entropies is not None and found.entropy is not None:
            self._slice(self._entropies, found)[...] += found.entropy.cpu().numpy()

    def _slice(self, array: NDArray[Any], found: Found) -> NDArray[Any]:
        """Return a slice of an array, `(H, W, ...)`, that can be written to."""
        return on_screen(self._header.canonical(array), found.number, found.view)

    def _decide(self, part: Part, probabilities: Tensor, entropy: Tensor | None) -> None:
        """Choose the labels of a part of the volume, and tell how sure they are."""
        part(self.labels)[...] = self._network.labels(probabilities)
        if self.uncertainty is not None and entropy is not None:
            whole = entropy_of(probabilities, self._network.multilabel)
            both = torch.stack((whole, (whole - entropy).clamp_min(0)), -1)
            part(self.uncertainty)[...] = both.cpu().numpy()

    def finish(self) -> None:
        """Take the mean over the planes, and clear what was said where there is no data."""
        if self._planes > 1:
            for number in range(self._shape[2]):
                self._average(number)
        if self._missing is not None:
            self.labels[self._missing] = 0
            for array in (self._sums, self.uncertainty):
                if array is not None:
                    array[self._missing] = np.nan
        self._entropies = None

    def _average(self, last: int) -> None:
        """Decide a slab across the last axis of the file, which lies together in memory."""
        assert self._sums is not None
        sums = self._sums[:, :, last]
        sums /= self._planes
        probabilities = torch.from_numpy(np.ascontiguousarray(sums.transpose(2, 0, 1)))
        entropy = None
        if self._entropies is not None:
            entropy = torch.from_numpy(self._entropies[:, :, last] / np.float32(self._planes))
        self._decide(lambda array: array[:, :, last], probabilities, entropy)

    @property
    def probabilities(self) -> Volume | None:
        """float32 `(X, Y, Z, K')`; None where they are not wanted."""
        return self._sums if self._wanted.probabilities else None

    @property
    def nodata(self) -> int:
        """Number of voxels without data."""
        return 0 if self._missing is None else int(self._missing.sum())

    def counts(self, classes: int) -> tuple[int, ...]:
        """Count the voxels of each class that hold data; of multilabel class 0 has those without a label."""
        found = np.zeros(256, np.int64)
        for last in range(self.labels.shape[2]):  # bincount makes eight bytes of one
            slab = self.labels[..., last]
            held = slab if self._missing is None else slab[~self._missing[..., last]]
            found += np.bincount(held.ravel(order="K"), minlength=256)
        if not self._network.multilabel:
            return tuple(found[:classes].tolist())
        bits = [int(found[[value for value in range(256) if value >> bit & 1]].sum()) for bit in range(classes - 1)]
        return (int(found[0]), *bits)
