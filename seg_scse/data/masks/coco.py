"""COCO annotation files: which objects each image has, as polygons or run lengths."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

import numpy as np
from numpy.typing import NDArray

from seg_scse.data.masks.burning import Polygon, burn
from seg_scse.data.masks.run_lengths import decode_compressed, decode_counts
from seg_scse.data.names import shown, some
from seg_scse.errors import DataError

Mask = NDArray[np.bool_]
Id = int | str
T = TypeVar("T")


@dataclass(frozen=True)
class CocoObject:
    """One annotation.

    Attributes:
        record: where it is, such as `annotations[17]`.
        name: name of its category.
        segmentation: as in the file; checked when it is drawn.
    """

    record: str
    name: str
    segmentation: Any


@dataclass(frozen=True)
class CocoImage:
    """One image: `(H, W)` where the file says so, and its objects."""

    size: tuple[int, int] | None
    objects: list[CocoObject]


@dataclass(frozen=True)
class Coco:
    """All images by name, and the number of objects of each category that has any."""

    images: dict[str, CocoImage]
    labels: Counter[str]


def parse_coco(path: Path, document: dict[str, Any]) -> Coco:
    """Sort the records of a COCO file by image.

    `iscrowd` is not looked at: the pixels of a crowd belong to its class as those of a single object do.

    Raises:
        DataError: a record lacks something, or names an image or a category that the file has not.
    """
    names = _categories(path, document)
    ids = _images(path, document)
    labels: Counter[str] = Counter()
    for at, annotation in enumerate(document["annotations"]):
        record = f"annotations[{at}]"
        _, image = ids[_known(path, record, annotation, "image_id", ids)]
        name = names[_known(path, record, annotation, "category_id", names)]
        image.objects.append(CocoObject(record, name, annotation.get("segmentation")))
        labels[name] += 1
    return Coco(dict(ids.values()), labels)


def _field(path: Path, record: str, entry: object, key: str, fits: Callable[[Any], TypeGuard[T]], kind: str) -> T:
    found = entry.get(key) if isinstance(entry, dict) else None
    if not fits(found):
        raise DataError(f"{shown(path)}, {record}: {key} must be {kind}, not {shown(repr(found))[:80]}.")
    return found


def _is_id(value: object) -> TypeGuard[Id]:
    return isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))


def _is_name(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and bool(value)


def _is_length(value: object) -> TypeGuard[int | None]:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0)


def _id(path: Path, record: str, entry: object, key: str) -> Id:
    return _field(path, record, entry, key, _is_id, "a number or a text")


def _known(path: Path, record: str, annotation: object, key: str, known: Mapping[Id, object]) -> Id:
    found = _id(path, record, annotation, key)
    if found not in known:
        kind = "images" if key == "image_id" else "categories"
        raise DataError(f"{shown(path)}, {record}: {key} {shown(repr(found))[:80]} is not among the file's {kind}.")
    return found


def _categories(path: Path, document: dict[str, Any]) -> dict[Id, str]:
    names: dict[Id, str] = {}
    for at, category in enumerate(document["categories"]):
        record = f"categories[{at}]"
        key = _id(path, record, category, "id")
        if key in names:
            raise DataError(f"{shown(path)}, {record}: the id {shown(repr(key))[:80]} is there twice.")
        names[key] = _field(path, record, category, "name", _is_name, "a text")
    return names


def _images(path: Path, document: dict[str, Any]) -> dict[Id, tuple[str, CocoImage]]:
    """Name and image of each id."""
    ids: dict[Id, tuple[str, CocoImage]] = {}
    for at, image in enumerate(document["images"]):
        record = f"images[{at}]"
        key = _id(path, record, image, "id")
        name = _field(path, record, image, "file_name", _is_name, "a text")
        height, width = (_field(path, record, image, side, _is_length, "a length") for side in ("height", "width"))
        size = None if height is None or width is None else (height, width)
        if key in ids:
            raise DataError(f"{shown(path)}, {record}: the id {shown(repr(key))[:80]} is there twice.")
        ids[key] = (name, CocoImage(size, []))
    twice = [shown(name) for name, count in Counter(name for name, _ in ids.values()).items() if count > 1]
    if twice:
        raise DataError(f"{shown(path)}: {len(twice)} file_name are there twice: {some(twice)}. Keep one of each.")
    return ids


def draw_coco(path: Path, objects: list[CocoObject], shape: tuple[int, int]) -> Mask:
    """Unite objects of an image.

    Args:
        path: the file, for messages.
        objects: of one class.
        shape: `(H, W)` of the image.

    Returns:
        bool `(H, W)`.

    Raises:
        DataError: naming the record that is no outline, or does not fit the image.
    """
    union = np.zeros(shape, np.bool_)
    polygons: list[Polygon] = []
    for one in objects:
        where = f"{shown(path)}, {one.record}"
        if isinstance(one.segmentation, dict):
            union |= _runs(one.segmentation, shape, where)
        else:
            polygons += [[_ring(ring, shape, where)] for ring in _rings(one.segmentation, where)]
    if polygons:
        union |= burn(polygons, shape, shown(path))
    return union


def _runs(segmentation: dict[str, Any], shape: tuple[int, int], where: str) -> Mask:
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size != list(shape):
        raise DataError(
            f"{where}: its run lengths are for size {shown(repr(size))[:80]}, but the image has {list(shape)} "
            "(height, width)."
        )
    if isinstance(counts, str):
        counts = decode_compressed(counts, where)
    if not isinstance(counts, list):
        raise DataError(f"{where}: counts must be a list or a text, not {shown(repr(counts))[:80]}.")
    return decode_counts(counts, shape, where)


def _rings(segmentation: object, where: str) -> list[Any]:
    if not isinstance(segmentation, list) or not segmentation:
        raise DataError(
            f"{where}: has no outline (segmentation is {shown(repr(segmentation))[:80]}); a box does not say which "
            "pixels are meant. Draw the outline or remove the annotation."
        )
    return segmentation


def _ring(flat: object, shape: tuple[int, int], where: str) -> NDArray[np.float64]:
    """Corners `(N, 2)`, x and y in pixels from the upper left corner of the image."""
    try:
        numbers = np.asarray(flat, np.float64)
    except (TypeError, ValueError, OverflowError):
        numbers = np.empty((0, 0))
    if numbers.ndim != 1 or numbers.size < 6 or numbers.size % 2 or not np.isfinite(numbers).all():
        raise DataError(
            f"{where}: a polygon is a list of at least 6 numbers, x and y in turn, not {shown(repr(flat))[:80]}."
        )
    corners = numbers.reshape(-1, 2)
    if (corners.min(0) >= shape[::-1]).any() or (corners.max(0) <= 0).any():
        raise DataError(
            f"{where}: the polygon from x, y = {_pair(corners.min(0))} to {_pair(corners.max(0))} lies outside the "
            f"image of {shape[1]} x {shape[0]} pixels."
        )
    return corners


def _pair(corner: NDArray[np.float64]) -> str:
    return f"{corner[0]:g}, {corner[1]:g}"
