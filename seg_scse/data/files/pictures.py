"""The image of a sample, as the configuration declares it: whole, or by windows where the format allows."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from seg_scse.config.schema import DataConfig
from seg_scse.data.files.arrays import ArrayWindows, read_array_header
from seg_scse.data.files.channels import Channels, Valid
from seg_scse.data.files.decoding import kept_dtype
from seg_scse.data.files.georeference import difference_of_places
from seg_scse.data.files.raster import Array, Place, Raster
from seg_scse.data.files.raster_files import RasterWindows, checked_header, window_dtype
from seg_scse.data.files.reading import decode, named, opened
from seg_scse.data.files.signatures import stem_of
from seg_scse.data.names import shown
from seg_scse.data.samples import Sample
from seg_scse.errors import DataError

WINDOWED_FROM = 16_000_000
"""TIFF files of more pixels are read by windows; smaller ones are decoded once."""

_ANY_SIZE = 1 << 40
_CORNER = slice(0, 1)


class _Source(Protocol):
    """A file of which windows can be had; `shape` and `dtype` are those of the file, `partial`: it may lack data."""

    shape: tuple[int, int, int]
    dtype: str
    partial: bool

    def read(self, rows: slice, columns: slice) -> Raster: ...
    def close(self) -> None: ...


class _Whole:
    """A decoded file."""

    def __init__(self, raster: Raster) -> None:
        height, width, bands = raster.pixels.shape
        self.shape, self.dtype = (height, width, bands), raster.pixels.dtype.name
        self.partial = raster.valid is not None
        self._raster = raster

    def read(self, rows: slice, columns: slice) -> Raster:
        height, width, _ = self.shape
        if (rows.start, rows.stop, columns.start, columns.stop) == (0, height, 0, width):
            return self._raster
        valid = None if self._raster.valid is None else self._raster.valid[rows, columns]
        return replace(self._raster, pixels=self._raster.pixels[rows, columns], valid=valid)

    def close(self) -> None:
        """Nothing is open."""


class _Named:
    """A source whose errors name its file."""

    def __init__(self, source: _Source, path: Path) -> None:
        self._source, self._path = source, path
        self.shape, self.dtype, self.partial = source.shape, source.dtype, source.partial

    def read(self, rows: slice, columns: slice) -> Raster:
        with named(self._path):
            return self._source.read(rows, columns)

    def close(self) -> None:
        self._source.close()


class _Stack:
    """One file per band, as one file of several bands."""

    def __init__(self, sources: list[_Source], paths: list[Path]) -> None:
        self._sources = sources
        height, width, _ = sources[0].shape
        self.shape, self.dtype = (height, width, len(sources)), sources[0].dtype
        self.partial = all(source.partial for source in sources)
        first = sources[0].read(_CORNER, _CORNER)
        for source, path in zip(sources, paths, strict=True):
            with named(path):
                self._check(source, source.read(_CORNER, _CORNER), first, shown(paths[0].name))

    def _check(self, source: _Source, corner: Raster, first: Raster, name: str) -> None:
        if corner.kind != "gray" or corner.alpha:
            raise DataError(f"has {source.shape[2]} bands or a palette, but is to be one band of an image.")
        if source.shape[:2] != self.shape[:2]:
            sizes = [f"{shape[1]} x {shape[0]}" for shape in (source.shape, self.shape)]
            raise DataError(f"is {sizes[0]} pixels large, but the band in {name} {sizes[1]}. Resample one of them.")
        if source.dtype != self.dtype:
            raise DataError(f"holds {source.dtype}, but the band in {name} {self.dtype}. Store both in one type.")
        other = difference_of_places(corner.place, first.place, self.shape[:2])
        if other:
            raise DataError(f"lies elsewhere than the band in {name} ({other}). Resample one of them.")

    def read(self, rows: slice, columns: slice) -> Raster:
        """Put the bands side by side; no data is where no band has any."""
        parts = [source.read(rows, columns) for source in self._sources]
        masks = [part.valid for part in parts if part.valid is not None]
        valid = np.logical_or.reduce(masks) if len(masks) == len(parts) else None
        colours = [
            part.pixels if part.palette is None else part.palette[part.pixels[..., 0]][..., :1] for part in parts
        ]
        pixels = np.concatenate(colours, axis=2)
        return replace(parts[0], pixels=pixels, kind="bands", palette=None, valid=valid, names=None)

    def close(self) -> None:
        """The files close by themselves."""


class Picture:
    """The image of one sample, open for reading. For one thread.

    Attributes:
        shape: `(H, W, C)`: upright, with the channels that are given to the network.
        dtype: one of `raster.DTYPES`.
        facts: what was done to the pixels, such as `are grey, repeated to 3 channels`.
        place: georeference or size of the pixels, where the file says so.
        nodata: the no-data value that the file declares, or None.
        windowed: reading a window reads only that part of the file.
        partial: there may be pixels without data; where not, no window has any.
    """

    def __init__(self, source: _Source, path: Path, config: DataConfig, windowed: bool, trained: bool = False) -> None:
        self._source, self._path = source, path
        corner = source.read(_CORNER, _CORNER)
        with named(path):
            self._channels = Channels.decide(corner, config, trained)
        self._whole: tuple[Array, Valid] | None = None
        self.shape = (*source.shape[:2], self._channels.count)
        self.dtype = self._channels.dtype
        self.facts = self._channels.facts
        self.place: Place | None = corner.place
        self.nodata = corner.nodata
        self.windowed = windowed
        self.partial = source.partial or config.nodata is not None or self.dtype == "float32"

    def read(self, rows: slice, cols: slice) -> tuple[Array, Valid]:
        """Read a window.

        Args:
            rows: with start and stop, or without for all; a step is not possible.
            cols: the same.

        Returns:
            pixels `(h, w, C)`, contiguous, in the units of the file; and bool `(h, w)`, False where there is no data:
            the file's no-data value in all its bands or its mask, `data.nodata` in all used bands, NaN or infinity in
            any; None where all of it is valid. Pixels without data hold whatever the file holds.

        Raises:
            DataError: the file cannot be decoded or is not as declared.
        """
        height, width, _ = self.shape
        rows, cols = slice(*rows.indices(height)[:2]), slice(*cols.indices(width)[:2])
        if self.windowed:
            raster = self._source.read(rows, cols)
            with named(self._path):
                return self._channels.apply(raster)
        if self._whole is None:
            raster = self._source.read(slice(0, height), slice(0, width))
            with named(self._path):
                self._whole = self._channels.apply(raster)
        pixels, valid = self._whole
        part = None if valid is None or valid[rows, cols].all() else np.ascontiguousarray(valid[rows, cols])
        return np.ascontiguousarray(pixels[rows, cols]), part


def _source(path: Path, config: DataConfig, plane: int | None, trained: bool) -> tuple[_Source, bool]:
    """Open a file by windows where that pays, else decode it, which asks for `max_pixels` again."""
    by_window = _ANY_SIZE if trained else config.max_pixels
    with opened(path) as (stream, size, format_):
        if format_ == "TIFF":
            header = checked_header(stream, size, by_window)
            if header.shape[0] * header.shape[1] > WINDOWED_FROM and window_dtype(header):
                return RasterWindows(path, header), True
            stream.seek(0)
        elif format_ == "NPY":
            array = read_array_header(stream, size, by_window)
            if kept_dtype(array.dtype) and plane is None:
                return ArrayWindows(path, array), True
            stream.seek(0)
        return _Whole(decode(stream, size, format_, config.max_pixels, plane, config.volume.plane)), False


@contextmanager
def open_picture(sample: Sample, config: DataConfig, trained: bool = False) -> Iterator[Picture]:
    """Open the image of a sample.

    Args:
        sample: `image`, `bands` and `plane` are used.
        config: `channels`, `bands`, `use`, `alpha`, `nodata`, `volume` and `max_pixels` are used.
        trained: it is for a network that exists, whose bands cannot be named otherwise any more. `max_pixels` then
            holds for files that are decoded whole only, since prediction by windows needs little memory.

    Raises:
        DataError: with the name of the file: it cannot be read, or is not as declared.
    """
    if config.volume.neighbours:
        from seg_scse.data.files.neighbours import open_stack  # puts pictures together

        with open_stack(sample, config, open_picture) as stacked:
            yield stacked
        return
    files = [sample.image, *sample.bands]
    if sample.bands and config.bands is not None and len(files) == len(config.bands):
        files = [files[config.bands.index(name)] for name in config.slice_bands]
        config = config.model_copy(update={"bands": config.slice_bands, "use": None})
    with ExitStack() as stack:
        sources: list[_Source] = []
        windowed = True
        for path in files:
            opened_, by_window = _source(path, config, sample.plane, trained)
            sources.append(_Named(opened_, path))
            stack.callback(opened_.close)
            windowed &= by_window
        source = _Stack(sources, files) if len(sources) > 1 else sources[0]
        yield Picture(source, files[0], config, windowed, trained)


def picture_of(raster: Raster, path: Path, config: DataConfig) -> Picture:
    """Return the image of a file that is decoded already, such as a slice of a DICOM series.

    Args:
        raster: what was decoded.
        path: its file, for messages.
        config: as for `open_picture`.

    Raises:
        DataError: it is not as declared.
    """
    return Picture(_Named(_Whole(raster), path), path, config, windowed=False)


def file_sample(path: Path, plane: int | None = None) -> Sample:
    """Return the sample of a file that nobody listed: its id is its stem, and it has no mask."""
    name = shown(stem_of(path))
    return Sample(name, path, (), None, name, plane=plane)
