import numpy as np
import pytest

from seg_scse.errors import DataError
from seg_scse.metrics import bootstrap as engine
from seg_scse.metrics import intervals
from seg_scse.metrics.bootstrap import Bootstrap
from seg_scse.metrics.counts import CountArrays
from seg_scse.metrics.intervals import column_intervals, pooled_intervals, total_intervals, two_level_intervals
from seg_scse.metrics.ratios import METRICS

QUICK = Bootstrap("percentile", resamples=400, seed=7)


def column(images: int, classes: int, seed: int = 0, scored: float = 1.0) -> np.ndarray:
    random = np.random.default_rng(seed)
    values = random.beta(8, 2, (images, classes))
    values[random.random(values.shape) > scored] = np.nan
    return values


def counted(images: int, classes: int, seed: int = 0) -> CountArrays:
    random = np.random.default_rng(seed)
    tp, fp, fn, tn = (random.integers(0, 900, (images, classes)) for _ in range(4))
    return CountArrays(tp, fp, fn, tn, *(np.zeros(images, np.int64),) * 3)


def resampled(images: int, groups: list | None, settings: Bootstrap) -> list[np.ndarray]:
    """The images of each resample, by the definition: draw units, and take all of their images."""
    random = np.random.default_rng(settings.seed)
    names = list(dict.fromkeys(groups)) if groups else range(images)
    units = [[i for i in range(images) if (groups[i] if groups else i) == name] for name in names]
    draws = [random.integers(0, len(units), len(units)) for _ in range(settings.resamples)]
    return [np.array([image for unit in drawn for image in units[unit]]) for drawn in draws]


def class_scores(values: np.ndarray) -> list[float]:
    """Class means, after their mean over the foreground; NaN where nothing is scored."""
    means = [np.mean(scores[~np.isnan(scores)]) if (~np.isnan(scores)).any() else np.nan for scores in values.T]
    known = [mean for mean in means[1:] if not np.isnan(mean)]
    return [np.mean(known) if known else np.nan, *means]


GROUPS = [None, [f"patient {number // 3}" for number in range(40)]]


@pytest.mark.parametrize("groups", GROUPS, ids=["images", "groups"])
def test_intervals_of_columns_are_those_of_the_definition_in_loops(groups: list | None) -> None:
    data = column(40, 4, scored=0.6)
    found = column_intervals({"dice": data, "hd95": 100 * data}, groups, QUICK)
    expected = np.nanquantile(
        [class_scores(data[drawn]) for drawn in resampled(40, groups, QUICK)], [0.025, 0.975], axis=0
    ).T
    assert list(found) == ["dice_per_image", "hd95_per_image"]
    assert found["dice_per_image"] == pytest.approx(expected, abs=1e-12)
    assert found["hd95_per_image"] == pytest.approx(100 * expected, abs=1e-10)


@pytest.mark.parametrize("groups", GROUPS, ids=["images", "groups"])
def test_intervals_of_pooled_scores_are_those_of_the_definition_in_loops(groups: list | None) -> None:
    counts = counted(40, 3)
    scores = []
    for drawn in resampled(40, groups, QUICK):
        tp, fp, fn, tn = (count[drawn].sum(axis=0) for count in counts[:4])
        by_metric = [
            2 * tp / (2 * tp + fp + fn),
            tp / (tp + fp + fn),
            tp / (tp + fp),
            tp / (tp + fn),
            tn / (tn + fp),
            (tp + tn) / (tp + tn + fp + fn),
            abs(fp - fn) / (tp + fn),
            (fp - fn) / (tp + fn),
        ]
        scores.append([[score[1:].mean(), *score] for score in by_metric])
    expected = np.moveaxis(np.quantile(scores, [0.025, 0.975], axis=0), 0, 2)
    found = pooled_intervals(counts, groups, QUICK)
    assert list(found) == [f"{metric}_pooled" for metric in METRICS]
    for metric, ends in zip(METRICS, expected, strict=True):
        assert found[f"{metric}_pooled"] == pytest.approx(ends, abs=1e-12), metric


