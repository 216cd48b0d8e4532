import csv

import pytest

from seg_scse.report.study_csv import csv_text
from seg_scse.report.study_page import study_table
from seg_scse.report.study_reading import Study
from seg_scse.report.study_tables import lines, run_rows

from .study_content import CONTROLS, run, study_content, study_row, usual


def test_the_terminal_shows_variants_controls_and_what_the_treatment_adds_to_them():
    text = study_table(usual()).splitlines()
    assert text[0].startswith(
        "dice_per_image against none, test split, 133 images. Difference in points, 95 % interval "
    )
    assert text[0].endswith(" (bootstrap: report.md).")
    named = [line.split("  ")[0] for line in text[3:16]]
    assert named == [
        "none", "scse-add", "cse", "sse", "scse-max", *CONTROLS, *(f"scse-add - {name}" for name in CONTROLS)
    ]  # fmt: skip
    assert " ".join(text[4].split()) == "scse-add 5 0.9160 +0.4 −0.2 to +1.0 0.31 +0.25 60 / 13 / 60 × 1.18"
    assert "not tested" in text[8]
    assert "1.00" in text[12]
    assert text[-1].endswith("the gates use what is in the single image.")


@pytest.mark.parametrize(("variants", "seeds"), [(1, 1), (2, 2), (12, 20)])
def test_no_line_is_wider_than_120_columns(variants, seeds):
    names = [f"scse-max@encoder+decoder+a-long-name-of-a-variant-{number}" for number in range(variants)]
    half, p_holm = (None, None) if seeds == 1 else (0.25, 0.0123)
    images = {"images": 12345, "units": 12345, "improved": 10000, "ties": 1000, "worse": 1345}
    row = study_row(-0.2345, half, p_holm, seeds=seeds, **images)
    controls = dict.fromkeys([*CONTROLS, "another-control-with-a-name-that-is-too-long-for-a-table"], row)
    text = study_table(study_content(dict.fromkeys(names, row), controls, controls, seeds=seeds))
    assert max(map(len, text.splitlines())) <= 120
    assert f"variant-{variants - 1} " in text


def test_an_unfinished_study_says_so_first():
    content = usual()
    for place, status in ((3, "failed"), (4, "failed"), (7, "missing")):
        content["runs"][place] = run("cse", 0, status)
    assert study_table(content).startswith("This study is not finished: 42 of 45 runs are done, 2 failed.")


def test_notes_and_what_one_seed_lacks_are_said_first():
    content = study_content({"scse-add": study_row(0.004, None, seeds=1)}, seeds=1, notes=["Two\x1b devices."])
    first, second, *_ = study_table(content).splitlines()
    assert first == "Two\\x1b devices."
    assert second.startswith(
        "What is missing for intervals and tests: an interval over seeds needs at least two seeds,"
    )


def test_costs_are_those_of_the_baseline_and_ratios_to_it():
    base, variant, *_, frozen = lines(Study.model_validate(usual()))
    assert (base.parameters, base.step, base.memory) == (("1\u202f000\u202f000", ""), "40 ms", "64 MiB")
    assert variant.parameters == ("1\u202f012\u202f300", "+1.23 %")
    assert (variant.step, variant.memory) == ("× 1.18", "× 1.07")
    assert (frozen.name, frozen.parameters, frozen.step) == ("frozen", ("n/a", ""), "n/a")


def test_other_metrics_have_intervals_in_their_unit():
    _, variant, *_ = lines(Study.model_validate(usual()))
    assert variant.others == (("+0.20", "−0.20 to +0.60"), ("−0.50", "−1.75 to +0.75"))
    assert variant.images == ("60 / 13 / 60", "45 % improved")
    assert variant.declared
    assert not lines(Study.model_validate(usual()))[-1].declared


def test_every_cell_is_in_the_table_of_runs_with_its_error():
    content = usual()
    content["runs"][3] = run("sse", 0, "failed", error="out of memory")
    rows = run_rows(Study.model_validate(content))
    assert len(rows) == 45
    assert rows[0] == ("none", ["0", "done", "12", "0.9000", "0.9120", "0.8500", "9.00", "123"], "")
    assert rows[3] == ("sse", ["0", "failed", "", "n/a", "n/a", "n/a", "n/a", ""], "out of memory")


def test_table_csv_has_a_row_per_variant_and_metric_with_numbers_in_full():
    content = usual()
    content["rows"][0]["metrics"]["dice"] |= {"difference": 0.004123456789, "bootstrap_low": -0.0011}
    rows = list(csv.DictReader(csv_text(Study.model_validate(content)).splitlines()))
    assert len(rows) == 3 * 9 + 4
    assert [row["variant"] for row in rows[:4]] == ["none", "none", "none", "scse-add"]
    row = rows[3]
    assert (row["metric"], row["against"], row["declared"], row["tested"]) == ("dice_per_image", "none", "yes", "yes")
    assert float(row["difference"]) == 0.004123456789
    assert (float(row["bootstrap_low"]), row["bootstrap_high"]) == (-0.0011, "")
    assert (float(row["sd_seed"]), row["needed_seeds"], row["comparisons"]) == (0.004, "12", "8")
    assert (row["parameters"], row["step_ratio"]) == ("1012300", "1.18")
    assert (rows[4]["metric"], rows[4]["declared"]) == ("iou_per_image", "no")
    assert (rows[-1]["variant"], rows[-1]["against"], rows[-1]["declared"]) == ("scse-add", "frozen", "yes")
