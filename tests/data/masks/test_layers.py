from pathlib import Path

import numpy as np
import pytest

from seg_scse.config.schema import DataConfig
from seg_scse.data.masks.layers import class_indices, combine
from seg_scse.errors import DataError

LEFT, MIDDLE, NOWHERE = (np.array([row], np.bool_) for row in ([1, 1, 0], [0, 1, 1], [0, 0, 0]))


def config(task: str = "multiclass", **mask: object) -> DataConfig:
    mask = {"encoding": "polygons", **mask}
    return DataConfig.model_validate({"classes": ["no", "car", "tree", "its"], "task": task, "mask": mask})


def test_layers_that_do_not_meet_are_class_indices():
    result = combine([(1, LEFT), (3, ~LEFT)], (1, 3), config(), "m.json")
    assert result.dtype == np.uint8
    assert result.tolist() == [[1, 1, 3]]


def test_no_layer_is_background():
    assert combine([], (1, 3), config(), "m.json").tolist() == [[0, 0, 0]]


def test_pixels_in_two_classes_are_refused_with_their_number():
    with pytest.raises(DataError) as caught:
        combine([(1, LEFT), (2, MIDDLE), (3, ~NOWHERE)], (1, 3), config(), "m.json (a)")
    text = str(caught.value)
    assert "m.json (a): 4 pixels are in two classes: 2 in tree and its, 1 in car and tree, 1 in car and its. " in text
    assert "`data.mask.overlap: last`" in text
    assert "`data.task: multilabel`" in text


def test_the_later_class_wins_where_that_is_declared():
    assert combine([(1, LEFT), (2, MIDDLE)], (1, 3), config(overlap="last"), "m").tolist() == [[1, 2, 2]]


def test_ignore_covers_every_class_and_is_no_overlap():
    layers = [(1, LEFT), (255, MIDDLE)]
    assert combine(layers, (1, 3), config(), "m").tolist() == [[1, 255, 255]]
    assert combine(layers, (1, 3), config("multilabel"), "m").tolist() == [[1, 255, 255]]


def test_labels_of_a_pixel_are_bits():
    result = combine([(1, LEFT), (2, MIDDLE), (3, MIDDLE)], (1, 3), config("multilabel"), "m")
    assert result.tolist() == [[0b001, 0b111, 0b110]]


def test_seven_labels_at_once_are_not_ignore():
    classes = [f"c{i}" for i in range(8)]
    seven = DataConfig.model_validate({"classes": classes, "task": "multilabel", "mask": {"encoding": "polygons"}})
    assert combine([(i, LEFT) for i in range(1, 8)], (1, 3), seven, "m").tolist() == [[127, 127, 0]]


def test_names_are_those_of_the_classes_unless_labels_say_otherwise():
    assert class_indices({"tree": 1, "car": 1}, ["tree"], Path("m"), config()) == {"tree": 2}
    labels = {"Baum": 2, "its": 255}
    assert class_indices({"Baum": 1, "its": 1}, ["its", "Baum"], Path("m"), config(labels=labels)) == labels


def test_a_name_that_no_class_has_is_refused_with_the_line_to_write():
    with pytest.raises(DataError) as caught:
        class_indices({"tree": 4, "van's": 2, "lorry": 1}, ["van's"], Path("m.json"), config())
    text = str(caught.value)
    assert (
        "m.json: undeclared class van's; the file holds lorry (1 object), tree (4 objects), van's (2 objects)" in text
    )
    assert "put `data.mask.labels: {'lorry': 1, 'tree': 2, 'van''s': 3}` into the configuration" in text


def test_more_names_than_classes_are_left_to_the_user():
    with pytest.raises(DataError, match=r"Declare each in `data\.mask\.labels` \(255 as class: ignore, 0: leave such"):
        class_indices(dict.fromkeys("vwxyz", 1), ["v"], Path("m.json"), config())


def test_a_name_that_the_image_does_not_use_is_not_its_problem():
    assert class_indices({"car": 1, "cow": 1}, ["car"], Path("m.json"), config()) == {"car": 1}


def test_a_name_that_is_nearly_a_class_is_told_the_class():
    with pytest.raises(DataError) as caught:
        class_indices({"Cars": 4, "tree": 2, "its": 1, "no": 1, "bird": 1}, ["Cars"], Path("m.json"), config())
    assert "The nearest to Cars that is declared is car. " in str(caught.value)
    with pytest.raises(DataError, match=r"`data\.mask\.labels: \{'Cars': 1, 'tree': 2\}`"):
        class_indices({"Cars": 4, "tree": 2}, ["Cars"], Path("m.json"), config())
    with pytest.raises(DataError, match=r"nearest to Baun that is declared is Baum\. .*\{'Baum': 3, 'Baun': 3\}`"):
        class_indices({"Baun": 1, "Baum": 5}, ["Baun"], Path("m.json"), config(labels={"Baum": 3}))
