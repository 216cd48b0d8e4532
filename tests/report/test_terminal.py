import json
import unicodedata

import pytest

from seg_scse.report import results_table


def table_of(folder) -> list[str]:
    return results_table(json.loads((folder / "results.json").read_text())).split("\n")


def row(lines: list[str], name: str) -> list[str]:
    return next(line for line in lines[lines.index("") :] if line.startswith(name))[len(name) :].split()


def test_first_lines_say_what_was_measured(make_run):
    lines = table_of(make_run())
    head = " ".join(lines[: lines.index("")])
    for part in (
        "drawn: test split, 6 images, original resolution",
        "checkpoints/best.ckpt of epoch 12",
        "Foreground: the class nucleus",
        "neither truth nor prediction: left out of the mean",
    ):
        assert part in head


@pytest.mark.parametrize(("policy", "words"), [("one", "counted as 1"), ("zero", "counted as 0")])
def test_policy_is_named(make_run, policy, words):
    folder = make_run()
    results = json.loads((folder / "results.json").read_text())
    results["protocol"]["empty"] = policy
    assert words in " ".join(results_table(results).split())


def test_rows_hold_the_scores_with_four_decimals_and_the_cases(make_run):
    folder = make_run(classes=["background", "axon", "myelin"])
    results = json.loads((folder / "results.json").read_text())
    order = ("dice_per_image", "dice_pooled", "iou_per_image", "iou_pooled")
    lines = table_of(folder)
    for name in ("axon", "myelin", "foreground"):
        expected = [f"{results['scores'][key][name]:.4f}" for key in order]
        expected.append(f"{results['scores']['hd95_per_image'][name]:.2f}")
        cases = results["cases"].get(name)
        assert row(lines, name) == expected + ([str(cases["scored"]), str(cases["empty"])] if cases else [])
    assert results["cases"]["myelin"] == {"scored": 5, "empty": 1, "missed": 0, "false": 0}
    assert "HD95 (px)" in lines[lines.index("") + 1]


def test_last_row_holds_the_intervals_of_the_foreground(make_run):
    folder = make_run()
    intervals = json.loads((folder / "results.json").read_text())["intervals"]
    assert row(table_of(folder), "95 % interval") == [
        *(
            "{:.3f}-{:.3f}".format(*intervals[key]["foreground"])
            for key in ("dice_per_image", "dice_pooled", "iou_per_image", "iou_pooled")
        ),
        "{:.1f}-{:.1f}".format(*intervals["hd95_per_image"]["foreground"]),
    ]


def test_a_foreground_without_intervals_has_no_row_for_them(make_run):
    folder = make_run()
    values = json.loads((folder / "results.json").read_text())
    for row in values["intervals"].values():
        row["foreground"] = None
    assert "interval" not in results_table(values)


def test_results_without_boundaries_and_intervals_have_neither_column_nor_row(make_run):
    text = "\n".join(table_of(make_run(surface=False, intervals={}, bootstrap=None)))
    assert "HD95" not in text
    assert "interval" not in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"predictions": "out/masks"}, "masks from out/masks"),
        (
            {"members": [{"run": r, "file": "f", "epoch": 1, "step": 2, "sha256": "x"} for r in "ab"]},
            "2 networks together",
        ),
    ],
)
def test_masks_without_a_checkpoint_say_where_they_come_from(make_run, changes, words):
    assert words in " ".join(table_of(make_run(checkpoint=None, **changes)))


def test_absent_class_is_na(make_run):
    lines = table_of(make_run(classes=["background", "seen", "never"], ids=["only"]))
    assert row(lines, "never") == ["n/a"] * 5 + ["0", "1"]


def test_lines_fit_100_columns_and_names_are_shortened_visibly(make_run):
    names = ["background", "peripheral nerve, unmyelinated axon", "peripheral nerve, unmyelinated soma", "细胞核" * 9]
    lines = table_of(make_run(classes=names))

    def wide(line: str) -> int:
        return sum(2 if unicodedata.east_asian_width(char) == "W" else 1 for char in line)

    assert max(map(wide, lines)) <= 100
    body = lines[lines.index("") + 2 :]
    assert len({wide(line) for line in body[:-2]}) == 1  # aligned
    assert len({line.split("0.")[0] for line in body}) == 6  # still told apart
    assert sum("…" in line for line in body) == 3


def test_control_characters_of_a_name_do_not_reach_the_terminal(make_run):
    text = "\n".join(table_of(make_run(classes=["background", "red\x1b[31m\nnucleus"], name="run\x07")))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\\x1b" in text


def test_a_chosen_threshold_and_copies_are_named(make_run):
    results = json.loads((make_run() / "results.json").read_text())
    results["protocol"] |= {"threshold": 0.41, "threshold_from": "val: dice_per_image = 0.9, n = 6", "tta": "flips"}
    text = " ".join(results_table(results).split())
    assert "threshold 0.41, chosen on validation images; mean of 4 mirrored copies;" in text
