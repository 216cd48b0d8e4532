"""Polygons as masks: COCO files with pixel coordinates, and GeoJSON with coordinates on the map."""

from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path, PurePath

from seg_scse.config.data import DataConfig
from seg_scse.config.wording import counted
from seg_scse.data.files.raster import Place
from seg_scse.data.masks.annotations import load_json, parsed
from seg_scse.data.masks.burning import Polygon, burn
from seg_scse.data.masks.coco import Coco, CocoImage, draw_coco, parse_coco
from seg_scse.data.masks.geojson import Feature, Features, on_pixels, parse_geojson
from seg_scse.data.masks.layers import Layer, class_indices
from seg_scse.data.names import shown, some
from seg_scse.data.samples import Sample
from seg_scse.errors import DataError

_COCO_KEYS = ("images", "annotations", "categories")
_GEOJSON_TYPES = ("FeatureCollection", "Feature", "Polygon", "MultiPolygon", "GeometryCollection")


def annotated_names(path: Path) -> dict[str, int]:
    """Name every image of a COCO file, in the order of the file, with its number of objects.

    Raises:
        DataError: the file cannot be read, or is GeoJSON, which names no images.
    """
    document = _document(path)
    if isinstance(document, Features):
        raise DataError(f"{shown(path)}: is GeoJSON, which names no images: each image takes what lies on it.")
    return {name: len(image.objects) for name, image in document.images.items()}


def is_geojson(path: Path) -> bool:
    """Tell whether an annotation file is GeoJSON, which names no images.

    Raises:
        DataError: the file cannot be read, or is neither COCO nor GeoJSON.
    """
    return isinstance(_document(path), Features)


def polygon_layers(sample: Sample, shape: tuple[int, int], place: Place | None, config: DataConfig) -> Iterator[Layer]:
    """Yield the classes of one image from its annotation file.

    Args:
        sample: `masks` is the file; `label` the name of the image in it (None: its file name, or the only image).
        shape: `(H, W)` of the image.
        place: where the image lies, for GeoJSON.
        config: `classes`, `masks`, `mask.labels` and `mask.field` are used.

    Raises:
        DataError: the file does not name the image, a class is not declared, or an outline does not fit the image.
    """
    path = sample.masks[0]
    document = _document(path)
    if isinstance(document, Features):
        yield from _geojson_layers(document, sample, shape, place, config)
        return
    image = _image(path, document, sample, shape)
    indices = class_indices(document.labels, [one.name for one in image.objects], path, config)
    for index in sorted(set(indices.values()) - {0}):
        yield index, draw_coco(path, [one for one in image.objects if indices[one.name] == index], shape)


def _document(path: Path) -> Coco | Features:
    return parsed(path, _parse)


def _parse(path: Path, data: bytes) -> Coco | Features:
    document = load_json(path, data)
    if isinstance(document, dict):
        if all(isinstance(document.get(key), list) for key in _COCO_KEYS):
            return parse_coco(path, document)
        if document.get("type") in _GEOJSON_TYPES:
            return parse_geojson(path, document)
    found = some([shown(key) for key in document], 8) if isinstance(document, dict) else "a list"
    raise DataError(
        f"{shown(path)}: is neither COCO (lists of images, annotations and categories) nor GeoJSON (type: "
        f"FeatureCollection): it holds {found}. Convert it to one of the two."
    )


def _image(path: Path, document: Coco, sample: Sample, shape: tuple[int, int]) -> CocoImage:
    name = sample.label or sample.image.name
    if sample.label is None and len(document.images) == 1:  # a file for each image
        name = next(iter(document.images))
    image = document.images.get(name)
    if image is None:
        raise DataError(
            f"{shown(path)}: does not list the image {shown(name)}. List it (without annotations where nothing is "
            "there), or leave the sample out with data.exclude."
        )
    if image.size not in (None, shape):
        height, width = image.size or shape
        raise DataError(
            f"{shown(path)}: says that {shown(name)} is {width} x {height} pixels, but {shown(sample.image)} is "
            f"{shape[1]} x {shape[0]}. Use the file that was annotated."
        )
    return image


def _geojson_layers(
    data: Features, sample: Sample, shape: tuple[int, int], place: Place | None, config: DataConfig
) -> Iterator[Layer]:
    path = sample.masks[0]
    found = on_pixels(path, data, place, shape)
    if data.features and not found and path.name != PurePath(config.masks).name:  # one file for all may miss an image
        count = len(data.features)
        none = f"none of its {count} features lies" if count > 1 else "none of its features lies"
        raise DataError(
            f"{shown(path)}: {none} on {shown(sample.image)}: are longitude "
            "and latitude swapped, or is it another image's? Correct it, or use a file without features."
        )
    indices = _classes(path, data, [feature for feature, _ in found], config)
    for index in sorted(set(indices) - {0}):
        polygons: list[Polygon] = [
            polygon for (_, parts), target in zip(found, indices, strict=True) if target == index for polygon in parts
        ]
        yield index, burn(polygons, shape, shown(path))


def _classes(path: Path, data: Features, features: list[Feature], config: DataConfig) -> list[int]:
    """Class index of each feature."""
    field = config.mask.field
    if field is None:
        if len(config.classes) > 2:
            raise DataError(
                f"{shown(path)}: which of the {len(config.classes)} classes is a feature? Name the property that says "
                f"so in data.mask.field; the features have {_properties(data)}."
            )
        return [1] * len(features)
    labels = [feature.label(field) for feature in features]
    lacking = [feature.record for feature, label in zip(features, labels, strict=True) if label is None]
    if lacking:
        raise DataError(
            f"{shown(path)}: {counted(len(lacking), 'feature')} without a property {shown(field)} that holds a text or "
            f"number: {some(lacking)}. The features have {_properties(data, field)}: correct data.mask.field."
        )
    names: list[str] = [label for label in labels if label is not None]
    indices = class_indices(data.counts(field), names, path, config)
    return [indices[name] for name in names]


def _properties(data: Features, wanted: str = "") -> str:
    """Name the properties that features have, the one most like the wanted one first."""

    def unlikeness(name: str) -> tuple[float, str]:
        return -SequenceMatcher(None, name.lower(), wanted.lower()).ratio(), name

    known = sorted({name for feature in data.features for name in feature.properties}, key=unlikeness)
    return some([shown(name) for name in known], 8) or "none"
