import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import label

from seg_scse.metrics.skeletons import measure_centerlines, skeleton

from .drawn_masks import blobs, disc, mask

EIGHT = np.ones((3, 3))
AROUND = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))


def parts_and_holes(shape):
    padded = np.pad(shape, 1)
    return label(padded, EIGHT)[1], label(padded == 0)[1]


def can_go(window):
    """Whether the middle of 3 x 3 pixels is no end, and its removal joins and parts nothing around it."""
    without = window.copy()
    without[1, 1] = 0
    return without.sum() > 1 and label(without, EIGHT)[1] == 1 and not without[[0, 1, 1, 2], [1, 0, 2, 1]].all()


def thinned_slowly(shape):
    """The same thinning, pixel by pixel as the docstring says it."""
    image = np.pad(shape, 1)
    while True:
        before = image.copy()
        for row, column in ((-1, 0), (1, 0), (0, 1), (0, -1)):
            border = np.argwhere(image & ~np.roll(image, (-row, -column), axis=(0, 1)) & 1)
            gone = [
                place for place in border if can_go(image[place[0] - 1 : place[0] + 2, place[1] - 1 : place[1] + 2])
            ]
            for place in gone:
                image[tuple(place)] = 0
        if (before == image).all():
            return image[1:-1, 1:-1]


@pytest.mark.parametrize("seed", range(6))
def test_the_skeleton_is_that_of_a_thinning_pixel_by_pixel(seed):
    shape = blobs(seed, 31, 47, scale=(0.5, 1, 3)[seed % 3])
    np.testing.assert_array_equal(skeleton(shape), thinned_slowly(shape))


@given(st.integers(0, 10**6), st.tuples(st.integers(1, 50), st.integers(1, 50)), st.sampled_from([0.3, 0.8, 2.0, 5.0]))
def test_a_skeleton_keeps_every_part_and_every_hole_and_is_its_own_skeleton(seed, shape, scale):
    whole = blobs(seed, *shape, scale=scale)
    line = skeleton(whole)
    assert parts_and_holes(line) == parts_and_holes(whole)
    assert not (line & ~whole & 1).any()
    np.testing.assert_array_equal(skeleton(line), line)


@given(st.integers(0, 10**6), st.sampled_from([0.3, 0.8, 2.0, 5.0]))
def test_no_pixel_of_a_skeleton_could_be_spared(seed, scale):
    padded = np.pad(skeleton(blobs(seed, 24, 30, scale=scale)), 1)
    for row, column in np.argwhere(padded):
        assert not can_go(padded[row - 1 : row + 2, column - 1 : column + 2])


@pytest.mark.parametrize(
    "line",
    [
        mask("#"),
        mask("#######"),
        mask("#", "#", "#"),
        mask("#....", ".#...", "..#..", "...##"),
        mask(".###.", "#...#", "#...#", ".###."),
        mask("..#..", "..#..", "##.##", "..#..", "..#.."),
    ],
)
def test_a_line_of_one_pixel_is_its_own_skeleton(line):
    np.testing.assert_array_equal(skeleton(line), line)


def test_the_skeleton_of_a_bar_is_its_middle_row():
    line = skeleton(np.pad(np.ones((5, 41), np.uint8), 3))
    assert line[5, 8:38].all()
    assert line[:5].sum() + line[6:].sum() <= 8  # at most the ends reach for the corners


def test_nothing_and_everything_have_skeletons():
    assert skeleton(np.zeros((5, 6), np.uint8)).sum() == 0
    assert parts_and_holes(skeleton(np.ones((40, 50), np.uint8))) == (1, 1)
    assert skeleton(np.full((4, 4), 255, np.uint8)).max() == 1


def test_a_skeleton_does_not_change_the_mask():
    whole = disc(40, 20, 20, 12)
    before = whole.copy()
    skeleton(whole)
    np.testing.assert_array_equal(whole, before)


def cldice(prediction, truth):
    return measure_centerlines(prediction, truth, 2)[1, 0]


def test_cldice_is_as_by_hand():
    truth = mask("##########", "..........", "..........")
    prediction = mask("#####.....", "..........", "#######...")  # lines of one pixel: their own skeletons
    precision, sensitivity = 5 / 12, 5 / 10
    assert cldice(prediction, truth) == pytest.approx(2 * precision * sensitivity / (precision + sensitivity))


def test_a_vessel_of_another_width_is_found_and_a_broken_one_is_not():
    truth = np.zeros((60, 100), np.uint8)
    truth[28:33, 5:95] = 1
    thick, broken = truth.copy(), truth.copy()
    thick[26:35, 5:95] = 1
    broken[:, 40:70] = 0
    assert cldice(thick, truth) > 0.95
    assert 2 * broken.sum() / (broken.sum() + truth.sum()) == pytest.approx(0.8)
    assert cldice(broken, truth) == pytest.approx(0.8, abs=0.02)


def test_one_side_empty_scores_zero_and_both_are_not_scored():
    line, empty = mask("####"), mask("....")
    assert cldice(line, empty) == cldice(empty, line) == 0
    assert cldice(mask("#...", "...."), mask("....", "...#")) == 0
    assert np.isnan(cldice(empty, empty))


@given(st.integers(0, 10**6), st.tuples(st.integers(2, 40), st.integers(2, 40)))
def test_cldice_is_symmetric_between_zero_and_one_and_one_for_the_truth(seed, shape):
    first, second = blobs(seed, *shape, scale=1.5), blobs(seed + 1, *shape, scale=1.5)
    assert cldice(first, first) == 1
    value = cldice(first, second)
    assert 0 <= value <= 1
    assert value == cldice(second, first)


def test_classes_labels_and_ignored_pixels_are_told_apart():
    truth = np.array([[1, 1, 1, 1, 0, 2, 2, 2]], np.uint8)
    prediction = np.array([[1, 1, 0, 0, 0, 2, 2, 2]], np.uint8)
    found = measure_centerlines(prediction, truth, 4)
    np.testing.assert_allclose(found, [[np.nan], [2 / 3], [1], [np.nan]])
    truth[0, 2:4] = 255
    np.testing.assert_allclose(measure_centerlines(prediction, truth, 3)[1], [1])
    bits = measure_centerlines(np.array([[3, 1]], np.uint8), np.array([[1, 1]], np.uint8), 3, "multilabel")
    np.testing.assert_allclose(bits, [[np.nan], [1], [0]])
