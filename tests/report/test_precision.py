import json

import pytest

from seg_scse.report import precision
from seg_scse.report.headings import MEASURES
from seg_scse.report.reading import Results, read_results


@pytest.mark.parametrize(
    ("metric", "interval", "text"),
    [("dice", (0.80, 0.85), "2.5 points"), ("hd95", (3.0, 5.5), "1.25 mm"), ("dice", None, None)],
)
def test_half_width_is_in_points_or_in_the_unit(metric, interval, text):
    assert precision.half_width_text(interval, MEASURES[metric], "mm") == text


def test_intervals_are_written_long_and_short():
    assert precision.interval_text((0.81234, 0.85), MEASURES["dice"]) == "0.8123 to 0.8500"
    assert precision.short_interval((0.81234, 0.85), MEASURES["dice"]) == "0.812–0.850"
    assert precision.short_interval((3.04, 12.5), MEASURES["hd95"]) == "3.0–12.5"
    assert precision.interval_text(None, MEASURES["dice"]) is precision.short_interval(None, MEASURES["dice"]) is None


def test_headlines_hold_value_interval_half_width_and_number(make_run):
    results = read_results(make_run() / "results.json")
    first, *_, last = precision.headlines(results)
    low, high = results.interval("dice_per_image")
    assert (first.label, first.averaging, first.n) == ("Dice", "per image", "6")
    assert first.interval == f"{low:.4f} to {high:.4f}"
    assert first.half_width == "2.5 points"
    assert (last.label, last.value, last.half_width) == ("HD95 (px)", "3.00", "0.02 px")


def test_only_what_was_measured_is_a_headline(make_run):
    results = read_results(make_run(surface=False, intervals={}) / "results.json")
    found = precision.headlines(results)
    assert [headline.key for headline in found] == ["dice_per_image", "dice_pooled", "iou_per_image", "iou_pooled"]
    assert {headline.interval for headline in found} == {None}
    assert precision.what_the_size_allows(results) is None
    assert precision.how_intervals_were_made(results) is None


def test_intervals_that_are_all_missing_are_not_described(make_run):
    folder = make_run()
    values = json.loads((folder / "results.json").read_text())
    values["intervals"] = {key: dict.fromkeys(row) for key, row in values["intervals"].items()}
    results = Results.model_validate(values)
    assert not results.has_intervals
    assert precision.how_intervals_were_made(results) is None


def test_sentence_on_the_size_says_what_half_the_width_would_take(make_run):
    sentence = precision.what_the_size_allows(read_results(make_run() / "results.json"))
    assert sentence.startswith(
        "With 6 images the 95 % interval of the foreground Dice per image has a half-width of 2.5 points: "
    )
    assert sentence.endswith("Half that width takes about 24 images.")


def test_groups_are_counted_where_images_depend_on_each_other(make_run):
    bootstrap = {"method": "bca", "level": 0.95, "resamples": 1000, "seed": 0, "unit": "group", "n": 2, "groups": True}
    results = read_results(make_run(bootstrap=bootstrap) / "results.json")
    assert precision.units(results) == "2 groups of images"
    assert precision.sample(results) == "6 images in 2 groups"
    assert precision.what_the_size_allows(results).endswith("about 8 groups of images.")
