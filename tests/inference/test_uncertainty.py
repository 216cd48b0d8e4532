import math

import pytest
import torch

from seg_scse.inference.uncertainty import entropy_of


def test_the_entropy_of_equal_classes_is_the_logarithm_of_their_number() -> None:
    assert torch.allclose(entropy_of(torch.full((5, 2, 3), 0.2)), torch.full((2, 3), math.log(5)))
    assert torch.allclose(entropy_of(torch.full((1, 2, 3), 0.5)), torch.full((2, 3), math.log(2)))


def test_a_sure_prediction_has_none_and_labels_add_up() -> None:
    assert entropy_of(torch.tensor([1.0, 0.0])[:, None, None]).item() == 0
    assert entropy_of(torch.tensor([[[0.0, 1.0]]])).tolist() == [[0, 0]]
    both = entropy_of(torch.tensor([0.5, 0.1])[:, None, None], multilabel=True).item()
    assert both == pytest.approx(math.log(2) - 0.1 * math.log(0.1) - 0.9 * math.log(0.9))


def test_images_of_a_batch_are_apart() -> None:
    batch = torch.rand(3, 4, 5, 6).softmax(1)
    assert torch.equal(entropy_of(batch)[1], entropy_of(batch[1]))
