from itertools import combinations

import numpy as np
import pytest

from seg_scse.report import overlays

# Machado, Oliveira and Fernandes (2009), severity 1.0, for linear RGB.
DEFICIENCIES = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def seen_as_lab(colour: tuple[int, int, int], deficiency: str) -> np.ndarray:
    rgb = np.array(colour) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ (np.array(DEFICIENCIES[deficiency]) @ linear).clip(0, 1) / TO_XYZ.sum(1)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def smallest_distance(colours, deficiency: str) -> float:
    seen = [seen_as_lab(colour, deficiency) for colour in colours]
    return min(float(np.linalg.norm(a - b)) for a, b in combinations(seen, 2))


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_colours_differ_for_colour_blind_readers(deficiency):
    assert smallest_distance((overlays.MISSED, overlays.FALSE, overlays.CONFUSED), deficiency) > 25
    assert smallest_distance([overlays.class_colour(i) for i in range(1, 5)], deficiency) > 15


def test_class_colours_are_stable_and_never_an_error_colour():
    assert [overlays.class_colour(i) for i in (1, 2)] == [(0, 158, 115), (230, 159, 0)]
    assert overlays.class_colour(1 + len(overlays.PALETTE)) == overlays.class_colour(1)
    assert overlays.class_colour(0) == overlays.BACKGROUND
    assert not {overlays.MISSED, overlays.FALSE, overlays.CONFUSED} & set(overlays.PALETTE)


def test_labels_are_filled_with_a_solid_contour_inside():
    labels = np.zeros((9, 9), np.uint8)
    labels[2:7, 2:7] = 2
    drawn = np.asarray(overlays.label_layer(labels).convert("RGBA"))
    colour = overlays.class_colour(2)
    assert (drawn[labels == 0] == 0).all()
    assert drawn[2, 2].tolist() == [*colour, 255]
    assert drawn[4, 4].tolist() == [*colour, 77]
    assert (drawn[..., 3] == 255).sum() == 16  # the rim of a 5 x 5 square


def test_contours_do_not_follow_the_frame_of_the_image():
    assert np.asarray(overlays.label_layer(np.ones((8, 8), np.uint8)).convert("RGBA"))[..., 3].max() == 77


def test_contours_of_a_large_image_are_thicker():
    labels = np.zeros((4, 1200), np.uint8)
    labels[:, 600:] = 1
    assert (np.asarray(overlays.label_layer(labels).convert("RGBA"))[0, :, 3] == 255).sum() == 3


def test_ignored_pixels_are_grey_in_labels_and_errors():
    truth = np.array([[255, 255, 1]], np.uint8)
    for layer in (overlays.label_layer(truth), overlays.error_layer(truth, np.array([[1, 0, 1]], np.uint8))):
        assert np.asarray(layer.convert("RGBA"))[0, :2].tolist() == [[*overlays.IGNORED, 77]] * 2


def test_each_kind_of_error_has_its_colour_and_the_rest_is_transparent():
    truth = np.array([[0, 1, 1, 0, 1]], np.uint8)
    prediction = np.array([[0, 1, 0, 2, 2]], np.uint8)
    drawn = np.asarray(overlays.error_layer(truth, prediction).convert("RGBA"))[0]
    assert drawn[:2, 3].tolist() == [0, 0]
    assert [tuple(pixel[:3]) for pixel in drawn[2:].tolist()] == [overlays.MISSED, overlays.FALSE, overlays.CONFUSED]


def test_the_last_class_index_has_a_colour():
    drawn = np.asarray(overlays.label_layer(np.full((3, 3), 254, np.uint8)).convert("RGBA"))
    assert tuple(drawn[1, 1, :3].tolist()) == overlays.class_colour(254)


def test_overlapping_labels_mix_their_fills_and_keep_their_contours():
    labels = np.zeros((9, 12), np.uint8)
    labels[1:8, 0:8] |= 1
    labels[1:8, 4:12] |= 2
    drawn = np.asarray(overlays.bit_layer(labels).convert("RGBA")).astype(int)
    one, two = (np.array(overlays.class_colour(k)) for k in (1, 2))
    assert drawn[4, 2].tolist() == [*one, 77]
    assert drawn[4, 9].tolist() == [*two, 77]
    assert np.abs(drawn[4, 5, :3] - (one + two) / 2).max() <= 0.5
    assert drawn[4, 5, 3] == 77
    assert drawn[4, 4].tolist() == [*two, 255]
    assert drawn[4, 7].tolist() == [*one, 255]
    assert drawn[0, 5].tolist() == [0, 0, 0, 0]


def test_ignored_pixels_are_not_seven_labels():
    labels = np.array([[255, 255, 127, 127]], np.uint8)
    drawn = np.asarray(overlays.bit_layer(labels).convert("RGBA"))[0]
    assert drawn[:2].tolist() == [[*overlays.IGNORED, 77]] * 2
    assert (drawn[2:, 3] == 255).any()


def test_any_wrong_label_is_an_error():
    truth = np.array([[3, 3, 1, 1, 0, 0, 255]], np.uint8)
    prediction = np.array([[3, 1, 3, 2, 0, 2, 2]], np.uint8)
    drawn = np.asarray(overlays.error_layer(truth, prediction, "multilabel").convert("RGBA"))[0]
    assert drawn[[0, 4], 3].tolist() == [0, 0]
    colours = [tuple(pixel[:3]) for pixel in drawn[[1, 2, 3, 5, 6]].tolist()]
    assert colours == [overlays.MISSED, overlays.FALSE, overlays.CONFUSED, overlays.FALSE, overlays.IGNORED]
