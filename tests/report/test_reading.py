import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg_scse.errors import DataError
from seg_scse.report import write_report


def change(path: Path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("name", ["results.json", "per_image.csv", "cases/index.json", "cases/0.truth.png"])
def test_missing_file_is_named_with_the_cure(make_run, name):
    folder = make_run()
    (folder / name).unlink()
    with pytest.raises(DataError, match=rf"{re.escape(name)}: file not found\.\n`python evaluate\.py RUN` writes"):
        write_report(folder)
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("results.json", b"{", "is not JSON"),
        ("results.json", b"\xff", "cannot be read"),
        ("results.json", b"[]", "does not hold what it should"),
        ("results.json", b'{"format": 3}', "format: Input should be 2"),
        ("results.json", b'{"format": 1}', "is of format 1, which has no intervals; .*: evaluate again"),
        ("probabilities.json", b'{"bins": 4, "curves": [{}]}', r"curves\.0\.name: Field required"),
        ("per_image.csv", b"", "is not a CSV file with a header"),
        ("per_image.csv", b"id\na\n", "lacks the columns"),
        ("cases/index.json", b'[{"id": "a"}]', r"0\.kind: Field required"),
        ("cases/0.image.png", b"\x89PNG\r\n", "is not a readable PNG"),
    ],
)
def test_damaged_file_is_named_with_the_problem_and_the_cure(make_run, name, content, problem):
    folder = make_run()
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{re.escape(name)}: (?s:.*){problem}(?s:.*)run it again"):
        write_report(folder)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"confusion": [[1, 2]]}, "confusion must be 2 x 2"),
        ({"cases": {}}, "cases lacks"),
        ({"scores": {}}, r"scores\.\w+ lacks"),
        ({"intervals": {"dice_per_image": {"foreground": [0.1]}}}, r"intervals\.dice_per_image\.foreground"),
        ({"images": 7}, "has 6 rows, but results.json counts 7 images"),
    ],
)
def test_inconsistent_results_are_refused(make_run, values, problem):
    folder = make_run()
    change(folder / "results.json", **values)
    with pytest.raises(DataError, match=problem):
        write_report(folder)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (r"\g<1>16,nan,", "'nan' is not a score in"),
        (r"\g<1>16,1.5,", "'1.5' is not a score in"),
        (r"\g<1>16,high,", "could not convert string to float: 'high'"),
        (r"\g<1>many,0.5,", "invalid literal"),
        (r"\g<1>16,0.5,0.5,", "row 4 has 36 cells, the header has 35"),
    ],
)
def test_bad_cell_is_refused(make_run, row, problem):
    folder = make_run()
    path = folder / "per_image.csv"
    path.write_text(re.sub(r"(image_3,48,48,)16,[^,]*,", row, path.read_text()))
    with pytest.raises(DataError, match=rf"per_image\.csv: {problem}(?s:.*)run it again"):
        write_report(folder)


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.zeros((48, 48, 3), np.uint8), "is RGB, 48 x 48; an 8-bit index map of 48 x 48 is needed"),
        (np.zeros((20, 48), np.uint8), "is L, 48 x 20; an 8-bit index map"),
        (np.full((48, 48), 7, np.uint8), r"holds the values \[7\], which are no index of the 2 classes"),
    ],
)
def test_mask_that_is_no_index_map_is_refused(make_run, array, problem):
    folder = make_run()
    Image.fromarray(array).save(folder / "cases" / "2.prediction.png")
    with pytest.raises(DataError, match=rf"2\.prediction\.png: {problem}"):
        write_report(folder)


def test_a_case_cannot_embed_a_file_from_elsewhere(make_run):
    folder = make_run()
    Image.new("RGB", (48, 48)).save(folder / "private.png")
    index = folder / "cases" / "index.json"
    index.write_text(json.dumps([json.loads(index.read_text())[0] | {"image": "../private.png"}]))
    with pytest.raises(DataError, match=r"0\.image: String should match pattern"):
        write_report(folder)