def test_images_of_different_size_make_pooled_and_mean_intervals_differ() -> None:
    tp = np.array([[0, 9], [0, 9], [0, 9], [0, 900_000], [0, 9]] * 4)
    fn = np.array([[0, 1], [0, 1], [0, 1], [0, 100_000], [0, 9]] * 4)
    nothing = np.zeros_like(tp)
    counts = CountArrays(tp, nothing, fn, nothing, *(np.zeros(20, np.int64),) * 3)
    recall = pooled_intervals(counts, None, Bootstrap())["recall_pooled"]
    assert recall[0] == pytest.approx([0.9, 0.9], abs=1e-3), "the large images decide, and all have 0.9"
    assert np.isnan(recall[1]).all(), "class 0 has no true pixel"


def test_the_foreground_of_two_classes_is_the_second() -> None:
    found = column_intervals({"dice": column(20, 2)}, None, QUICK)["dice_per_image"]
    assert found.shape == (3, 2)
    assert found[0].tolist() == found[2].tolist()


def test_a_class_in_too_few_images_has_no_interval_and_does_not_take_that_of_the_foreground() -> None:
    data = column(50, 3)
    data[2:, 2] = np.nan
    found = column_intervals({"dice": data}, None, Bootstrap())["dice_per_image"]
    assert np.isnan(found[3]).all()
    assert np.isfinite(found[:3]).all()


def test_a_score_that_is_nowhere_defined_has_no_interval() -> None:
    found = column_intervals({"recall": np.full((20, 2), np.nan)}, None, Bootstrap())
    assert np.isnan(found["recall_per_image"]).all()


@pytest.mark.parametrize(("images", "groups"), [(0, None), (1, None), (3, ["a", "a", "a"])])
def test_fewer_than_two_units_have_no_interval(images: int, groups: list | None) -> None:
    data, counts = column(images, 3), counted(images, 3)
    assert np.isnan(column_intervals({"dice": data}, groups, QUICK)["dice_per_image"]).all()
    assert np.isnan(pooled_intervals(counts, groups, QUICK)["dice_pooled"]).all()
    assert np.isnan(two_level_intervals([data, data], groups, QUICK)).all()


def test_infinite_scores_are_refused() -> None:
    data = column(5, 2)
    data[3, 1] = np.inf
    with pytest.raises(DataError, match="hd95: 1 of 10 scores are infinite; use NaN where nothing is scored"):
        column_intervals({"hd95": data}, None, QUICK)


def test_many_scores_are_resampled_in_parts_with_the_same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = {f"score{number}": column(15, 3, seed=number) for number in range(5)}
    whole = column_intervals(columns, None, QUICK)
    held, resample = [], intervals.bootstrap
    monkeypatch.setattr(intervals, "MOST_VALUES", 400 * 4 * 2)
    monkeypatch.setattr(
        intervals, "bootstrap", lambda sums, *others: held.append(sums.shape) or resample(sums, *others)
    )
    parts = column_intervals(columns, None, QUICK)
    assert held == [(15, 12), (15, 12), (15, 6)], "sums and numbers of two scores of three classes, and the fifth score"
    assert list(parts) == list(whole)
    for name, ends in whole.items():
        assert parts[name] == pytest.approx(ends, abs=1e-12)


def test_many_units_are_resampled_in_parts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    counts, held, resample = counted(50, 3), [], intervals.bootstrap
    settings = Bootstrap(resamples=40)
    whole = pooled_intervals(counts, None, settings)
    monkeypatch.setattr(intervals, "MOST_VALUES", 50 * 4 * 3)
    monkeypatch.setattr(
        intervals, "bootstrap", lambda sums, *others: held.append(sums.shape) or resample(sums, *others)
    )
    parts = pooled_intervals(counts, None, settings)
    assert len(held) == 3, "eight scores, three at a time"
    assert list(parts) == list(whole)
    for name, ends in whole.items():
        assert parts[name] == pytest.approx(ends, abs=1e-12)


def test_other_sums_have_intervals_by_their_own_formulas() -> None:
    tp, fp, fn = (column(30, 2, seed=seed) * 10 for seed in range(3))
    found = total_intervals([tp, fp, fn], lambda tp, fp, fn: {"object_f1": tp / (tp + (fp + fn) / 2)}, None, QUICK)
    sums = [(tp[drawn, 1].sum(), (fp + fn)[drawn, 1].sum()) for drawn in resampled(30, None, QUICK)]
    expected = np.quantile([hits / (hits + errors / 2) for hits, errors in sums], [0.025, 0.975])
    assert list(found) == ["object_f1_pooled"]
    assert found["object_f1_pooled"][2] == pytest.approx(expected, abs=1e-12)
    assert found["object_f1_pooled"][0] == pytest.approx(expected, abs=1e-12)


