import numpy as np
import pytest
from matplotlib.path import Path as Outline
from PIL import Image, ImageDraw

from seg_scse.data.masks.polygons import annotated_names
from seg_scse.errors import DataError

from .annotated import SQUARE, coco, coco_mask


def test_a_polygon_has_the_pixels_whose_centres_are_inside(tmp_path):
    assert coco_mask(coco(tmp_path / "c.json", [SQUARE])).tolist() == [
        [0, 0, 0, 0, 0],
        [0, 1, 1, 0, 0],
        [0, 1, 1, 0, 0],
        [0, 0, 0, 0, 0],
    ]
    little_larger = coco(tmp_path / "l.json", [[0.6, 0.4, 3.4, 0.4, 3.4, 3, 0.6, 3]])
    assert coco_mask(little_larger).sum(1).tolist() == [2, 2, 2, 0]  # centres 1.5 and 2.5 of rows 0.5 to 2.5


def test_random_polygons_are_those_of_another_implementation(tmp_path):
    random = np.random.default_rng(3)
    rows, columns = np.mgrid[:40, :50]
    centres = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], axis=1)
    for number in range(20):
        angles = np.sort(random.uniform(0, 2 * np.pi, 9))
        radii = random.uniform(5, 24, 9)
        corners = np.stack([25 + radii * np.cos(angles), 20 + radii * np.sin(angles)], axis=1)
        path = coco(tmp_path / f"{number}.json", [corners.ravel().tolist()], size=(40, 50))
        inside = Outline(corners).contains_points(centres).reshape(40, 50)
        assert np.array_equal(coco_mask(path, (40, 50)), inside)


def test_pillow_fills_the_same_pixels_away_from_the_outline(tmp_path):
    corners = [5.2, 4.1, 45.7, 9.3, 40.2, 35.9, 12.4, 30.8]
    drawn, edge = Image.new("L", (50, 40)), Image.new("L", (50, 40))
    ImageDraw.Draw(drawn).polygon(corners, fill=1)
    ImageDraw.Draw(edge).line([*corners, *corners[:2]], fill=1, width=5)
    away = np.asarray(edge) == 0
    found = coco_mask(coco(tmp_path / "c.json", [corners], size=(40, 50)), (40, 50))
    assert away.sum() > 1400
    assert np.array_equal(found[away], np.asarray(drawn)[away])


def test_parts_and_objects_of_one_class_are_united_not_exchanged(tmp_path):
    other = [2, 2, 4, 2, 4, 4, 2, 4]
    expected = [[0, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 0]]
    assert coco_mask(coco(tmp_path / "parts.json", [SQUARE, other])).tolist() == expected
    objects = coco(tmp_path / "objects.json", [SQUARE], [other])
    assert coco_mask(objects, labels={"car": 1, "tree": 1}).tolist() == expected


def test_a_polygon_may_reach_over_the_edge_but_not_lie_outside(tmp_path):
    assert coco_mask(coco(tmp_path / "c.json", [[-5, -5, 2, -5, 2, 2, -5, 2]])).sum() == 4
    outside = coco(tmp_path / "o.json", [[5, 0, 9, 0, 9, 2, 5, 2]])
    with pytest.raises(DataError, match=r"annotations\[0\]: the polygon from x, y = 5, 0 to 9, 2 lies outside the ima"):
        coco_mask(outside)


def test_crowds_have_run_lengths_and_belong_to_their_class(tmp_path):
    # columns of 4 pixels: 5 of background, 2 of object, 13 of background
    plain = {"size": [4, 5], "counts": [5, 2, 13]}
    expected = [[0, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]]
    assert coco_mask(coco(tmp_path / "plain.json", plain)).tolist() == expected
    packed = {"size": [4, 5], "counts": "52="}  # 13 fits into 5 bits
    assert coco_mask(coco(tmp_path / "packed.json", packed)).tolist() == expected


@pytest.mark.parametrize(
    ("segmentation", "text"),
    [
        ([], "has no outline (segmentation is []); a box does not say which pixels are meant"),
        (None, "has no outline (segmentation is None)"),
        ([[1, 1, 2, 2]], "a polygon is a list of at least 6 numbers, x and y in turn, not [1, 1, 2, 2]"),
        ([[1, 1, 2, 2, 3, 3, 4]], "a polygon is a list of at least 6 numbers"),
        ([1, 1, 2, 2, 3, 3], "a polygon is a list of at least 6 numbers, x and y in turn, not 1"),
        ([[1, 1, 2, 2, 3, "x"]], "a polygon is a list of at least 6 numbers"),
        ([[1, 1, 2, 2, 3, 10**400]], "a polygon is a list of at least 6 numbers"),
        ({"size": [5, 4], "counts": [20]}, "its run lengths are for size [5, 4], but the image has [4, 5]"),
        ({"size": [4, 5], "counts": [5, -2, 17]}, "go from -2 to 17"),
        ({"size": [4, 5], "counts": [5, 2]}, "have the sum 7, but must be at least 0 and have the sum 20"),
        ({"size": [4, 5], "counts": "5 2"}, "' ' does not belong into compressed run lengths"),
        ({"size": [4, 5]}, "counts must be a list or a text, not None"),
    ],
)
def test_outlines_that_are_none_are_refused_by_record(tmp_path, segmentation, text):
    path = coco(tmp_path / "c.json", [SQUARE], segmentation)
    with pytest.raises(DataError) as caught:
        coco_mask(path)
    assert text in str(caught.value)
    assert "c.json, annotations[1]: " in str(caught.value)


def test_a_corner_beyond_all_measure_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"c\.json: a corner of a polygon is 1e\+12 pixels from the image"):
        coco_mask(coco(tmp_path / "c.json", [[1, 1, 1e12, 2, 3, 3]]))


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"annotations": [{"image_id": 9, "category_id": 1}]}, "annotations[0]: image_id 9 is not among the file's im"),
        ({"annotations": [{"image_id": 7, "category_id": 4}]}, "annotations[0]: category_id 4 is not among the file's"),
        ({"annotations": [5]}, "annotations[0]: image_id must be a number or a text, not None"),
        ({"images": [{"id": 1}]}, "images[0]: file_name must be a text, not None"),
        ({"images": [{"id": 1, "file_name": "x", "height": -3}]}, "images[0]: height must be a length, not -3"),
        ({"images": [{"id": i, "file_name": "x"} for i in (1, 2)]}, "1 file_name are there twice: x. Keep one of each"),
        ({"images": [{"id": 1, "file_name": x} for x in "xy"]}, "images[1]: the id 1 is there twice"),
        ({"categories": [{"id": True, "name": "car"}]}, "categories[0]: id must be a number or a text, not True"),
        ({"categories": None}, "c.json: is neither COCO (lists of images, annotations and categories) nor GeoJSON"),
    ],
)
def test_records_that_do_not_fit_together_are_refused(tmp_path, keys, text):
    with pytest.raises(DataError) as caught:
        annotated_names(coco(tmp_path / "c.json", **keys))
    assert text in str(caught.value)
