import json
from pathlib import Path

import numpy as np
from rasterio.warp import transform_geom

from seg_scse.data.files.raster import Place

from .masked import mask_of

SQUARE = [1, 1, 3, 1, 3, 3, 1, 3]  # x, y in turn: columns 1 and 2 of rows 1 and 2
UTM = Place("EPSG:32633", (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0), (10.0, 10.0), "m")
BOX = [(1.0, 1.0), (4.0, 1.0), (4.0, 3.0), (1.0, 3.0)]
OLD_CRS = {"crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}}


def coco(path: Path, *segmentations: object, size: tuple[int, int] | None = (4, 5), **keys: object) -> Path:
    """A file of one image `a.png`, a category for each annotation: car and tree in turn."""
    image = {"id": 7, "file_name": "a.png"} | ({} if size is None else {"height": size[0], "width": size[1]})
    annotations = [
        {
            "id": i,
            "image_id": 7,
            "category_id": i % 2 + 1,
            "segmentation": found,
            "iscrowd": int(isinstance(found, dict)),
        }
        for i, found in enumerate(segmentations)
    ]
    categories = [{"id": 1, "name": "car"}, {"id": 2, "name": "tree"}, {"id": 3, "name": "cow"}]
    images = [image, {"id": 8, "file_name": "b.png", "height": 4, "width": 5}]
    document = {"images": images, "annotations": annotations, "categories": categories, **keys}
    path.write_text(json.dumps(document))
    return path


def coco_mask(path: Path, shape: tuple[int, int] = (4, 5), label: str = "a.png", **mask: object) -> np.ndarray:
    return mask_of(path, shape, label=label, classes=("no", "car", "tree"), encoding="polygons", **mask)


def geojson(path: Path, *geometries: object, properties: object = None, **members: object) -> Path:
    features = [{"type": "Feature", "properties": properties, "geometry": geometry} for geometry in geometries]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features, **members}))
    return path


def in_utm(xy: list[tuple[float, float]]) -> list[list[float]]:
    """Corners in pixels of UTM to map coordinates."""
    return [[500_000 + 10 * x, 5_000_000 - 10 * y] for x, y in xy]


def polygon(*rings: list[tuple[float, float]]) -> dict[str, object]:
    return {"type": "Polygon", "coordinates": [in_utm([*ring, ring[0]]) for ring in rings]}


def to_lon_lat(geometry: dict[str, object]) -> dict[str, object]:
    return json.loads(json.dumps(transform_geom("EPSG:32633", "OGC:CRS84", geometry)))


def map_mask(path: Path, shape: tuple[int, int] = (4, 5), place: Place | None = UTM, **options: object) -> np.ndarray:
    return mask_of(path, shape, place=place, encoding="polygons", **options)
