from pathlib import Path

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from seg_scse.data.masks.burning import burn
from seg_scse.errors import DataError
from seg_scse.prediction.writing.regions import find_regions, map_shape

Labels = NDArray[np.uint8]


def noise() -> Labels:
    """Four classes and pixels without data at random: holes in holes, corners that touch, and single pixels."""
    random = np.random.default_rng(7)
    labels = random.integers(0, 4, (70, 90)).astype(np.uint8)
    labels[random.random(labels.shape) < 0.1] = 255
    return labels


def on_disk(labels: Labels, tmp_path: Path) -> Path:
    path = tmp_path / "a&b <c> 'd\" é=1,2.png"
    image = Image.fromarray(labels)
    image.putpalette([0, 0, 0, 255, 0, 0] * 128)
    image.save(path)
    return path


def burnt(labels: Labels | Path, classes: int, task: str, shape: tuple[int, int]) -> dict[int, NDArray[np.bool_]]:
    """Fill the outlines of each class again."""
    masks = {index: np.zeros(shape, np.bool_) for index in range(1, classes)}
    for indices, polygons in find_regions(labels, classes, task, 255):
        assert shapely.is_valid(polygons).all()
        for index in range(1, classes):
            rings = [
                [shapely.get_coordinates(ring) for ring in shapely.get_rings(p)] for p in polygons[indices == index]
            ]
            masks[index] |= burn(rings, shape, "test")
    return masks


@pytest.mark.parametrize("file", [False, True], ids=["array", "file"])
def test_filled_outlines_are_the_label_map(file: bool, tmp_path: Path) -> None:
    labels = noise()
    masks = burnt(on_disk(labels, tmp_path) if file else labels, 4, "multiclass", labels.shape)
    for index, mask in masks.items():
        assert (mask == (labels == index)).all()


@pytest.mark.parametrize("file", [False, True], ids=["array", "file"])
def test_filled_outlines_of_labels_are_their_bits(file: bool, tmp_path: Path) -> None:
    labels = noise()
    masks = burnt(on_disk(labels, tmp_path) if file else labels, 3, "multilabel", labels.shape)
    for index, mask in masks.items():
        assert (mask == ((labels >> index - 1 & 1 == 1) & (labels != 255))).all()


def test_a_region_is_what_edges_join() -> None:
    labels = noise()
    found = np.concatenate([regions.classes for regions in find_regions(labels, 4, "multiclass", 255)])
    for index in (1, 2, 3):
        assert (found == index).sum() == ndimage.label(labels == index)[1]


def test_a_ring_has_a_hole_with_a_region_of_its_own() -> None:
    labels = np.ones((9, 9), np.uint8)
    labels[2:7, 2:7] = 0
    labels[4, 4] = 1
    (regions,) = find_regions(labels, 2, "binary", 255)
    ring = regions.polygons[np.argmax(shapely.area(regions.polygons))]
    assert sorted(shapely.area(regions.polygons)) == [1, 81 - 25]
    assert shapely.get_num_interior_rings(ring) == 1
    assert ring.equals(shapely.box(0, 0, 9, 9).difference(shapely.box(2, 2, 7, 7)))


def test_many_regions_come_in_parts_and_none_is_lost() -> None:
    labels = np.zeros((200, 200), np.uint8)
    labels[::2, ::2] = 1
    found = [len(regions.classes) for regions in find_regions(labels, 2, "binary", None)]
    assert len(found) == 3
    assert sum(found) == 10_000


def test_a_value_of_no_data_may_be_a_class_elsewhere() -> None:
    labels = np.full((2, 2), 255, np.uint8)
    assert list(find_regions(labels, 256, "multiclass", 255)) == []
    (regions,) = find_regions(labels, 256, "multiclass", None)
    assert regions.classes.tolist() == [255]


def test_the_shape_of_a_file_is_that_of_its_array(tmp_path: Path) -> None:
    assert map_shape(on_disk(noise(), tmp_path)) == map_shape(noise()) == (70, 90)


def test_a_damaged_label_map_is_named(tmp_path: Path) -> None:
    path = on_disk(noise(), tmp_path)
    path.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"1,2\.png: cannot be read to outline its regions .*Write it again\."):
        list(find_regions(path, 2, "binary", 255))
