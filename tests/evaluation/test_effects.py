import numpy as np
import pytest

from seg_scse.evaluation.effects import UNTOUCHED, Effects, verdict
from seg_scse.metrics.counts import Counts, CountsTable
from seg_scse.metrics.statistics import Interval

MEAN = ("decoder.1", "mean")


def table(*cells: tuple[int, int, int]) -> CountsTable:
    """Counts of images of 10 x 20 pixels from tp, fp and fn of the foreground."""
    made = CountsTable(2)
    for number, (tp, fp, fn) in enumerate(cells):
        made.add(f"s{number}", Counts(np.array([[200 - tp - fp - fn, fp], [fn, tp]]), 10, 20))
    return made


def effects(
    before: CountsTable, after: CountsTable, groups: list[str] | None = None, empty: str = "exclude"
) -> Effects:
    tables = {UNTOUCHED: before, MEAN: after}
    return Effects(tables, ["background", "cell"], empty, groups, seed=0, margin=0.002)


def test_images_are_compared_with_themselves_so_that_their_differences_do_not_widen_the_interval() -> None:
    before = [(10 * number, 100 - 10 * number, 0) for number in range(1, 10)]
    after = [(tp, fp + 5, fn) for tp, fp, fn in before]
    change = effects(table(*before), table(*after)).change(MEAN)
    scores = [[2 * tp / (2 * tp + fp + fn) for tp, fp, fn in cells] for cells in (before, after)]
    assert np.std(scores[0]) > 0.2, "between the images, scores differ much"
    assert change.mean == pytest.approx(np.mean(np.subtract(scores[1], scores[0])))
    assert change.high - change.low < 0.01
    assert change.n == 9


@pytest.mark.parametrize(("empty", "n"), [("exclude", 2), ("one", 3)])
def test_an_image_that_is_scored_only_once_is_left_out_with_its_group(empty: str, n: int) -> None:
    before, after = table((50, 0, 0), (60, 20, 0), (0, 9, 0)), table((50, 10, 0), (60, 30, 0), (0, 0, 0))
    change = effects(before, after, ["a", "b", "c"], empty).change(MEAN)
    assert change.n == n
    expected = [100 / 110 - 1, 120 / 150 - 120 / 140, *([1.0] if empty == "one" else [])]
    assert change.mean == pytest.approx(np.mean(expected))


def test_groups_are_the_units_of_the_interval() -> None:
    before = table(*[(50, 0, 0)] * 4)
    after = table((50, 20, 0), (50, 20, 0), (50, 0, 0), (50, 0, 0))
    grouped = effects(before, after, ["a", "a", "b", "b"]).change(MEAN)
    assert (grouped.low, grouped.high) == pytest.approx((2 * 50 / 120 - 1, 0.0)), "two groups: one, both or the other"
    assert grouped.n == 2


def test_a_row_holds_the_interventions_that_were_counted_and_their_averages() -> None:
    row = effects(table((50, 0, 0), (50, 50, 0)), table((40, 0, 10), (40, 60, 10))).row("decoder.1", "scse")
    assert (row["site"], row["kind"], list(row["interventions"])) == ("decoder.1", "scse", ["mean"])
    assert row["interventions"]["mean"]["dice_pooled"] == pytest.approx(160 / (160 + 60 + 20))
    assert (row["verdict"], row["reason"]) == ("undecided", "fewer than 20 images")


@pytest.mark.parametrize(
    ("images", "groups", "expected"),
    [
        (19, None, ("undecided", "fewer than 20 images")),
        (20, None, ("earns its place", "")),
        (40, 19, ("undecided", "fewer than 20 groups")),
        (40, 20, ("earns its place", "")),
    ],
)
def test_a_verdict_takes_twenty_independent_units(images: int, groups: int | None, expected: tuple[str, str]) -> None:
    before, after = table(*[(50, 0, 0)] * images), table(*[(40, 0, 10)] * images)
    units = None if groups is None else [f"g{number % groups}" for number in range(images)]
    row = effects(before, after, units).row("decoder.1", "scse")
    assert (row["verdict"], row["reason"]) == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-0.03, -0.001, "earns its place"),
        (-0.03, 0.001, "undecided"),
        (-0.002, 0.002, "free to fold"),
        (-0.0015, -0.0005, "free to fold"),
        (-0.0021, 0.0, "undecided"),
        (0.001, 0.02, "better frozen"),
        (None, None, "undecided"),
    ],
)
def test_the_verdict_is_read_off_the_interval(low: float | None, high: float | None, expected: str) -> None:
    assert verdict(Interval(0.0, low, high, 20), margin=0.002) == expected
