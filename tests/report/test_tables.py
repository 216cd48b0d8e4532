import csv
import json
import re
from pathlib import Path

import pytest

from seg_scse.errors import DataError
from seg_scse.report.reading import read_results
from seg_scse.report.tables import write_tables
from seg_scse.report.tables_text import markdown, markdown_table, tex, tex_table

from ..evaluation.compared_runs import strip, strips, write_run

LENGTHS = [4, 5, 6, 7, 8, 6, 5, 8]
HOSTILE = "50%_a&b#{c}$d^e~f\\g[h]*<i>|j"


def evaluated(root: Path, **facts) -> Path:
    return write_run(root / "run_1", facts.pop("masks", strips(LENGTHS)), **facts) / "evaluation" / "test"


def written(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in write_tables(folder)}


def is_balanced(text: str) -> bool:
    """Whether the braces of LaTeX match, escaped ones apart."""
    depth = 0
    for char in re.sub(r"\\[\\{}]", "", text):
        depth += (char == "{") - (char == "}")
        if depth < 0:
            return False
    return depth == 0


def test_the_csv_holds_every_score_with_its_interval(tmp_path):
    folder = evaluated(tmp_path)
    rows = {(row["score"], row["class"]): row for row in csv.DictReader(written(folder)["table.csv"].splitlines())}
    results = read_results(folder / "results.json")
    row = rows["dice_per_image", "cell"]
    assert float(row["value"]) == results.scores["dice_per_image"]["cell"]
    assert [float(row["low"]), float(row["high"])] == list(results.intervals["dice_per_image"]["cell"])
    assert [row[key] for key in ("level", "units", "policy", "scored", "empty")] == ["0.95", "8", "exclude", "8", "0"]
    assert set(rows) == {(score, name) for score, names in results.scores.items() for name in names}
    assert rows["hd95_per_image", "background"]["value"] == ""


def test_the_latex_table_states_how_it_was_made(tmp_path):
    text = written(evaluated(tmp_path))["table.tex"]
    assert r"run\_1 on the test split (n = 8 images, original resolution)" in text
    assert "mean over the images of each image's score" in text
    assert "left out of the mean (0 of 8 cases)" in text
    assert r"95 \% intervals of the bias-corrected and accelerated (BCa) bootstrap" in text
    assert r"10\,000" not in text
    assert r"1\,000 resamples of 8 images" in text
    assert re.search(r"^cell & 0\.\d{4} & .*\n & \{\\scriptsize 0\.\d{3}–0\.\d{3}\} & ", text, re.MULTILINE)
    assert r"& \multicolumn{4}{c}{Per image} & \multicolumn{2}{c}{Pooled} \\" in text
    assert r"\cmidrule(lr){2-5} \cmidrule(lr){6-7}" in text


def test_the_latex_table_is_well_formed(tmp_path):
    text = written(evaluated(tmp_path))["table.tex"]
    columns = re.search(r"\\begin\{tabular\}\{(l?r+)\}", text).group(1)
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    rows = [line for line in body.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert len(rows) == 5  # heading, and two classes with intervals below
    assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(columns)}
    assert is_balanced(text)
    assert [text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") for name in ("table", "tabular")]


def test_names_are_escaped_for_latex(tmp_path):
    folder = evaluated(tmp_path, classes=("none", HOSTILE), name=HOSTILE)
    text = written(folder)["table.tex"]
    row = next(line for line in text.splitlines() if line.startswith("50"))
    escaped = r"50\%\_a\&b\#\{c\}\$d\textasciicircum{}e\textasciitilde{}f\textbackslash{}g{[}h{]}{*}\textless{}i"
    assert row.startswith(escaped)
    assert is_balanced(text)
    assert re.search(r"\\label\{[A-Za-z0-9:.-]+\}", text)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a\u202f1", r"a\,1"),
        ("2 × 3", r"2 $\times$ 3"),
        ("\u22120.5", "$-$0.5"),
        ("line\nbreak", r"line\textbackslash{}nbreak"),
        ("“a”", "``a''"),
        ('a"b', "a''b"),  # \\textquotedbl is not in the encoding that LaTeX begins with
        ("Zürich", "Zürich"),
    ],
)
def test_signs_become_latex(text, escaped):
    assert tex(text) == escaped


def test_a_label_has_no_signs_that_latex_refuses():
    assert r"\label{tab:a-b-c}" in tex_table(["x"], [["1"]], "", "tab:a_b{c")


def test_names_are_escaped_for_markdown(tmp_path):
    folder = evaluated(tmp_path, name="<b>bold</b> [link](x) a|b", classes=("none", "c_e|l`l*"))
    text = written(folder)["report.md"]
    assert "<b>" not in text.replace(r"\<b", "")
    assert r"# \<b\>bold\</b\> \[link\](x) a\|b" in text
    assert r"| c\_e\|l\`l\* |" in text


def test_a_row_of_markdown_keeps_its_cells():
    assert markdown_table(["a", "b"], [["x|y", "1"]]).splitlines()[-1] == r"| x\|y | 1 |"
    assert markdown("two\nlines") == "two lines"


def test_the_report_in_markdown_has_the_headline_the_worst_images_and_the_origin(tmp_path):
    text = written(evaluated(tmp_path))["report.md"]
    results = read_results(tmp_path / "run_1/evaluation/test/results.json")
    assert f"{results.scores['dice_per_image']['foreground']:.4f}" in text
    worst = text[text.index("## Worst images") :].splitlines()
    assert worst[4] == "| image 0 | 0.5714 |"
    assert len([line for line in worst if line.startswith("| image")]) == 8
    assert "epoch 3, step 30" in text
    assert "SHA-256" in text
    assert "## To cite these numbers" in text


def test_several_classes_have_a_row_for_their_mean(tmp_path):
    masks = {f"i{k}": (strip(6, label=1 + k % 2), strip(10, label=1 + k % 2)) for k in range(6)}
    files = written(evaluated(tmp_path, masks=masks, classes=("none", "one", "two")))
    assert "\nForeground (mean) & " in files["table.tex"]
    assert "| Foreground (mean) |" in files["report.md"]


def test_predictions_of_unknown_origin_have_tables_too(tmp_path):
    protocol = dict.fromkeys(("threshold", "threshold_from", "tile", "overlap", "precision"))
    data = {"digest": None, "same_as_training": None, "samples": {"test": 8}, "name": "drawn"}
    folder = evaluated(tmp_path, checkpoint=None, predictions="masks", protocol=protocol, data=data)
    assert "Read from the files in masks" in written(folder)["report.md"]


def test_two_folders_of_masks_are_no_split(tmp_path):
    folder = evaluated(tmp_path, split="all", checkpoint=None, predictions="masks").with_name("all")
    text = written(folder)["report.md"]
    assert text.splitlines()[2].startswith("all files, 8 images, evaluated ")


def test_a_missing_result_is_named(tmp_path):
    folder = evaluated(tmp_path)
    (folder / "per_image.csv").unlink()
    with pytest.raises(DataError, match=r"per_image\.csv: file not found"):
        write_tables(folder)


def test_one_image_has_no_interval(tmp_path):
    files = written(evaluated(tmp_path, masks=strips([6])))
    assert "scriptsize" not in files["table.tex"]
    row = next(csv.DictReader(files["table.csv"].splitlines()))
    assert (row["low"], row["high"]) == ("", "")
    assert json.loads((tmp_path / "run_1/evaluation/test/results.json").read_text())["images"] == 1
