import numpy as np
import pytest
import torch

from seg_scse.inference import labelling
from seg_scse.inference.labelling import decide, softmax_planes


@pytest.mark.parametrize("classes", [3, 20])
def test_the_most_probable_class_and_its_probability_are_found(classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelling, "STRIP_BYTES", 7 * 33 * 4)
    probabilities = torch.randn(classes, 45, 33, generator=torch.Generator().manual_seed(0)).softmax(0)
    decision = decide(probabilities, 0.5, False)
    assert np.array_equal(decision.labels, probabilities.argmax(0).numpy())
    assert torch.equal(decision.confidence, probabilities.amax(0, keepdim=True))


def test_of_equal_probabilities_the_lower_class_is_chosen() -> None:
    probabilities = torch.tensor([[0.2, 0.25, 0.0], [0.4, 0.25, 0.5], [0.4, 0.25, 0.5], [0.0, 0.25, 0.0]])[:, None]
    assert decide(probabilities, 0.5, False).labels.tolist() == [[1, 0, 1]]


def test_the_last_class_of_255_fits_into_a_byte() -> None:
    probabilities = torch.zeros(255, 1, 1)
    probabilities[254] = 1
    assert decide(probabilities, 0.5, False).labels.tolist() == [[254]]


def test_two_classes_are_told_apart_by_the_threshold_which_itself_is_background() -> None:
    probabilities = torch.tensor([[[0.25, 0.3, 0.5, 0.7]]])
    decision = decide(probabilities, 0.25, False)
    assert decision.labels.tolist() == [[0, 1, 1, 1]]
    assert decision.labels.dtype == np.uint8
    assert decision.confidence is probabilities


def test_each_label_above_the_threshold_sets_its_bit() -> None:
    probabilities = torch.tensor([[0.9, 0.1, 0.9, 0.5], [0.9, 0.1, 0.1, 0.6], [0.9, 0.1, 0.2, 0.1]])[:, None]
    assert decide(probabilities, 0.5, True).labels.tolist() == [[7, 0, 1, 2]]
    seven = torch.eye(7)[:, None]
    assert decide(seven, 0.5, True).labels.tolist() == [[1, 2, 4, 8, 16, 32, 64]]


def test_a_window_of_a_larger_map_is_decided_alike() -> None:
    probabilities = torch.rand(4, 30, 40, generator=torch.Generator().manual_seed(1))
    window = probabilities[:, 5:25, 3:30]
    assert np.array_equal(decide(window, 0.5, False).labels, decide(window.contiguous(), 0.5, False).labels)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("height", [1, 5, 8])
def test_softmax_by_strips_is_that_of_the_whole(
    layout: torch.memory_format, height: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labelling, "STRIP_BYTES", 5 * 9 * 2)  # two rows of five classes
    logits = torch.randn(3, 5, height, 9, generator=torch.Generator().manual_seed(height)).to(memory_format=layout)
    planes = softmax_planes(logits)
    torch.testing.assert_close(planes, logits.softmax(1), rtol=1e-6, atol=0)
    assert planes.is_contiguous()
