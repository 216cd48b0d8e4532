import resource
import sys

import pytest
import torch

from seg_scse.training.meter import BLOCK, Meter, Timing, duration, size

CPU = torch.device("cpu")


class Clock:
    """A clock that goes on when it is told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def steps(meter: Meter, clock: Clock, count: int, each: float) -> None:
    for _ in range(count):
        clock.now += each
        meter.step()


def validate(meter: Meter, clock: Clock, seconds: float) -> None:
    with meter.validating():
        clock.now += seconds


def test_nothing_is_known_before_the_first_step(clock: Clock) -> None:
    meter = Meter(100, 0, 8, CPU, 10, clock)
    assert meter.left() is meter.samples_per_second() is None
    assert "img/s" not in meter.text()
    assert "left" not in meter.text()


def test_steps_and_validations_that_are_left_are_counted(clock: Clock) -> None:
    meter = Meter(100, 0, 8, CPU, 10, clock)
    steps(meter, clock, 10, 2.0)
    assert meter.left() == pytest.approx(90 * 2.0)  # what a validation takes is not known yet
    validate(meter, clock, 7.0)
    assert meter.left() == pytest.approx(90 * 2.0 + 9 * 7.0)
    steps(meter, clock, 5, 2.0)
    assert meter.left() == pytest.approx(85 * 2.0 + 9 * 7.0)
    assert meter.samples_per_second() == pytest.approx(4.0)


def test_what_comes_after_a_validation_is_expected_after_the_next_one_too(clock: Clock) -> None:
    meter = Meter(30, 0, 8, CPU, 10, clock)
    steps(meter, clock, 10, 2.0)
    validate(meter, clock, 7.0)
    clock.now += 1.0  # the best checkpoint
    assert meter.end_epoch().left == pytest.approx(20 * 2.0 + 2 * 8.0)
    clock.now += 3.0  # the last checkpoint, pictures
    meter.begin_epoch()
    assert meter.left() == pytest.approx(20 * 2.0 + 2 * 11.0)


def test_the_validation_at_the_end_of_a_last_short_epoch_is_counted(clock: Clock) -> None:
    meter = Meter(25, 0, 8, CPU, 10, clock)
    steps(meter, clock, 10, 1.0)
    validate(meter, clock, 5.0)
    assert meter.left() == pytest.approx(15 + 2 * 5.0)
    steps(meter, clock, 15, 1.0)
    assert meter.left() == 0.0


def test_a_resumed_run_counts_from_where_it_is(clock: Clock) -> None:
    meter = Meter(100, 95, 8, CPU, 10, clock)
    steps(meter, clock, 1, 3.0)
    assert meter.left() == pytest.approx(4 * 3.0)


def test_a_pause_does_not_move_the_rate(clock: Clock) -> None:
    meter = Meter(1000, 0, 4, CPU, None, clock)
    steps(meter, clock, 3 * BLOCK, 0.5)
    clock.now += 3600  # the machine was asleep
    steps(meter, clock, BLOCK, 0.5)
    assert meter.samples_per_second() == pytest.approx(8.0)
    assert meter.left() == pytest.approx((1000 - 4 * BLOCK) * 0.5)


def test_a_run_that_has_become_slower_is_noticed(clock: Clock) -> None:
    meter = Meter(10_000, 0, 4, CPU, None, clock)
    steps(meter, clock, 20 * BLOCK, 0.5)
    steps(meter, clock, 8 * BLOCK, 2.0)
    assert meter.samples_per_second() == pytest.approx(2.0)


def test_steps_of_a_gpu_that_is_waited_for_at_some_of_them_are_timed_together(clock: Clock) -> None:
    meter = Meter(1000, 0, 4, CPU, None, clock)
    for _ in range(4):
        steps(meter, clock, BLOCK - 1, 0.001)
        steps(meter, clock, 1, BLOCK - (BLOCK - 1) * 0.001)
    assert meter.samples_per_second() == pytest.approx(4.0)


def test_an_epoch_is_divided_into_training_and_validation(clock: Clock) -> None:
    meter = Meter(100, 0, 8, CPU, 10, clock)
    clock.now += 50.0  # between building and the first step
    meter.begin_epoch()
    clock.now += 1.0  # loader processes start
    steps(meter, clock, 10, 2.0)
    clock.now += 3.0  # averages are made ready
    validate(meter, clock, 7.0)
    clock.now += 0.5
    timing = meter.end_epoch()
    assert timing.seconds == pytest.approx(31.5)
    assert timing.train_seconds == pytest.approx(24.0)
    assert timing.val_seconds == pytest.approx(7.0)
    assert timing.samples_per_second == pytest.approx(80 / 24.0)
    assert timing.left == meter.left()
    meter.begin_epoch()
    steps(meter, clock, 10, 2.0)
    second = meter.end_epoch()
    assert (second.seconds, second.train_seconds) == pytest.approx((20.0, 20.0))
    assert second.val_seconds is None


def test_an_epoch_of_which_only_the_validation_was_left_has_no_rate(clock: Clock) -> None:
    meter = Meter(100, 10, 8, CPU, 10, clock)
    validate(meter, clock, 7.0)
    timing = meter.end_epoch()
    assert timing.samples_per_second is None
    assert timing.left is None
    assert "img/s" not in timing.text()


def test_memory_of_a_cpu_is_the_largest_resident_set(clock: Clock) -> None:
    found = Meter(1, 0, 1, CPU, None, clock).peak_memory()
    unit = 1 if sys.platform == "darwin" else 1024
    assert found == pytest.approx(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, rel=0.05)
    assert found > 50e6  # bytes: this process has torch


def test_memory_of_a_gpu_is_what_torch_had_allocated(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 10 + device.index)
    assert Meter(1, 0, 1, torch.device("cuda", 3), None, clock).peak_memory() == 13


def test_the_text_of_the_bar_is_made_twice_a_second_at_most(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    meter = Meter(1000, 0, 4, CPU, None, clock)
    monkeypatch.setattr(meter, "peak_memory", lambda: 1_500_000_000)
    steps(meter, clock, 1, 0.2)
    first = meter.text()
    assert first == "20 img/s, 1.5 GB, 3 min left"
    steps(meter, clock, 1, 0.4)
    assert meter.text() == first
    steps(meter, clock, 1, 0.4)
    assert meter.text() != first


def test_an_epoch_in_words() -> None:
    assert Timing(41.2, 30.0, 11.0, 123.4, 850_000_000, 0.0).text() == "41 s, 123 img/s, 850 MB"
    assert Timing(0.42, 0.4, None, None, None, None).text() == "0.4 s"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (99.4, "99 s"),
        (99.6, "2 min"),
        (1920, "32 min"),
        (5969, "99 min"),
        (5971, "1 h 40 min"),
        (18_600, "5 h 10 min"),
        (183_600, "2 d 3 h"),
    ],
)
def test_durations_are_told_in_the_unit_that_tells_most(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_sizes_are_decimal() -> None:
    assert (size(999_400_000), size(1_240_000_000)) == ("999 MB", "1.2 GB")
