"""Errors of training samples: what they measure, how they run on, and that a run in parts sees the same."""

import io
import math

import numpy as np
import pytest
import torch

from seg_scse import distributed
from seg_scse.training.difficulty import Difficulty, crop_errors

CPU = torch.device("cpu")


def _logits(p, size=4):
    """Two classes: `(len(p), 1, size, size)`, foreground with probability p[n]."""
    p = torch.tensor(p).view(-1, 1, 1, 1)
    return torch.log(p / (1 - p)).expand(-1, 1, size, size)


def _observe(difficulty, index, p):
    """Observe crops of which every pixel is foreground, predicted with probability p."""
    difficulty.observe(torch.tensor(index), _logits(p), torch.ones(len(p), 4, 4, dtype=torch.uint8))


def test_the_error_of_two_classes_is_the_probability_of_the_wrong_one():
    target = torch.zeros(1, 4, 4, dtype=torch.uint8)
    target[0, 0] = 1
    error, valid = crop_errors(_logits([0.9]), target)
    assert error.item() == pytest.approx((4 * 0.1 + 12 * 0.9) / 16)
    assert valid.item()


def test_the_error_of_many_classes_agrees_with_softmax():
    logits = torch.randn(3, 5, 6, 7, generator=torch.Generator().manual_seed(0))
    target = torch.randint(0, 5, (3, 6, 7), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    truth = logits.softmax(1).gather(1, target.long().unsqueeze(1))
    torch.testing.assert_close(crop_errors(logits, target)[0], 1 - truth.mean((1, 2, 3)))


def test_the_error_of_labels_that_overlap_is_their_mean():
    logits = torch.stack([_logits([0.8])[:, 0], _logits([0.3])[:, 0]], 1)
    target = torch.full((1, 4, 4), 0b11, dtype=torch.uint8)
    assert crop_errors(logits, target, "multilabel")[0].item() == pytest.approx((0.2 + 0.7) / 2)
    assert crop_errors(logits, target * 0 + 0b10, "multilabel")[0].item() == pytest.approx((0.8 + 0.7) / 2)


@pytest.mark.parametrize(("channels", "task"), [(1, "multiclass"), (3, "multiclass"), (3, "multilabel")])
def test_ignored_pixels_count_nowhere(channels, task):
    logits = torch.randn(2, channels, 4, 4, generator=torch.Generator().manual_seed(0))
    target = torch.ones(2, 4, 4, dtype=torch.uint8)
    target[0, 2:], target[1] = 255, 255
    errors, valid = crop_errors(logits, target, task)
    half = crop_errors(logits[:1, :, :2].contiguous(), target[:1, :2], task)[0]
    torch.testing.assert_close(errors[:1], half)
    assert valid.tolist() == [True, False]
    assert errors[1] == 0


def test_half_precision_is_measured_in_float32():
    error, _ = crop_errors(_logits([0.9]).bfloat16(), torch.ones(1, 4, 4, dtype=torch.uint8))
    assert error.dtype == torch.float32
    assert error.item() == pytest.approx(0.1, abs=2e-3)


def test_errors_run_on_and_unseen_samples_get_the_mean():
    difficulty = Difficulty([7, 3, 9, 4], CPU)
    assert difficulty.weights is None, "the first epoch has none"
    _observe(difficulty, [3, 7], [0.9, 0.5])
    _observe(difficulty, [3], [0.5])
    weights = difficulty.end_epoch()
    assert weights.dtype == np.float64
    np.testing.assert_allclose(weights, [0.5, 0.3, 0.4, 0.4], rtol=1e-6)
    _observe(difficulty, [9], [0.4])
    np.testing.assert_allclose(difficulty.end_epoch(), [0.5, 0.3, 0.6, (0.5 + 0.3 + 0.6) / 3], rtol=1e-6)
    assert difficulty.weights is not None


def test_an_epoch_without_observation_has_equal_weights():
    assert Difficulty([1, 2], CPU).end_epoch().tolist() == [1.0, 1.0]


def test_several_crops_of_one_sample_in_a_batch_count_as_their_mean():
    difficulty = Difficulty([0, 1], CPU)
    _observe(difficulty, [1, 0, 1], [0.9, 0.5, 0.7])
    np.testing.assert_allclose(difficulty.end_epoch(), [0.5, 0.2], rtol=1e-6)
    _observe(difficulty, [1, 1], [0.5, 0.7])
    np.testing.assert_allclose(difficulty.end_epoch(), [0.5, 0.3], rtol=1e-6)


def test_a_crop_of_ignored_pixels_changes_nothing():
    difficulty = Difficulty([0, 1], CPU)
    _observe(difficulty, [0, 1], [0.9, 0.5])
    difficulty.observe(torch.tensor([0]), _logits([0.5]), torch.full((1, 4, 4), 255, dtype=torch.uint8))
    np.testing.assert_allclose(difficulty.end_epoch(), [0.1, 0.5], rtol=1e-6)


def test_logits_of_several_sizes_are_measured_at_the_first():
    plain, deep = Difficulty([0], CPU), Difficulty([0], CPU)
    target = torch.ones(1, 4, 4, dtype=torch.uint8)
    plain.observe(torch.tensor([0]), _logits([0.8]), target)
    deep.observe(torch.tensor([0]), [_logits([0.8]), _logits([0.1], 2)], target)
    assert plain.end_epoch() == deep.end_epoch()


def test_observing_keeps_no_graph_and_changes_no_gradient():
    logits = _logits([0.8]).clone().requires_grad_()
    difficulty = Difficulty([0], CPU)
    difficulty.observe(torch.tensor([0]), logits, torch.ones(1, 4, 4, dtype=torch.uint8))
    assert not difficulty._errors.requires_grad
    assert logits.grad is None


def test_predictions_that_are_not_finite_leave_a_sample_unseen():
    difficulty = Difficulty([0, 1], CPU)
    _observe(difficulty, [0], [0.9])
    difficulty.observe(torch.tensor([1]), _logits([0.5]) * math.nan, torch.ones(1, 4, 4, dtype=torch.uint8))
    np.testing.assert_allclose(difficulty.end_epoch(), [0.1, 0.1], rtol=1e-6)


def _saved(state):
    """The state as a checkpoint gives it back."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)  # noqa: TID251 - what a checkpoint does


@pytest.mark.parametrize("cut", range(6))
def test_a_run_that_is_continued_in_the_middle_of_an_epoch_sees_the_same(cut):
    rng = np.random.default_rng(0)
    steps = [(rng.integers(0, 5, 3).tolist(), rng.uniform(0.05, 0.95, 3).tolist()) for _ in range(6)]

    def run(difficulty, steps, first):
        for number, (index, p) in enumerate(steps, first):
            _observe(difficulty, index, p)
            if number == 2:
                difficulty.end_epoch()
        return difficulty

    whole = run(Difficulty(range(5), CPU), steps, 0)
    part = run(Difficulty(range(5), CPU), steps[:cut], 0)
    resumed = Difficulty(range(5), CPU)
    resumed.load_state_dict(_saved(part.state_dict()))
    assert np.array_equal(np.array(part.weights), np.array(resumed.weights))
    run(resumed, steps[cut:], cut)
    assert np.array_equal(whole.weights, resumed.weights)
    assert np.array_equal(whole.end_epoch(), resumed.end_epoch())


def _pretend(monkeypatch, states, rank, world=2):
    """Let this process be one of several; `states` are what all of them give to `gather`."""
    monkeypatch.setattr(distributed, "gather", lambda value: states(value))
    monkeypatch.setattr(distributed, "rank", lambda: rank)
    monkeypatch.setattr(distributed, "world_size", lambda: world)


def test_processes_agree_on_the_mean_of_what_they_saw(monkeypatch):
    other = ([math.nan, 0.4, 0.2], [False, True, True])
    difficulty = Difficulty([0, 1, 2], CPU)
    _observe(difficulty, [1], [0.8])
    _pretend(monkeypatch, lambda value: [value, other], 0)
    np.testing.assert_allclose(difficulty.end_epoch(), [0.25, 0.3, 0.2], rtol=1e-6)
    _pretend(monkeypatch, lambda value: [value, (value[0], [False] * 3)], 0)
    np.testing.assert_allclose(difficulty.end_epoch(), [0.25, 0.3, 0.2], rtol=1e-6)


def test_a_process_that_saw_nothing_in_an_epoch_takes_what_the_others_saw(monkeypatch):
    difficulty = Difficulty([0, 1], CPU)
    _observe(difficulty, [0], [0.8])
    difficulty.end_epoch()
    _pretend(monkeypatch, lambda value: [value, ([0.6, math.nan], [True, False])], 0)
    np.testing.assert_allclose(difficulty.end_epoch(), [0.6, 0.6], rtol=1e-6)


def test_each_process_continues_with_what_it_had_seen(monkeypatch):
    pair = [Difficulty([0, 1], CPU) for _ in range(2)]
    _observe(pair[0], [0], [0.9])
    _observe(pair[1], [1], [0.6])
    gathered = [(one._errors.tolist(), one._seen.tolist()) for one in pair]
    _pretend(monkeypatch, lambda _: gathered, 0)
    state = _saved(pair[0].state_dict())
    for rank, process in enumerate(pair):
        _pretend(monkeypatch, lambda _: gathered, rank)
        resumed = Difficulty([0, 1], CPU)
        resumed.load_state_dict(state)
        assert torch.equal(resumed._errors.nan_to_num(-1), process._errors.nan_to_num(-1))
        assert torch.equal(resumed._seen, process._seen)


@pytest.mark.parametrize("rank", [0, 2])
def test_another_number_of_processes_starts_from_what_all_had_seen(monkeypatch, rank):
    state = {
        "weights": None,
        "errors": torch.tensor([[0.2, 0.5], [math.nan, 0.3]]),
        "seen": torch.tensor([[True, True], [False, True]]),
    }
    _pretend(monkeypatch, lambda value: [value], rank, 3)
    difficulty = Difficulty([0, 1], CPU)
    difficulty.load_state_dict(state)
    assert difficulty._seen.tolist() == [rank == 0] * 2, "only one process brings the observations in"
    np.testing.assert_allclose(difficulty.end_epoch(), [0.2, 0.4], rtol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_observing_never_waits_for_the_gpu():
    device = torch.device("cuda")
    difficulty = Difficulty([4, 2], device)
    logits, target = _logits([0.9, 0.5]).to(device), torch.ones(2, 4, 4, dtype=torch.uint8, device=device)
    index = torch.tensor([2, 4])
    difficulty.observe(index, logits, target)
    torch.cuda.set_sync_debug_mode("error")
    try:
        difficulty.observe(index, logits, target)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    np.testing.assert_allclose(difficulty.end_epoch(), [0.5, 0.1], rtol=1e-5)
