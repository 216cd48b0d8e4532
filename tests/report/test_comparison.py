import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seg_scse.errors import DataError
from seg_scse.evaluation.compare import Options, compare
from seg_scse.report.comparison import comparison_text, verdicts, write_comparison
from seg_scse.report.comparison_figures import change_layer

from ..evaluation.compared_runs import Masks, strip, strips, write_run

LOW, HIGH = [4, 5, 6, 7, 8, 6, 5, 8, 4, 5], [6, 7, 8, 9, 9, 8, 7, 9, 7, 8]
HOSTILE = "<img src=x onerror=alert(1)>"


def compared(
    root: Path, *found: Sequence[int] | Masks, names: Sequence[str] = ("unet", "scse", "cbam"), **options: Any
):
    masks = [one if isinstance(one, dict) else strips(one) for one in found]
    runs = [write_run(root / f"run{k}", one, name=names[k]) for k, one in enumerate(masks)]
    return compare(runs, Options(**{"cases": 0, "out": root / "out", **options}))


def page_of(folder: Path) -> str:
    return write_comparison(folder)[0].read_text()


def test_the_verdict_on_a_clear_gain(tmp_path):
    _, content = compared(tmp_path, LOW, HIGH)
    (text,) = verdicts(content)
    row = content["pairs"][0]["rows"][0]
    assert text == (
        f"scse improves on unet: foreground dice_per_image +{100 * row['difference']:.1f} points (95 % interval "
        f"+{100 * row['low']:.1f} to +{100 * row['high']:.1f}, 10 images; better in 10, worse in 0; p = 0.002)."
    )


def test_the_verdict_turns_with_the_arguments(tmp_path):
    (text,) = verdicts(compared(tmp_path, HIGH, LOW)[1])
    assert text.startswith("scse falls behind unet: foreground dice_per_image −")
    assert "better in 0, worse in 10" in text


def test_the_verdict_on_noise_says_what_could_be_found(tmp_path):
    shuffled = [5, 4, 7, 6, 8, 6, 6, 7, 4, 5]
    _, content = compared(tmp_path, LOW, shuffled)
    (text,) = verdicts(content)
    assert text.startswith("scse is not distinguishable from unet: foreground dice_per_image ")
    assert "equal in 4" in text or "not tested" in text
    row = content["pairs"][0]["rows"][0]
    if row["detectable"] is not None:
        assert f"a difference of {100 * row['detectable']:.1f} points would be found in 4 of 5 cases." in text


def test_the_verdict_on_equal_runs_is_no_difference(tmp_path):
    (text,) = verdicts(compared(tmp_path, LOW, LOW)[1])
    assert text == (
        "scse and unet score the same: the foreground dice_per_image is equal in all 10 images, no difference."
    )


def test_the_verdict_on_too_few_images_says_why_nothing_is_tested(tmp_path):
    (text,) = verdicts(compared(tmp_path, LOW[:4], HIGH[:4])[1])
    assert text.startswith("scse against unet is not tested: foreground dice_per_image +")
    assert "can give no p below 0.12" in text


def test_the_verdict_on_a_distance_is_in_its_unit(tmp_path):
    near, far = ({f"i{k}": (strip(10 + more), strip(10)) for k in range(10)} for more in (1, 4))
    (text,) = verdicts(compared(tmp_path, far, near, metric="hd95")[1])
    assert text.startswith("scse improves on unet: foreground hd95_per_image −")
    assert " px (" in text
    assert text.endswith("Lower is better.")


def test_a_mean_against_most_images_is_pointed_out(tmp_path):
    before = [5, 5, 5, 5, 5, 5, 5, 9, 9, 9]
    after = [6, 6, 6, 6, 6, 6, 6, 1, 1, 1]
    (text,) = verdicts(compared(tmp_path, before, after)[1])
    assert "opposite directions" in text


def test_several_pairs_state_the_number_of_comparisons(tmp_path):
    _, content = compared(tmp_path, LOW, HIGH, HIGH)
    texts = verdicts(content)
    assert len(texts) == 2
    assert all(
        "Holm p = 0.0039 over 2 comparisons" in text or "Holm p = 0.004 over 2 comparisons" in text for text in texts
    )
    assert texts[1].startswith("cbam improves on unet")


def test_the_terminal_shows_table_verdict_and_caution(tmp_path):
    lines = comparison_text(compared(tmp_path, LOW, HIGH)[1]).splitlines()
    assert lines[0].startswith("dice_per_image against unet, test split, 10 images.")
    assert lines[2].split()[:2] == ["Run", "Class"]
    assert lines[3].split()[:2] == ["scse", "foreground"]
    assert lines[3].endswith("10 / 0 / 0")
    assert "One run of each cannot tell the method from the seed" in " ".join(lines)
    assert max(map(len, lines)) <= 100


