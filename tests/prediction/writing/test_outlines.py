import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from scipy import ndimage

from seg_scse.prediction.writing.areas import Areas, count_classes
from seg_scse.prediction.writing.outlines import DEFAULT_SIMPLIFY, Outliner
from seg_scse.prediction.writing.regions import Regions, find_regions

ROWS, COLUMNS = np.mgrid[:120, :120]


def disc(radius: float) -> NDArray[np.uint8]:
    return (np.hypot(ROWS - 60.2, COLUMNS - 59.7) < radius).astype(np.uint8)


def regions(labels: NDArray[np.uint8]) -> Regions:
    (found,) = find_regions(labels, 2, "binary", 255)
    return found


def flat(simplify: float = DEFAULT_SIMPLIFY, min_area: float = 0.0) -> Outliner:
    return Outliner(Areas(np.ones(120), "px"), simplify, min_area)


def test_no_simplifying_changes_nothing() -> None:
    found = regions(disc(40))
    assert (flat(0).outlined(found)[0].polygons == found.polygons).all()


def test_the_steps_of_a_slanting_border_go() -> None:
    found = regions((ROWS > COLUMNS).astype(np.uint8))
    (simple,) = flat().outlined(found)[0].polygons
    assert shapely.get_num_coordinates(found.polygons[0]) > 200
    assert shapely.get_num_coordinates(simple) < 8


@pytest.mark.parametrize("simplify", [0.75, 1.5])
def test_no_corner_is_further_away_than_was_allowed(simplify: float) -> None:
    found = regions(disc(50))
    (simple,) = flat(simplify).outlined(found)[0].polygons
    assert shapely.hausdorff_distance(found.polygons[0], simple) <= simplify
    assert shapely.get_num_coordinates(simple) < 0.5 * shapely.get_num_coordinates(found.polygons[0])


def test_simplified_noise_stays_valid_and_keeps_its_holes() -> None:
    labels = (np.random.default_rng(1).random((120, 120)) < 0.7).astype(np.uint8)
    found = regions(labels)
    simple = flat(2.0).outlined(found)[0].polygons
    assert shapely.is_valid(simple).all()
    assert (shapely.get_num_interior_rings(simple) == shapely.get_num_interior_rings(found.polygons)).all()
    assert shapely.get_num_interior_rings(simple).max() > 100


@pytest.mark.parametrize("seed", range(6))
def test_simplified_outlines_stay_valid_when_they_are_rounded(seed: int) -> None:
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(120, 120)), 0.6)
    found = regions((smooth > 0).astype(np.uint8))
    simple = flat().outlined(found)[0].polygons
    assert shapely.get_num_coordinates(simple).sum() < shapely.get_num_coordinates(found.polygons).sum()
    assert shapely.is_valid(simple).all()
    assert shapely.minimum_clearance(simple).min() > 0.02


def test_a_small_hole_in_a_large_region_stays() -> None:
    labels = np.ones((120, 120), np.uint8)
    labels[50, 50] = 0
    (simple,) = flat(1.0).outlined(regions(labels))[0].polygons
    assert shapely.get_num_interior_rings(simple) == 1


def test_a_region_that_would_lose_its_size_keeps_its_outline() -> None:
    labels = np.zeros((120, 120), np.uint8)
    labels[5, 5] = labels[10:13, 10] = labels[20:22, 20:22] = 1
    found = regions(labels)
    simple = flat(1.0).outlined(found)[0].polygons
    assert shapely.area(simple).tolist() == shapely.area(found.polygons).tolist() == [1, 3, 4]


def test_small_regions_are_left_out_with_their_areas() -> None:
    labels = np.zeros((120, 120), np.uint8)
    labels[5, 5] = labels[10:13, 10] = labels[20:22, 20:22] = 1
    kept, areas = flat(min_area=3).outlined(regions(labels))
    assert areas.tolist() == [3, 4]
    assert len(kept.classes) == len(kept.polygons) == 2


@pytest.mark.parametrize("simplify", [0.0, 1.0])
def test_an_area_is_the_sum_of_its_pixels_whatever_their_rows(simplify: float) -> None:
    labels = (np.random.default_rng(2).random((120, 120)) < 0.6).astype(np.uint8)
    areas = Areas(np.linspace(90, 110, 120), "m2")
    outliner = Outliner(areas, simplify, 0)
    _, found = outliner.outlined(regions(labels))
    assert found.sum() == pytest.approx(count_classes(labels, areas.rows, 2, "binary").area[1], rel=1e-12)
    (one,) = outliner.outlined(regions(np.pad(np.ones((2, 3), np.uint8), ((7, 0), (1, 1)))))[1]
    assert one == pytest.approx(3 * (areas.rows[7] + areas.rows[8]), rel=1e-12)


def test_no_regions_stay_none() -> None:
    kept, areas = flat().outlined(Regions(np.empty(0, np.int32), np.empty(0, np.object_)))
    assert len(kept.polygons) == len(areas) == 0
