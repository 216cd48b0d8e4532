import json

import pytest

from seg_scse.data.masks.polygons import annotated_names, is_geojson
from seg_scse.errors import DataError

from .annotated import BOX, SQUARE, coco, coco_mask, geojson, polygon, to_lon_lat
from .masked import mask_of


def test_an_image_without_objects_is_background(tmp_path):
    path = coco(tmp_path / "c.json", [SQUARE])
    assert not coco_mask(path, label="b.png").any()
    assert annotated_names(path) == {"a.png": 1, "b.png": 0}
    assert not is_geojson(path)


def test_categories_are_classes_by_name_or_by_labels(tmp_path):
    path = coco(tmp_path / "c.json", [SQUARE], [[3, 0, 5, 0, 5, 1, 3, 1]])
    assert coco_mask(path)[[1, 0], [1, 3]].tolist() == [1, 2]
    assert coco_mask(path, labels={"car": 255, "tree": 0})[[1, 0], [1, 3]].tolist() == [255, 0]
    with pytest.raises(DataError, match=r"undeclared class tree; .* put `data\.mask\.labels: \{'car': 1, 'tree': 2\}`"):
        coco_mask(path, labels={"car": 1})


def test_overlapping_classes_are_refused_or_taken_in_the_order_of_classes(tmp_path):
    path = coco(tmp_path / "c.json", [SQUARE], [[2, 2, 4, 2, 4, 4, 2, 4]])
    with pytest.raises(DataError, match=r"c\.json \(image\): 1 pixel is in two classes: 1 in car and tree"):
        coco_mask(path)
    assert coco_mask(path, overlap="last")[2].tolist() == [0, 1, 2, 2, 0]
    swapped = coco_mask(path, overlap="last", labels={"car": 2, "tree": 1})
    assert swapped[2].tolist() == [0, 2, 2, 1, 0]


def test_objects_of_an_image_are_bits_in_a_multilabel_task(tmp_path):
    path = coco(tmp_path / "c.json", [SQUARE], [[2, 2, 4, 2, 4, 4, 2, 4]])
    assert coco_mask(path, data={"task": "multilabel"})[2].tolist() == [0, 1, 3, 2, 0]


def test_a_file_of_one_image_belongs_to_whatever_image_has_it(tmp_path):
    document = json.loads(coco(tmp_path / "c.json", [SQUARE]).read_text())
    document["images"] = document["images"][:1]
    (tmp_path / "one.json").write_text(json.dumps(document))
    found = mask_of(tmp_path / "one.json", (4, 5), classes=("no", "car"), encoding="polygons")
    assert found.sum() == 4


def test_an_image_that_is_not_listed_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"c\.json: does not list the image z\.png\. List it \(without annotations"):
        coco_mask(coco(tmp_path / "c.json"), label="z.png")


def test_another_size_than_the_annotated_one_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"says that a\.png is 5 x 4 pixels, but image\.png is 10 x 8"):
        coco_mask(coco(tmp_path / "c.json", [SQUARE]), (8, 10))
    assert coco_mask(coco(tmp_path / "n.json", [SQUARE], size=None), (8, 10)).sum() == 4


def test_geojson_names_no_images(tmp_path):
    with pytest.raises(DataError, match="is GeoJSON, which names no images"):
        annotated_names(geojson(tmp_path / "g.json", to_lon_lat(polygon(BOX))))