def test_the_page_says_what_was_found_and_how(tmp_path):
    folder, content = compared(tmp_path, LOW, HIGH)
    html = page_of(folder)
    assert verdicts(content)[0] in html
    assert "One run of each cannot tell the method from the seed" in html
    assert html.count("<circle") == 10
    assert "<title>image 0: unet 0.5714, scse 0.7500</title>" in html
    assert "scse minus unet" in html
    assert "Wilcoxon signed-rank test over images" in html
    assert "No pictures were asked for." in html
    assert "http" not in html.replace("http-equiv", "")


def test_the_page_has_a_forest_of_classes(tmp_path):
    def drawn(shift: int) -> Masks:
        masks = {}
        for k in range(12):
            truth, found = np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8)
            for label in (1, 2):
                truth[label, :10] = found[label, : 4 + (k + label * shift) % 6] = label
            masks[f"i{k}"] = (found, truth)
        return masks

    classes = ("none", "one", "two")
    runs = [write_run(tmp_path / f"run{k}", drawn(k), classes) for k in (0, 1)]
    folder, content = compare(runs, Options(cases=0, out=tmp_path / "out"))
    html = page_of(folder)
    assert html.count('class="panel"') == 3
    assert "forest" in html.split("</style>")[1]
    assert "By class, " in verdicts(content)[0]


def test_hostile_names_stay_text(tmp_path):
    masks = [{HOSTILE: (strip(one), strip(10)), "</script>": (strip(one), strip(10))} for one in (5, 7)]
    folder, _ = compared(tmp_path, *masks, names=(HOSTILE, "a_b & c|d"))
    written = {path.name: path.read_text() for path in write_comparison(folder)}
    page = written["compare.html"]
    assert "<img src=x" not in page
    assert page.count("</script>") == page.count("<script")
    assert "<img" not in written["compare.md"].replace("\\<img", "")
    assert "a\\_b \\& c\\|d" in written["compare.md"]
    assert r"a\_b \& c\textbar{}d" in written["table.tex"]
    assert r"\textless{}img" in written["table.tex"]


def test_the_table_holds_all_numbers(tmp_path):
    folder, content = compared(tmp_path, LOW, HIGH)
    path = next(path for path in write_comparison(folder) if path.name == "table.csv")
    (row,) = csv.DictReader(path.read_text().splitlines())
    expected = content["pairs"][0]["rows"][0]
    assert float(row["difference"]) == expected["difference"]
    assert float(row["pooled_high"]) == expected["pooled"]["high"]
    assert (row["run"], row["baseline"], row["score"], row["better"]) == ("scse", "unet", "dice_per_image", "10")


def test_a_change_is_newly_right_or_newly_wrong():
    truth = np.array([[1, 1, 0, 0, 255]], np.uint8)
    before = np.array([[1, 0, 1, 0, 0]], np.uint8)
    after = np.array([[0, 1, 0, 0, 1]], np.uint8)
    drawn = np.asarray(change_layer(truth, before, after).convert("RGBA"))[0]
    assert tuple(drawn[0][:3]) == (213, 94, 0)  # newly wrong
    assert tuple(drawn[1][:3]) == tuple(drawn[2][:3]) == (86, 180, 233)  # newly right
    assert drawn[3][3] == 0
    assert tuple(drawn[4][:3]) == (128, 128, 128)


def add_case(folder: Path, **changes: Any) -> None:
    truth, before, after = strip(10), strip(5), strip(8)
    image = np.zeros((20, 20, 3), np.uint8)
    names = {"image": image, "truth": truth, "prediction_a": before, "prediction_b": after}
    (folder / "cases").mkdir()
    for name, pixels in names.items():
        Image.fromarray(pixels).save(folder / "cases" / f"{name}.png")
    files = {name: f"{name}.png" for name in names}
    entry = {"id": "image 0", "kind": "better", "a": 0.5, "b": 0.75, "difference": 0.25, "scale": 1.0, "remade": True}
    content = json.loads((folder / "compare.json").read_text())
    content["pairs"][0] |= {"cases": [{**entry, **files, **changes}], "no_cases": ""}
    (folder / "compare.json").write_text(json.dumps(content))


def test_a_case_is_drawn_with_both_predictions_and_the_change(tmp_path):
    folder, _ = compared(tmp_path, LOW, HIGH)
    add_case(folder)
    body = page_of(folder).split("</style>")[1]
    for view in ("image", "truth", "prediction", "second", "errors"):
        assert body.count(f'id="{view}-1-0"') == 1
    assert "<b>+25.0 points</b>" in body
    assert "unet 0.5000, scse 0.7500" in body
    assert "is not exactly the one" not in body


def test_a_prediction_that_came_out_otherwise_is_admitted(tmp_path):
    folder, _ = compared(tmp_path, LOW, HIGH)
    add_case(folder, remade=False)
    assert "is not exactly the one that was scored" in page_of(folder)


def test_a_damaged_comparison_is_named(tmp_path):
    folder, _ = compared(tmp_path, LOW, HIGH)
    (folder / "differences.csv").write_text("id\n")
    with pytest.raises(DataError, match=r"differences\.csv: lacks the columns"):
        write_comparison(folder)
    (folder / "compare.json").write_text("{}")
    with pytest.raises(DataError, match=r"compare\.json: does not hold what it should"):
        write_comparison(folder)
