import pytest

from seg_scse.report.class_table import average_rows, score_groups
from seg_scse.report.headings import GROUPS, MEASURES, groups_of
from seg_scse.report.reading import read_results


def test_scores_are_grouped_by_what_they_measure(make_run):
    groups = score_groups(read_results(make_run() / "results.json"))
    assert [group.name for group in groups] == ["Overlap", "Pixels and volume", "Boundary"]
    assert [label for label, _ in groups[0].columns] == ["Per image", "Pooled"]
    assert [heading for heading, _ in groups[0].columns[0][1]] == ["Dice", "IoU", "Precision", "Recall"]
    ((label, headings),) = groups[2].columns  # boundaries have no pooled score
    assert (label, [heading for heading, _ in headings]) == ("Per image", ["HD95 (px)", "NSD"])


def test_rows_hold_value_interval_and_counts(make_run):
    results = read_results(make_run(classes=["background", "axon", "myelin"]) / "results.json")
    overlap, _, boundary = score_groups(results)
    low, high = results.interval("dice_per_image", "myelin")
    row = overlap.rows[2]
    assert (row.label, row.counts) == ("myelin", (5, 1))
    assert row.cells[0].value == f"{results.score('dice_per_image', 'myelin'):.4f}"
    assert row.cells[0].interval == f"{low:.3f}–{high:.3f}"
    assert [row.label for row in boundary.rows] == ["axon", "myelin"]  # the background has no boundary
    assert boundary.counts == ("scored", "missed", "false")
    assert (overlap.foot.label, overlap.foot.colour, overlap.foot.counts) == ("Foreground", None, ())


def test_averages_over_classes_are_named_with_their_scope(make_run):
    headings, rows = average_rows(read_results(make_run() / "results.json"))
    assert headings[:2] == ["Dice per image", "Dice pooled"]
    assert [name for name, _ in rows][:2] == [
        "Macro: mean of the classes, without background",
        "Macro: mean of the classes, all classes",
    ]
    assert rows[0][1] == ["0.6250"] * 8


def test_without_averages_there_is_no_table(make_run):
    assert average_rows(read_results(make_run(averages={}) / "results.json")) == ([], [])


def test_every_measure_belongs_to_one_group():
    assert sorted(metric for metrics in GROUPS.values() for metric in metrics) == sorted(MEASURES)


@pytest.mark.parametrize(
    ("keys", "groups"),
    [
        (["hd95_per_image"], {"Boundary": ("hd95",)}),
        (["pq_pooled", "dice"], {"Overlap": ("dice",), "Objects": ("pq",)}),
    ],
)
def test_only_groups_with_a_score_are_shown(keys, groups):
    assert groups_of(keys) == groups
