import numpy as np

from seg_scse.data.masks.burning import burn, clipped, divided

BOX = (0.0, 0.0, 10.0, 8.0)


def test_rings_without_an_area_fill_nothing():
    dot, line = np.array([[1.0, 1.0]] * 3), np.array([[0.0, 0.0], [4.0, 4.0]])
    assert not burn([[dot], [line]], (5, 5), "m").any()
    assert not burn([], (5, 5), "m").any()


def test_a_hole_is_no_area_and_a_further_polygon_is():
    outline, hole = (np.array([[a, a], [b, a], [b, b], [a, b]], float) for a, b in ((0, 5), (1, 4)))
    assert burn([[outline, hole]], (5, 5), "m").sum() == 16
    assert burn([[outline, hole], [hole]], (5, 5), "m").all()


def test_clipped_polygons_fill_the_same_pixels_inside_the_box():
    random = np.random.default_rng(7)
    for _ in range(50):
        rings = [random.uniform(-15, 25, (random.integers(3, 9), 2)) for _ in range(2)]
        parts = clipped(rings, BOX)
        assert all((ring > -1e-9).all() and (ring < np.add(BOX[2:], 1e-9)).all() for ring in parts)
        kept = burn([parts], (8, 10), "m") if parts else np.zeros((8, 10), bool)
        assert np.array_equal(kept, burn([rings], (8, 10), "m"))


def test_a_polygon_outside_the_box_leaves_nothing():
    assert clipped([np.array([[11.0, 1.0], [12.0, 1.0], [12.0, 3.0]])], BOX) == []


def test_a_polygon_around_the_box_becomes_the_box():
    (ring,) = clipped([np.array([[-9.0, -9.0], [99.0, -9.0], [99.0, 99.0], [-9.0, 99.0]])], BOX)
    assert sorted(map(tuple, ring.tolist())) == [(0, 0), (0, 8), (10, 0), (10, 8)]


def test_long_edges_are_divided_where_they_are_long():
    ring = divided(np.array([[0.0, 0.0], [4.0, 2.0], [4.0, 3.0]]), 2.0)
    assert ring.tolist() == [[0, 0], [2, 1], [4, 2], [4, 3], [2, 1.5]]
