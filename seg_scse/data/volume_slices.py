"""The slices of a volume that is in no data set, in any plane, as a trained network is to see them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seg_scse.config.schema import DataConfig
from seg_scse.data.bands import Valid
from seg_scse.data.files.neighbours import stacked
from seg_scse.data.files.pictures import Picture, open_picture, picture_of
from seg_scse.data.files.raster import Array
from seg_scse.data.files.series import read_series
from seg_scse.data.files.volumes import Header, volume_header
from seg_scse.data.lazy import ArrayLike
from seg_scse.data.names import shown
from seg_scse.data.samples import Sample
from seg_scse.data.scaling import Scaled, Scaling
from seg_scse.data.seen import Filled, Seen, scaling_of
from seg_scse.errors import DataError

_CANONICAL = ("sagittal", "coronal", "axial")  # across the axes right, front, head
_APART = 0.5  # voxels

OpenSlice = Callable[[str, int], AbstractContextManager[Picture]]
"""Opens a slice of a plane, by its number."""


class Slice(NamedTuple):
    """A slice with its channels.

    Attributes:
        pixels: `(H, W, C)`, filled where there is no data; with a scaling in the file's units, else uint8 or float32 in
            [0, 1].
        valid: bool `(H, W)`, False where there is no data; None where all is.
        scaling: how values become numbers in [0, 1].
    """

    pixels: Array
    valid: Valid | None
    scaling: Scaling | None

    @property
    def image(self) -> ArrayLike:
        """What a network is given; an ensemble may look for the pixels behind it, to scale them for each member."""
        return self.pixels if self.scaling is None else Scaled(self.pixels, self.scaling)


class VolumeSlices:
    """A volume, slice by slice. For one thread at a time.

    Attributes:
        name: of its file, for messages.
        header: where its voxels lie.
    """

    def __init__(
        self, path: Path, header: Header, opener: OpenSlice, config: DataConfig, state: Mapping[str, Any] | None
    ) -> None:
        """Read nothing yet.

        Args:
            path: the file, or the first of several.
            header: where the voxels lie.
            opener: opens a slice.
            config: the `data` section of the run, its card resolved.
            state: the scaling that its checkpoint keeps (`Scales.as_state`).
        """
        self.name, self.header = shown(path), header
        self._open, self._config, self._state = opener, config, state

    def read(self, view: str, number: int) -> Slice:
        """Read a slice as `evaluate` shows it to the network.

        Args:
            view: `axial`, `coronal` or `sagittal`.
            number: of the slice, from 0.

        Raises:
            DataError: with the name of the file: it cannot be read, or is not as declared.
        """
        height, width = self.header.slice_shape(view)
        whole = slice(0, height), slice(0, width)
        with self._open(view, number) as picture:
            filled = Filled(picture, self.name)
            if self._config.scale.method == "dtype":
                by_type = scaling_of([filled], self._config, self._state)
                return Slice(*Seen(filled, self._config, by_type).read(*whole), None)
            scaling = self._scaling if self._config.scale.per == "file" else self._shared
            return Slice(*filled.read(*whole), scaling)

    @cached_property
    def _shared(self) -> Scaling | None:
        """The one of the training."""
        return scaling_of([], self._config, self._state)

    @cached_property
    def _scaling(self) -> Scaling | None:
        """One for the volume, measured over the slices that a run would list, whatever plane is predicted."""
        volume = self._config.volume
        numbers = range(0, self.header.along(volume.plane), volume.every)
        slices = [Filled(_Slice(partial(self._open, volume.plane, number)), self.name) for number in numbers]
        return scaling_of(slices, self._config, self._state)


class _Slice:
    """A slice that is in memory only while it is read."""

    def __init__(self, opener: Callable[[], AbstractContextManager[Picture]]) -> None:
        self._open = opener
        with opener() as picture:
            self.shape, self.dtype, self.facts = picture.shape, picture.dtype, picture.facts

    def read(self, rows: slice, cols: slice) -> tuple[Array, Valid | None]:
        """Pixels `(h, w, C)` of a window, and which of them hold data; None where all do."""
        with self._open() as picture:
            return picture.read(rows, cols)


def volume_slices(files: Sequence[Path], config: DataConfig, state: Mapping[str, Any] | None) -> VolumeSlices:
    """Open a NIfTI volume.

    Args:
        files: the file, or one for each of `data.bands`.
        config: the `data` section of the run, its card resolved.
        state: the scaling that its checkpoint keeps.

    Raises:
        DataError: no volume, or the bands are not of one size and place.
    """
    headers = [volume_header(path) for path in files]
    for path, header in zip(files, headers, strict=True):
        _require_together(path, header, files[0], headers[0])

    def opener(view: str, number: int) -> AbstractContextManager[Picture]:
        sample = Sample(shown(files[0]), files[0], (), None, "", bands=tuple(files[1:]), plane=number)
        return open_picture(sample, in_plane(config, view))

    return VolumeSlices(files[0], headers[0], opener, config, state)


def _require_together(path: Path, header: Header, first: Path, wanted: Header) -> None:
    """Refuse a band that is not on the voxels of the first; a slice alone does not tell which one it is."""
    if header.spatial != wanted.spatial:
        own, other = (" x ".join(map(str, each.spatial)) for each in (header, wanted))
        raise DataError(
            f"{shown(path)}: has {own} voxels, but the band in {shown(first.name)} {other}. Resample one of them."
        )
    lengths = [range(0, wanted.along(view), max(1, wanted.along(view) - 1)) for view in _CANONICAL]
    corners = np.array([(*corner, 1) for corner in product(*lengths)], np.float64).T
    apart = np.abs(np.linalg.solve(wanted.affine, header.affine @ corners) - corners).max()
    if apart > _APART:
        raise DataError(
            f"{shown(path)}: lies elsewhere than the band in {shown(first.name)} (a shift of up to {apart:.3g} "
            "voxels). Resample one of them."
        )


def series_slices(files: Sequence[Path], config: DataConfig, state: Mapping[str, Any] | None) -> VolumeSlices:
    """Open a DICOM series.

    Args:
        files: its slices, in any order.
        config: the `data` section of the run, its card resolved.
        state: the scaling that its checkpoint keeps.

    Raises:
        DataError: the files are no volume (see `series.read_series`).
    """
    series = read_series(files, config.max_pixels)
    path = series.files[0]

    @contextmanager
    def opener(view: str, number: int) -> Iterator[Picture]:
        count, neighbours = series.header.along(view), config.volume.neighbours

        def one(plane: int) -> Picture:
            return picture_of(series.slice(plane, view), path, config)

        yield stacked(one, number, count, neighbours)

    return VolumeSlices(path, series.header, opener, config, state)


def in_plane(config: DataConfig, view: str) -> DataConfig:
    """Return the section for slices of another plane."""
    return config.model_copy(update={"volume": config.volume.model_copy(update={"plane": view})})
