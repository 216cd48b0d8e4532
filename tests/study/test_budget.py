"""Durations as they are typed and said, and whether another run fits."""

import argparse

import pytest

from seg_scse.study.budget import Budget, seconds_of, spoken


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("90m", 5400), ("6h", 21600), ("1.5d", 129600)])
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "6", "6 h", "-1h", "0m", "1h30m", "nan"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"is no duration: write 90m, 6h or 1\.5d"):
        seconds_of(text)


@pytest.mark.parametrize(("seconds", "text"), [(48.4, "48 s"), (720, "12 min"), (12240, "3.4 h")])
def test_a_duration_is_said(seconds: float, text: str) -> None:
    assert spoken(seconds) == text


def test_time_left_is_that_of_the_runs_that_ended() -> None:
    assert Budget(None, []).left(3, 1) == ""
    assert Budget(None, [60.0, 180.0]).left(0, 1) == ""
    assert Budget(None, [60.0, 180.0]).left(-1, 1) == ""
    assert Budget(None, [60.0, 180.0]).left(6, 2) == "about 6 min left"


def test_without_a_limit_everything_is_allowed() -> None:
    budget = Budget(None, [1e9])
    assert budget.allows_another()
    assert not budget.is_spent()


def test_a_limit_allows_what_ends_in_time() -> None:
    assert Budget(100.0, []).allows_another()
    assert Budget(100.0, [60.0]).allows_another()
    assert not Budget(100.0, [150.0]).allows_another()
    assert Budget(1e-9, []).is_spent()
