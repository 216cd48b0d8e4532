import csv
import errno
from pathlib import Path

import pytest

from seg_scse.errors import WriteError
from seg_scse.prediction.writing.areas import ClassCounts
from seg_scse.prediction.writing.summary import SummaryRow, write_summary

DONE = SummaryRow(
    id="a/b",
    input="in/a/b.tif",
    status="done",
    height=3,
    width=4,
    counts=ClassCounts((2, 6), (200.0, 1 / 3), 4),
    area_unit="m2",
    seconds=1.23456,
)
FAILED = SummaryRow(id="c", input="in/c.tif", status="failed", error="cut off:\nline two")


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_an_item_is_a_line_of_counts_and_areas(tmp_path: Path) -> None:
    write_summary(tmp_path / "summary.csv", [DONE, FAILED], ["background", "forest"])
    done, failed = table(tmp_path / "summary.csv")
    assert done == {
        "id": "a/b",
        "input": "in/a/b.tif",
        "status": "done",
        "height": "3",
        "width": "4",
        "nodata_pixels": "4",
        "background_pixels": "2",
        "background_area": "200",
        "forest_pixels": "6",
        "forest_area": "0.333333333333",
        "area_unit": "m2",
        "seconds": "1.235",
        "error": "",
    }
    assert failed == dict.fromkeys(done, "") | {
        "id": "c",
        "input": "in/c.tif",
        "status": "failed",
        "error": "cut off:\\nline two",
    }


def test_volumes_have_their_slices(tmp_path: Path) -> None:
    volume = SummaryRow(id="v", input="v.nii.gz", status="done", height=2, width=2, slices=7)
    write_summary(tmp_path / "summary.csv", [DONE, volume], ["background", "forest"])
    assert [row["slices"] for row in table(tmp_path / "summary.csv")] == ["", "7"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", " =", "\t=", "\r@"])
def test_no_text_is_a_formula(start: str, tmp_path: Path) -> None:
    text = f'{start}HYPERLINK("http://x","y")'
    row = SummaryRow(id=text, input=text, status="failed", error=text)
    write_summary(tmp_path / "summary.csv", [row], [text, "b"])
    with (tmp_path / "summary.csv").open(newline="", encoding="utf-8") as stream:
        cells = [cell for line in csv.reader(stream) for cell in line]
    assert sum("HYPERLINK" in cell for cell in cells) == 5
    assert not any(cell.strip().startswith(("=", "+", "-", "@")) for cell in cells)


@pytest.mark.parametrize("name", ["a\nb", "a\r\nb", 'a"b,c', "a\x00b", "\udcff", "ä"], ids=ascii)
def test_a_strange_name_stays_one_line(name: str, tmp_path: Path) -> None:
    row = SummaryRow(id=name, input=name, status="done")
    write_summary(tmp_path / "summary.csv", [row], ["background", "b"])
    text = (tmp_path / "summary.csv").read_bytes().decode("utf-8")
    assert text.count("\n") == 2
    assert table(tmp_path / "summary.csv")[0]["id"].replace("\\", "").isprintable()


def test_no_column_is_there_twice(tmp_path: Path) -> None:
    row = SummaryRow(id="a", input="a", status="done", counts=ClassCounts((1, 2), (3.0, 4.0), 5))
    write_summary(tmp_path / "summary.csv", [row], ["background", "nodata"])
    found = table(tmp_path / "summary.csv")[0]
    assert (found["nodata_pixels"], found["nodata_1_pixels"], found["nodata_1_area"]) == ("5", "2", "4")


def test_nothing_to_predict_is_an_empty_table(tmp_path: Path) -> None:
    write_summary(tmp_path / "summary.csv", [], ["background", "b"])
    assert (tmp_path / "summary.csv").read_text().startswith("id,input,status,height,width,nodata_pixels,background_")
    assert table(tmp_path / "summary.csv") == []


def test_a_full_disk_keeps_the_last_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "summary.csv"
    write_summary(path, [DONE], ["background", "forest"])
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("seg_scse.files._flush", full)
    with pytest.raises(WriteError, match="the disk is full"):
        write_summary(path, [DONE, FAILED], ["background", "forest"])
    assert path.read_bytes() == before
