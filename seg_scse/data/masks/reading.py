"""Mask files to class indices, by the declared encoding: nothing is guessed."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seg_scse.config.data import DataConfig
from seg_scse.config.masks import IGNORE_INDEX
from seg_scse.data.files.georeference import difference_of_places
from seg_scse.data.files.raster import Place, Raster
from seg_scse.data.files.reading import read_raster
from seg_scse.data.files.volumes import is_volume
from seg_scse.data.masks.layers import Layer, combine
from seg_scse.data.masks.polygons import polygon_layers
from seg_scse.data.masks.run_lengths import run_length_layers
from seg_scse.data.masks.values import decode_values, each_band
from seg_scse.data.names import shown
from seg_scse.data.samples import Sample
from seg_scse.errors import DataError

Pixels = NDArray[np.uint8]


def read_mask(sample: Sample, shape: tuple[int, int], place: Place | None, config: DataConfig) -> Pixels:
    """Read the mask of one image.

    Args:
        sample: `masks` holds the file; several (or none) for `encoding=objects`, one for each class after the first
            for `files`, the annotation file for `polygons` and `rle`.
        shape: `(H, W)` of its image.
        place: where the image lies, if it says so: a mask that lies elsewhere is refused, and GeoJSON needs it.
        config: `task`, `mask`, `masks`, `classes`, `alpha`, `volume` and `max_pixels` are used.

    Returns:
        uint8 `(H, W)`. For `task=multiclass` class indices; for `multilabel` bit k-1 of a pixel is set where class k
        is. 255 is ignore in both.

    Raises:
        DataError: a file cannot be read, has another size or place than the image, another encoding than declared,
            values that are not declared, or pixels in two classes.
    """
    image = _Image(sample, shape, place, config)
    read = {"objects": _objects, "files": _files, "bands": _bands, "polygons": _polygons, "rle": _run_lengths}
    return read.get(config.mask.encoding, _one_file)(image)


class _Image:
    """The image whose mask is read, and what its mask files must agree with."""

    def __init__(self, sample: Sample, shape: tuple[int, int], place: Place | None, config: DataConfig) -> None:
        self.sample, self.shape, self.place, self.config = sample, shape, place, config

    def open(self, path: Path) -> Raster:
        """Decode a mask file that covers the image pixel by pixel."""
        plane = self.sample.plane if is_volume(path) else None
        raster = read_raster(path, self.config.max_pixels, plane, self.config.volume.plane)
        height, width = raster.pixels.shape[:2]
        if (height, width) != self.shape:
            raise DataError(
                f"{shown(path)}: the mask is {width} x {height} pixels, but its image {shown(self.sample.image)} is "
                f"{self.shape[1]} x {self.shape[0]}. Correct one of them, or leave the sample out with data.exclude."
            )
        difference = difference_of_places(raster.place, self.place, self.shape)
        if difference:
            raise DataError(
                f"{shown(path)}: the mask lies elsewhere than its image {shown(self.sample.image)}: {difference}. "
                "Bring both onto one grid, or leave the sample out with data.exclude."
            )
        return raster

    def decode(self, path: Path) -> Pixels:
        """Read one file whose pixels are values."""
        raster = self.open(path)
        valid = _valid(raster, path, self.config)
        if valid is None:
            return decode_values(raster, path, self.config)
        result = np.full(self.shape, IGNORE_INDEX, np.uint8)
        if valid.any():
            result[valid] = decode_values(replace(raster, pixels=raster.pixels[valid][None]), path, self.config)[0]
        return result

    def combine(self, layers: Iterator[Layer], source: str) -> Pixels:
        return combine(layers, self.shape, self.config, source)


def _valid(raster: Raster, path: Path, config: DataConfig) -> NDArray[np.bool_] | None:
    """Pixels that have data, or None where all count: by `mask.nodata`."""
    if raster.valid is None or raster.valid.all() or config.mask.nodata == "value":
        return None
    if config.mask.nodata == "ignore":
        return raster.valid
    missing = int((~raster.valid).sum())
    value = "no-data value" if raster.nodata is None else f"no-data value {raster.nodata:g}"
    raise DataError(
        f"{shown(path)}: {missing} of {raster.valid.size} pixels hold the {value} that the file declares. "
        "Put `data.mask.nodata: value` into the configuration if it is an ordinary value, or `data.mask.nodata: "
        "ignore` if such pixels belong to no class."
    )


def _one_file(image: _Image) -> Pixels:
    return image.decode(image.sample.masks[0])


def _objects(image: _Image) -> Pixels:
    union = np.zeros(image.shape, np.uint8)
    for path in image.sample.masks:
        union |= image.decode(path)
    return union


def _files(image: _Image) -> Pixels:
    paths = image.sample.masks
    ignored = np.zeros(image.shape, bool)

    def layers() -> Iterator[Layer]:
        for index, path in enumerate(paths, start=1):
            decoded = image.decode(path)
            np.logical_or(ignored, decoded == IGNORE_INDEX, out=ignored)
            yield index, decoded == 1

    result = image.combine(layers(), ", ".join(map(shown, paths)))
    result[ignored] = IGNORE_INDEX
    return result


def _bands(image: _Image) -> Pixels:
    path = image.sample.masks[0]
    raster = image.open(path)
    valid = _valid(raster, path, image.config)
    result = image.combine(each_band(raster, path, image.config), shown(path))
    if valid is not None:
        result[~valid] = IGNORE_INDEX
    return result


def _polygons(image: _Image) -> Pixels:
    layers = polygon_layers(image.sample, image.shape, image.place, image.config)
    return image.combine(layers, f"{shown(image.sample.masks[0])} ({shown(image.sample.id)})")


def _run_lengths(image: _Image) -> Pixels:
    layers = run_length_layers(image.sample, image.shape, image.config)
    return image.combine(layers, f"{shown(image.sample.masks[0])} ({shown(image.sample.id)})")