def runs(seeds: int, images: int, between_runs: float, columns: int = 1, seed: int = 0) -> list[np.ndarray]:
    """Scores around 0 of crossed runs and images."""
    random = np.random.default_rng(seed)
    of_image = random.normal(0, 0.1, (images, columns))
    return [
        of_image + random.normal(0, between_runs, (1, columns)) + random.normal(0, 0.05, (images, columns))
        for _ in range(seeds)
    ]


def covered(ends: np.ndarray) -> float:
    """Share of the classes whose interval holds 0."""
    return float(((ends[1:, 0] <= 0) & (ends[1:, 1] >= 0)).mean())


def test_intervals_over_runs_cover_new_runs_where_those_of_one_run_do_not() -> None:
    data = runs(5, 40, between_runs=0.03, columns=400)
    settings = Bootstrap(resamples=1000)
    assert 0.9 <= covered(two_level_intervals(data, None, settings)) <= 0.98
    assert covered(column_intervals({"dice": data[0]}, None, settings)["dice_per_image"]) < 0.75


def test_runs_without_a_difference_leave_the_interval_of_the_images() -> None:
    data = column(60, 3)
    settings = Bootstrap("percentile")
    found = two_level_intervals([data] * 3, None, settings)
    assert found == pytest.approx(column_intervals({"dice": data}, None, settings)["dice_per_image"], abs=2e-3)


def test_two_runs_are_drawn_one_at_a_time() -> None:
    data = [np.full((9, 2), 0.2), np.full((9, 2), 0.6)]
    low, high = two_level_intervals(data, None, Bootstrap(level=0.4))[0]
    assert (low, high) == pytest.approx((0.2, 0.6)), "of two at a time, half of the means would be 0.4"


def test_runs_and_images_are_drawn_independently() -> None:
    of_run, of_image = np.arange(5.0), np.arange(4.0)[:, None].repeat(2, axis=1)
    settings = Bootstrap(level=0.68)
    widths = [
        np.ptp(two_level_intervals([sign * of_image + run for run in of_run], None, settings)[0]) for sign in (1, -1)
    ]
    assert widths[0] == pytest.approx(widths[1], rel=0.06), "drawn alike, the two would add up or cancel"


def test_classes_that_only_some_runs_score_are_averaged_over_those() -> None:
    first, second = column(30, 2), column(30, 2, seed=1)
    second[:, 1] = np.nan
    found = two_level_intervals([first, second, first], None, Bootstrap())
    assert found[2] == pytest.approx(np.array([np.nan, np.nan]), nan_ok=True), "1 of 9 resamples holds run 2 alone"
    assert np.isfinite(found[1]).all()


def test_groups_are_the_units_of_an_interval_over_runs() -> None:
    random = np.random.default_rng(3)
    patients = np.repeat(random.normal(0, 0.1, (10, 2)), 6, axis=0)
    data = [patients + random.normal(0, 0.01, patients.shape) for _ in range(4)]
    groups = np.repeat(np.arange(10), 6).tolist()
    wide, narrow = (two_level_intervals(data, units, Bootstrap()) for units in (groups, None))
    assert (np.ptp(wide, axis=1) > 1.8 * np.ptp(narrow, axis=1)).all()


def test_intervals_over_runs_depend_on_the_seed_and_not_on_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    data = runs(3, 20, 0.02, columns=2)
    whole = two_level_intervals(data, None, QUICK)
    assert (whole == two_level_intervals(data, None, QUICK)).all()
    assert (whole != two_level_intervals(data, None, Bootstrap(resamples=400))).any()
    monkeypatch.setattr(engine, "CHUNK", 60)
    assert two_level_intervals(data, None, QUICK) == pytest.approx(whole, abs=1e-12)


@pytest.mark.parametrize("shapes", [[], [(4, 2), (5, 2)], [(4, 2), (4, 3)]])
def test_runs_on_other_images_are_refused(shapes: list) -> None:
    with pytest.raises(DataError, match="score the same images in every run"):
        two_level_intervals([np.ones(shape) for shape in shapes], None, QUICK)


def test_one_run_has_no_interval_over_runs() -> None:
    assert np.isnan(two_level_intervals([column(20, 2)], None, QUICK)).all()
