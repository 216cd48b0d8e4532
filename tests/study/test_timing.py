from types import SimpleNamespace

import pytest
import torch

from seg_scse.study import timing
from seg_scse.study.timing import FEWEST, LEAST, MOST, time_steps

CPU = torch.device("cpu")


class Machine:
    """A machine whose clock moves only when a step is done, by its cost times how busy it is."""

    def __init__(self, monkeypatch, busy=lambda _: 1.0):
        self.now, self.calls, self.busy = 0.0, [], busy
        read = lambda: self.now  # noqa: E731
        monkeypatch.setattr(timing, "time", SimpleNamespace(process_time=read, monotonic=read))

    def step(self, name, cost):
        def do():
            self.now += cost * self.busy(len(self.calls))
            self.calls.append(name)

        return do


def test_rounds_go_to_and_fro_and_the_first_one_is_not_counted(monkeypatch):
    machine = Machine(monkeypatch, lambda call: 100.0 if call < 2 else 1.0)
    found, rounds = time_steps({"a": machine.step("a", 2.0), "b": machine.step("b", 3.0)}, "a", CPU, 1000.0)
    assert rounds == FEWEST
    assert "".join(machine.calls[:8]) == "ab" + "ab" + "ba" + "ab"
    assert (found["a"].seconds, found["b"].seconds, found["b"].ratio) == (2.0, 3.0, 1.5)
    assert (found["b"].low, found["b"].high) == (1.5, 1.5)


def test_a_machine_that_others_slow_down_gives_the_same_ratio(monkeypatch):
    machine = Machine(monkeypatch, lambda call: 1.0 + call // 2 % 5)  # a round is slowed as a whole
    found, _ = time_steps({"a": machine.step("a", 2.0), "b": machine.step("b", 3.0)}, "a", CPU, 1000.0)
    assert found["b"].ratio == pytest.approx(1.5)


def test_one_step_that_is_disturbed_changes_no_median(monkeypatch):
    machine = Machine(monkeypatch, lambda call: 50.0 if call in (5, 12) else 1.0)
    found, _ = time_steps({"a": machine.step("a", 2.0), "b": machine.step("b", 3.0)}, "a", CPU, 1000.0)
    assert found["b"].ratio == pytest.approx(1.5)


def test_noise_takes_more_rounds_and_is_told_by_the_quartiles(monkeypatch):
    machine = Machine(monkeypatch, lambda call: (1.0, 1.0, 1.5, 1.0, 0.5, 1.0)[call % 6])
    found, rounds = time_steps({"a": machine.step("a", 2.0), "b": machine.step("b", 3.0)}, "a", CPU, 1000.0)
    assert rounds == MOST
    assert found["b"].low < 1.2 < 1.4 < found["b"].high


@pytest.mark.parametrize(("seconds", "expected"), [(1000.0, MOST), (50.0, 10), (20.0, FEWEST), (1.0, LEAST)])
def test_the_time_ends_the_rounds_but_some_are_made(monkeypatch, seconds, expected):
    machine = Machine(monkeypatch, lambda call: (1.0, 1.0, 1.5, 1.0, 0.5, 1.0)[call % 6])
    rounds = time_steps({"a": machine.step("a", 2.0), "b": machine.step("b", 3.0)}, "a", CPU, seconds)[1]
    assert rounds == pytest.approx(expected, abs=1 if expected == 10 else 0)
