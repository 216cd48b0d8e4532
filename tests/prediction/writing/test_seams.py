import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from scipy import ndimage

from seg_scse.prediction.writing import regions, seams
from seg_scse.prediction.writing.regions import find_regions

Labels = NDArray[np.uint8]
WIDTH = 45


def noise(share: float) -> Labels:
    labels: Labels = (np.random.default_rng(5).random((60, WIDTH)) < share).astype(np.uint8)
    return labels


def smooth() -> Labels:
    values = ndimage.gaussian_filter(np.random.default_rng(2).standard_normal((60, WIDTH)), 1.2)
    labels = (values > 0).astype(np.uint8) + (values > 0.15).astype(np.uint8)
    labels[20:24, 5:9] = 255
    return labels


def spiral() -> Labels:
    """One region that is many parts in every band, around others of the background."""
    labels = np.zeros((60, WIDTH), np.uint8)
    for side in range(0, 22, 4):
        labels[side : 60 - side, side : WIDTH - side] = 1
        labels[side + 2 : 58 - side, side + 2 : WIDTH - 2 - side] = 0
        labels[side + 6, side : side + 5] = 1
    return labels


MAPS = {
    "finely": noise(0.5),
    "spanning": noise(0.65),
    "full of holes": noise(0.9),
    "smooth": smooth(),
    "spiral": spiral(),
}


def outlined(labels: Labels, rows: int, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, shapely.Polygon]]:
    """Outline a map in bands of rows."""
    monkeypatch.setattr(regions, "_BAND", rows * labels.shape[1])
    parts = list(find_regions(labels, 3, "multiclass", 255))
    polygons = [polygon for part in parts for polygon in part.polygons]
    assert shapely.is_valid(polygons).all()
    return list(zip(np.concatenate([part.classes for part in parts]).tolist(), polygons, strict=True))


def told(found: list[tuple[int, shapely.Polygon]]) -> list[tuple[int, str]]:
    return sorted((value, shapely.to_wkt(shapely.normalize(shapely.simplify(one, 0)))) for value, one in found)


@pytest.mark.parametrize("rows", [1, 2, 7, 59])
@pytest.mark.parametrize("name", MAPS)
def test_bands_give_the_regions_of_the_whole(name: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = outlined(MAPS[name], 60, monkeypatch)
    assert told(outlined(MAPS[name], rows, monkeypatch)) == told(whole)


def test_outlines_do_not_have_corners_where_they_do_not_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    ((_, polygon),) = outlined(np.ones((60, WIDTH), np.uint8), 7, monkeypatch)
    assert shapely.get_num_coordinates(polygon) == 5
    assert polygon.bounds == (0, 0, WIDTH, 60)


def test_too_much_under_way_is_cut_where_bands_meet_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seams, "MOST_CORNERS", 100)
    whole, cut = outlined(noise(0.65), 60, monkeypatch), outlined(noise(0.65), 10, monkeypatch)
    assert len(whole) < len(cut)
    assert max(shapely.get_num_coordinates(one) for _, one in cut) < max(
        shapely.get_num_coordinates(one) for _, one in whole
    )
    assert sum(one.area for _, one in cut) == noise(0.65).sum()
    assert shapely.union_all([one for _, one in cut]).equals(shapely.union_all([one for _, one in whole]))
