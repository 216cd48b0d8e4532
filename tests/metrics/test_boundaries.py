import cv2
import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from seg_scse.metrics.boundaries import band, band_width, boundary

from .drawn_masks import blobs, mask


def cheng(image_mask, ratio=0.02):
    """`mask_to_boundary` of the code published with Boundary IoU."""
    height, width = image_mask.shape
    dilation = max(1, round(ratio * np.sqrt(height**2 + width**2)))
    padded = cv2.copyMakeBorder(image_mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=dilation)
    return image_mask - eroded[1:-1, 1:-1]


@pytest.mark.parametrize("seed", range(6))
def test_the_boundary_is_that_of_scipys_erosion(seed):
    shape = blobs(seed, 40 + seed, 70, scale=1 + seed)
    np.testing.assert_array_equal(boundary(shape), shape & ~binary_erosion(shape))


def test_the_frame_of_the_image_is_a_boundary_and_a_diagonal_neighbour_is_none():
    drawn = mask("###..", "####.", "####.", "#####")
    assert boundary(drawn).tolist() == mask("###..", "#..#.", "#..#.", "#####").tolist()


def test_towards_ignored_pixels_there_is_no_boundary():
    drawn = mask(".......", ".####..", ".####..", ".####..", ".......")
    ignored = mask("#......", "#....##", "#....##", "#....##", "#####..")
    assert boundary(drawn, ignored).tolist() == mask(".......", ".####..", ".......", ".......", ".......").tolist()


@pytest.mark.parametrize("seed", range(6))
def test_the_band_is_that_of_the_published_code(seed):
    height, width = 30 + 40 * seed, 250 - 30 * seed
    shape = blobs(seed, height, width, scale=12)
    np.testing.assert_array_equal(band(shape, band_width(height, width)), cheng(shape))


def test_the_width_of_the_band_is_a_fiftieth_of_the_diagonal_and_at_least_a_pixel():
    assert [band_width(*sides) for sides in ((3, 4), (300, 400), (1024, 1024))] == [1, 10, 29]


def test_towards_ignored_pixels_there_is_no_band():
    drawn = mask("......", ".####.", ".####.", ".####.", ".####.", "......")
    ignored = mask("......", ".....#", ".....#", ".....#", ".....#", "######")
    expected = mask("......", ".####.", ".#....", ".#....", ".#....", "......")
    assert band(drawn, 1, ignored).tolist() == expected.tolist()
