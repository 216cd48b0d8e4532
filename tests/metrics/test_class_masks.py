import numpy as np
import pytest

from seg_scse.errors import DataError
from seg_scse.metrics.class_masks import MANY, class_masks


def labels(*rows):
    return np.array(rows, np.uint8)


def test_each_class_that_occurs_comes_once_in_the_box_around_both_masks():
    prediction = labels([0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 3])
    truth = labels([0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 3, 3])
    first, second = class_masks(prediction, truth, 5)
    assert (first.number, second.number) == (1, 3)
    assert first.prediction.tolist() == [[0, 0], [1, 0]]
    assert first.truth.tolist() == [[0, 1], [0, 0]]
    assert second.prediction.tolist() == [[0, 1]]
    assert second.truth.tolist() == [[1, 1]]
    assert first.ignored is None


def test_ignored_pixels_are_in_neither_mask_and_the_margin_shows_those_around():
    prediction = labels([0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0])
    truth = labels([0, 0, 0, 0, 0], [0, 0, 1, 255, 0], [0, 0, 0, 255, 0])
    (found,) = class_masks(prediction, truth, 2, margin=1)
    assert found.prediction.tolist() == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    assert found.truth.tolist() == [[0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert found.ignored.tolist() == [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1]]


def test_a_class_under_ignored_pixels_only_does_not_occur():
    assert list(class_masks(labels([0, 1, 0]), labels([0, 255, 0]), 2)) == []


def test_bits_of_a_multilabel_map_are_the_classes():
    prediction, truth = labels([0, 3, 0, 7]), labels([0, 1, 4, 255])
    found = {masks.number: masks for masks in class_masks(prediction, truth, 4, "multilabel")}
    assert sorted(found) == [1, 2, 3]
    assert (found[1].prediction.tolist(), found[1].truth.tolist()) == ([[1]], [[1]])
    assert (found[2].prediction.tolist(), found[2].truth.tolist()) == ([[1]], [[0]])
    assert (found[3].prediction.tolist(), found[3].truth.tolist()) == ([[0]], [[1]])


def test_of_many_classes_only_those_that_occur_come():
    last = MANY + 40
    truth = labels([0, last, 2], [0, 0, 2])
    assert [masks.number for masks in class_masks(truth, np.zeros_like(truth), last + 1)] == [2, last]


@pytest.mark.parametrize(("task", "value"), [("multiclass", 3), ("multilabel", 4), ("multiclass", 254)])
def test_a_value_that_is_no_class_is_refused(task, value):
    strange = labels([0, value])
    with pytest.raises(DataError, match=r"prediction holds class \d+, but the 3 classes are 0 to 2: check the class"):
        list(class_masks(strange, np.zeros_like(strange), 3, task))
    with pytest.raises(DataError, match="truth holds class"):
        list(class_masks(np.zeros_like(strange), strange, 3, task))


def test_maps_of_other_shapes_or_types_are_refused():
    square = np.zeros((4, 4), np.uint8)
    with pytest.raises(DataError, match=r"prediction is int64 of shape \(4, 4\): scores need uint8 of shape \(H, W\)"):
        list(class_masks(square.astype(np.int64), square, 2))
    with pytest.raises(DataError, match=r"truth is uint8 of shape \(1, 4, 4\)"):
        list(class_masks(square, square[None], 2))
    with pytest.raises(DataError, match=r"prediction has shape \(4, 3\), truth \(4, 4\): .* resize the prediction"):
        list(class_masks(square[:, :3], square, 2))
