"""What is written of an image, once all of its strips are there: from memory, or from the files of a scene's strips."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from seg_scse.config.data import DataConfig
from seg_scse.data.files.raster import Place
from seg_scse.inference.spacing import Spacing
from seg_scse.prediction.folder import Folder
from seg_scse.prediction.inputs.opening import Opened
from seg_scse.prediction.settings import Choices, Kind
from seg_scse.prediction.writing.areas import Areas, ClassCounts, count_classes, pixel_areas
from seg_scse.prediction.writing.pictures import write_overlay
from seg_scse.prediction.writing.polygons import write_polygons
from seg_scse.prediction.writing.rasters import (
    NODATA,
    probability_names,
    write_label_map,
    write_probabilities,
    write_uncertainty,
)

Array = NDArray[Any]
Part = dict[Kind, Array]
"""What is known of a strip: `labels` uint8 (h, W), `probabilities` (K', h, W), `uncertainty` float32 (B, h, W)."""

LARGE = 16_000_000
"""Images of more pixels are scenes: their finished strips are kept as files."""

UNCERTAINTY = ("entropy", "disagreement")


class Maps(Protocol):
    """The maps of an image, strip by strip from its top, such as a `StripStore`."""

    def strips(self, name: Kind) -> Iterator[Array]:
        """Yield one map; each time from the start."""
        ...


@dataclass(frozen=True)
class InMemory:
    """The maps of an image that is no scene."""

    parts: Sequence[Part]

    def strips(self, name: Kind) -> Iterator[Array]:
        """Yield one map."""
        for part in self.parts:
            yield part[name]


@dataclass(frozen=True)
class Written:
    """What was written of an image: the files, and what they hold."""

    outputs: tuple[Path, ...]
    counts: ClassCounts
    area_unit: str


def is_large(shape: Sequence[int]) -> bool:
    """Tell whether an image (H, W, C) is a scene."""
    return shape[0] * shape[1] > LARGE


@dataclass(frozen=True)
class Outputs:
    """How the maps of images are written.

    Attributes:
        folder: where.
        choices: what, and in which form.
        config: `classes` and `task` are used.
        spacing: configured size of a pixel, which comes before that of the files; or None.
    """

    folder: Folder
    choices: Choices
    config: DataConfig
    spacing: Spacing | None = None

    def write(self, item_id: str, image: Opened, maps: Maps) -> Written:
        """Write all that was asked for, each file complete or absent.

        Raises:
            DataError: the image cannot be read again, or its id is no name for a file.
            WriteError: a file cannot be written.
        """
        shape = (image.shape[0], image.shape[1])
        areas = pixel_areas(image.place, shape, self.spacing)
        outputs = [path for path in self._rasters(item_id, shape, image.place, maps) if path is not None]
        if "overlays" in self.choices.save:
            path = self.folder.path("overlays", item_id, ".png")
            write_overlay(path, image, maps.strips("labels"), task=self.config.task)
            outputs.append(path)
        if "polygons" in self.choices.save:
            outputs.append(self._polygons(item_id, shape, image.place, maps, areas))
        return Written(tuple(outputs), self._counts(maps, areas), areas.unit)

    def _rasters(self, item_id: str, shape: tuple[int, int], place: Place | None, maps: Maps) -> Iterator[Path | None]:
        data = self.config
        if "labels" in self.choices.save:
            yield self._label_map(self.folder.path("labels", item_id, self._suffix(shape, place)), shape, place, maps)
        if "probabilities" in self.choices.save:
            path = self.folder.path("probabilities", item_id, ".tif")
            names = probability_names(data.classes, data.task)
            dtype = self.choices.probabilities
            write_probabilities(path, maps.strips("probabilities"), shape, place, names=names, dtype=dtype)
            yield path
        if "uncertainty" in self.choices.save:
            path = self.folder.path("uncertainty", item_id, ".tif")
            bands = len(next(maps.strips("uncertainty")))
            write_uncertainty(path, maps.strips("uncertainty"), shape, place, names=UNCERTAINTY[:bands])
            yield path

    def _label_map(self, path: Path, shape: tuple[int, int], place: Place | None, maps: Maps) -> Path:
        labels, data = maps.strips("labels"), self.config
        write_label_map(path, labels, shape, place, classes=data.classes, task=data.task, nodata=NODATA)
        return path

    def _suffix(self, shape: tuple[int, int], place: Place | None) -> str:
        if self.choices.format != "auto":
            return f".{self.choices.format}"
        placed = place is not None and (place.crs is not None or place.transform is not None)
        return ".tif" if placed or is_large(shape) else ".png"

    def _polygons(self, item_id: str, shape: tuple[int, int], place: Place | None, maps: Maps, areas: Areas) -> Path:
        """Outline the regions of the label map; a scene's is on the disk, there for that alone where need be."""
        path = self.folder.path("polygons", item_id, f".{self.choices.polygons}")
        own = None
        if not is_large(shape):
            label_map: Path | Array = np.concatenate(list(maps.strips("labels")))
        elif "labels" in self.choices.save:
            label_map = self.folder.path("labels", item_id, self._suffix(shape, place))
        else:
            own = label_map = self.folder.strips(item_id).with_suffix(".tif")
            self._label_map(own, shape, place, maps)
        try:
            write_polygons(
                path,
                label_map,
                place,
                self.config.classes,
                self.config.task,
                areas=areas,
                simplify=self.choices.simplify,
                min_area=self.choices.min_area,
                nodata=NODATA,
            )
        finally:
            if own is not None:
                with suppress(OSError):
                    own.unlink()
        return path

    def _counts(self, maps: Maps, areas: Areas) -> ClassCounts:
        classes, row = len(self.config.classes), 0
        total = ClassCounts.none(classes)
        for strip in maps.strips("labels"):
            total += count_classes(strip, areas.rows[row : row + len(strip)], classes, self.config.task, NODATA)
            row += len(strip)
        return total
