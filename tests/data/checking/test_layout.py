import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seg_scse.config.schema import DataConfig, MaskConfig
from seg_scse.data.checking.check import check_data
from seg_scse.data.checking.layout import folder_config
from seg_scse.data.listing.manifest import build_manifest
from seg_scse.errors import DataError
from seg_scse.training.autoconfig import choose_config

from .unlabelled import draw_bands, draw_pictures

RING = [20, 0, 40, 0, 40, 32, 20, 32]


def by_class(root: Path, *names: str, high: int = 255) -> Path:
    """Six pictures; each class has a folder of masks with the pictures' names, and a part of the columns."""
    draw_pictures(root, 6)
    for at, name in enumerate(names):
        (root / "classes" / name).mkdir(parents=True)
        for image in (root / "images").iterdir():
            mask = np.zeros((32, 40), np.uint8)
            mask[:, 10 * at : 10 * at + 10] = high
            Image.fromarray(mask).save(root / "classes" / name / image.name)
    return root


def coco(path: Path, count: int, *names: str) -> Path:
    images = [{"id": i, "file_name": f"p{i:02}.png", "width": 40, "height": 32} for i in range(count)]
    objects = [
        {"id": i, "image_id": i, "category_id": 1 + i % len(names), "segmentation": [RING], "iscrowd": 0}
        for i in range(count)
    ]
    categories = [{"id": i, "name": name} for i, name in enumerate(("unused", *names))]
    path.write_text(json.dumps({"images": images, "annotations": objects, "categories": categories}))
    return path


def accepted(images: Path, masks: Path) -> DataConfig:
    """The section that is chosen for two folders, with which the check finds no error."""
    config, reasons = choose_config(images, masks, [])
    result = check_data(config.data, chosen=reasons)
    assert [finding.text for finding in result.findings if finding.level == "error"] == []
    assert {"data.mask", "data.classes"} <= {f.text.split(":")[0] for f in result.findings if f.kind == "assumed"}
    return config.data


def test_one_folder_of_masks_per_image_means_objects(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for stem in "ab":
        Image.new("L", (12, 8)).save(tmp_path / "images" / f"{stem}.png")
        (tmp_path / "masks" / stem).mkdir(parents=True)
        Image.new("L", (12, 8), 1).save(tmp_path / "masks" / stem / "1.png")
    assert folder_config(tmp_path / "images", tmp_path / "masks")[0].mask == MaskConfig(encoding="objects")


@pytest.mark.parametrize(("high", "threshold"), [(255, 127), (1, 0)])
def test_one_folder_of_masks_per_class_means_files(tmp_path: Path, high: int, threshold: int) -> None:
    root = by_class(tmp_path, "car", "person", high=high)
    data = accepted(root / "images", root / "classes")
    assert (data.masks, data.classes) == (f"{root}/classes/{{class}}", ("background", "car", "person"))
    assert (data.mask.encoding, data.mask.threshold) == ("files", threshold)


def test_a_folder_of_the_background_is_the_first_class(tmp_path: Path) -> None:
    root = by_class(tmp_path, "Background", "car")
    assert accepted(root / "images", root / "classes").classes == ("Background", "car")


def test_a_coco_file_is_declared_with_the_categories_that_it_uses(tmp_path: Path) -> None:
    images = draw_pictures(tmp_path, 6) / "images"
    data = accepted(images, coco(tmp_path / "coco.json", 6, "car", "person"))
    assert (data.mask.encoding, data.classes) == ("polygons", ("background", "car", "person"))


def test_a_table_of_run_lengths_is_declared_with_its_columns_and_classes(tmp_path: Path) -> None:
    images = draw_pictures(tmp_path, 6) / "images"
    rows = [f"p{i:02}.png,{'ab'[i % 2]},{1 + 32 * 20} 320" for i in range(6)]
    (tmp_path / "rle.csv").write_text("\n".join(["Image,Class,Pixels", *rows]))
    data = accepted(images, tmp_path / "rle.csv")
    assert (data.mask.encoding, data.classes) == ("rle", ("background", "a", "b"))
    assert data.mask.columns.model_dump() == {"id": "Image", "rle": "Pixels", "label": "Class"}


def test_a_folder_of_geojson_is_declared_with_the_property_that_names_classes(tmp_path: Path) -> None:
    images = draw_bands(tmp_path, "uint8", 3, 255) / "images"
    (tmp_path / "polygons").mkdir()
    for index in range(4):
        features = [square(0, "road"), square(200, "house")]
        document = {"type": "FeatureCollection", "features": features, "crs": crs()}
        (tmp_path / "polygons" / f"t{index}.geojson").write_text(json.dumps(document))
    data = accepted(images, tmp_path / "polygons")
    assert (data.mask.encoding, data.mask.field) == ("polygons", "kind")
    assert data.classes == ("background", "house", "road")


def square(x: int, kind: str) -> dict[str, Any]:
    ring = [[x, 0], [x + 150, 0], [x + 150, -320], [x, -320], [x, 0]]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    return {"type": "Feature", "properties": {"kind": kind}, "geometry": geometry}


def crs() -> dict[str, Any]:
    return {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32750"}}


@pytest.mark.parametrize("text", ["", "[1", "[]", '{"categories": 3}', '{"categories": [], "annotations": [7]}', "{}"])
def test_a_damaged_annotation_file_is_refused_by_the_listing(tmp_path: Path, text: str) -> None:
    (tmp_path / "coco.json").write_text(text)
    images = draw_pictures(tmp_path, 3) / "images"
    assert folder_config(images, tmp_path / "coco.json")[0].mask == MaskConfig(encoding="polygons")
    with pytest.raises(DataError, match=r"coco\.json"):
        choose_config(images, tmp_path / "coco.json", [])


def test_overrides_reach_the_listing_and_what_they_contradict_is_left_to_the_choice(tmp_path: Path) -> None:
    root = draw_pictures(tmp_path, 6, values=(3, 9))
    for path in (root / "images").iterdir():
        path.rename(path.with_name(f"{path.stem}_0000.png"))
    config, _ = choose_config(root / "images", root / "masks", ["data.image_suffix=_0000", "data.mask.encoding=index"])
    assert len(build_manifest(config.data).samples) == 6
    assert config.data.mask.values == {3: 0, 9: 1}
    section, _ = folder_config(root / "images", root / "masks", ["data.image_suffix=_0000", "data.mask.values={1: 7}"])
    assert section.image_suffix == "_0000", "class 7 is not there yet"
