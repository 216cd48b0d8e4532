import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from seg_scse.config.masks import RunLengthColumns
from seg_scse.data.masks.run_lengths import decode_compressed, decode_counts, decode_pairs, listed_ids
from seg_scse.errors import DataError

from .masked import mask_of

HEADER = "ImageId,EncodedPixels\n"


def table(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def pairs_of(mask: np.ndarray) -> str:
    """Pixels one by one: another way than runs found by differences."""
    return " ".join(f"{at} 1" for at, inside in enumerate(mask.ravel(order="F"), start=1) if inside)


def compressed(counts: list[int]) -> str:
    """COCO's rleToString, from its description."""
    text = ""
    for at, count in enumerate(counts):
        value = count - (counts[at - 2] if at > 2 else 0)
        more = True
        while more:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            text += chr((bits | (32 if more else 0)) + 48)
    return text


def test_pairs_run_down_the_columns_and_count_from_one():
    # 2 rows, 3 columns: numbers 1 3 5 above, 2 4 6 below
    assert decode_pairs("1 1 4 2", (2, 3), "m").tolist() == [[True, False, True], [False, True, False]]
    assert decode_pairs("2 2", (2, 3), "m").tolist() == [[False, True, False], [True, False, False]]
    assert decode_pairs("1 6", (2, 3), "m").all()


def test_pairs_of_random_masks_come_back():
    random = np.random.default_rng(1)
    for _ in range(50):
        mask = random.random((random.integers(1, 9), random.integers(1, 9))) < 0.5
        assert np.array_equal(decode_pairs(pairs_of(mask), mask.shape, "m"), mask)


def test_runs_may_meet_in_one_row_of_the_table():
    assert decode_pairs("1 2 2 2 3 0", (1, 4), "m").tolist() == [[True, True, True, False]]


@pytest.mark.parametrize(
    ("runs", "text"),
    [
        ("1 2 3", "3 numbers are no pairs of start and length"),
        ("-1", "1 numbers are no pairs"),
        ("0 1", "the run `0 1` does not fit an image of 3 x 2 pixels, which are counted from 1 to 6"),
        ("6 2", "the run `6 2` does not fit"),
        ("1 -1", "the run `1 -1` does not fit"),
        ("1 9223372036854775807", "the run `1 9223372036854775807` does not fit"),
        (f"1 {10**30}", "run lengths must be whole numbers"),
        ("1 2.5", "run lengths must be whole numbers"),
        ("nan", "run lengths must be whole numbers"),
    ],
)
def test_runs_that_cannot_be_are_refused(runs, text):
    with pytest.raises(DataError) as caught:
        decode_pairs(runs, (2, 3), "t.csv, line 2 (a.png)")
    assert f"t.csv, line 2 (a.png): {text}" in str(caught.value)


def test_counts_start_with_background():
    assert decode_counts([1, 2, 3], (2, 3), "m").tolist() == [[False, True, False], [True, False, False]]
    assert decode_counts([0, 6], (2, 3), "m").all()
    assert not decode_counts([6], (2, 3), "m").any()


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ([1, 2], "go from 1 to 2 and have the sum 3, but must be at least 0 and have the sum 6 (3 x 2 pixels)"),
        ([-1, 7], "go from -1 to 7 and have the sum 6"),
        ([2**62, 2**62, 6], "have the sum 9223372036854775814"),
        ([10**30], "must be one list of whole numbers"),
        ([1.5, 4.5], "must be one list of whole numbers"),
        ([[1], [2, 3]], "must be one list of whole numbers"),
        ([], "must be one list of whole numbers"),
    ],
)
def test_counts_that_cannot_be_are_refused(counts, text):
    with pytest.raises(DataError, match=r"^m\.json, annotations\[3\]: ") as caught:
        decode_counts(counts, (2, 3), "m.json, annotations[3]")
    assert text in str(caught.value)


@pytest.mark.parametrize("counts", [[6], [0, 6], [1, 2, 3], [40, 5, 1000, 3, 2, 100000, 1], [31, 32, 15, 16, 17, 1023]])
def test_compressed_counts_come_back(counts):
    assert decode_compressed(compressed(counts), "m") == counts


def test_compressed_counts_by_hand():
    # 5 -> '5'; 20 = 0b10100: five bits would read as negative, so 20 | 32 = 52 -> chr(100) 'd', then '0'; 1 -> '1';
    # the fourth is a difference to the second: 17 - 20 = -3 -> 29 -> chr(77) 'M'
    assert decode_compressed("5d01M", "m") == [5, 20, 1, 17]


@pytest.mark.parametrize(("text", "message"), [("5!", "does not belong"), ("5d", "cut off"), ("o" * 20, "not belong")])
def test_compressed_counts_that_cannot_be_are_refused(text, message):
    with pytest.raises(DataError, match=message):
        decode_compressed(text, "m")


def test_rows_of_one_image_are_united(tmp_path):
    path = table(tmp_path / "t.csv", f"{HEADER}a.png,1 1\nb.png,1 6\na.png,4 2\nc.png,\n")
    config = {"encoding": "rle"}
    assert mask_of(path, label="a.png", **config).tolist() == [[1, 0, 1], [0, 1, 0]]
    assert mask_of(path, label="b.png", **config).all()
    assert not mask_of(path, label="c.png", **config).any()
    assert listed_ids(path, RunLengthColumns()) == {"a.png": 2, "b.png": 1, "c.png": 0}


def test_a_column_can_name_the_class(tmp_path):
    path = table(tmp_path / "t.csv", "rle,Class,Name\n1 1,fish,a\n2 1,3,a\n6 1,fish,a\n")
    columns = {"id": "Name", "rle": "rle", "label": "Class"}
    labels = {"fish": 2, "3": 1}
    found = mask_of(path, classes=("x", "y", "z"), label="a", encoding="rle", columns=columns, labels=labels)
    assert found.tolist() == [[2, 0, 0], [1, 0, 2]]


def test_a_class_that_is_not_declared_is_refused(tmp_path):
    path = table(tmp_path / "t.csv", "ImageId,EncodedPixels,ClassId\na,1 1,1\na,2 1,2\nb,1 1,2\n")
    columns = {"label": "ClassId"}
    with pytest.raises(DataError) as caught:
        mask_of(path, classes=("x", "y", "z"), label="a", encoding="rle", columns=columns)
    assert "undeclared class 1, 2; the file holds 1 (1 object), 2 (2 objects)" in str(caught.value)
    assert "`data.mask.labels: {'1': 1, '2': 2}`" in str(caught.value)


def test_two_classes_on_one_pixel_are_refused_or_bits(tmp_path):
    path = table(tmp_path / "t.csv", "ImageId,EncodedPixels,ClassId\na,1 2,y\na,2 2,z\n")
    mask = {"encoding": "rle", "columns": {"label": "ClassId"}}
    with pytest.raises(DataError, match=r"t\.csv \(image\): 1 pixel is in two classes: 1 in y and z"):
        mask_of(path, classes=("x", "y", "z"), label="a", **mask)
    found = mask_of(path, classes=("x", "y", "z"), label="a", data={"task": "multilabel"}, **mask)
    assert found.tolist() == [[1, 2, 0], [3, 0, 0]]


def test_an_image_without_a_row_is_refused(tmp_path):
    path = table(tmp_path / "t.csv", f"{HEADER}a.png,1 1\n")
    with pytest.raises(DataError, match=r"t\.csv: has no row for b\.png\. Add one \(with empty run lengths"):
        mask_of(path, label="b.png", encoding="rle")


def test_the_record_of_a_bad_run_is_named(tmp_path):
    path = table(tmp_path / "t.csv", f"{HEADER}b.png,1 1\na.png,1 1\na.png,6 5\n")
    with pytest.raises(DataError, match=r"t\.csv, line 4 \(a\.png\): the run `6 5` does not fit"):
        mask_of(path, label="a.png", encoding="rle")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a,b\nx,1 1\n",
            r"no column ImageId, EncodedPixels; its columns are a, b\. .*`data\.mask\.columns: \{id: 'a', rle: 'b'\}`",
        ),
        ("rle_mask,id\n1 1,x\n", r"put `data\.mask\.columns: \{id: 'id', rle: 'rle_mask'\}` into"),
        ("ClassId,img,run\n1,x,1 1\n", r"put `data\.mask\.columns: \{id: 'img', rle: 'run', label: 'ClassId'\}` into"),
        ("ImageId,Encoded Pixels\nx,1 1\n", r"columns: \{id: 'ImageId', rle: 'Encoded Pixels'\}` into"),
        ("ImageId;EncodedPixels\nx;1 1\n", r"one of image names and one of run lengths, separated by commas\."),
        (f"{HEADER}x,1 1,2\n", r"line 2: has 3 fields, but the header 2"),
        (f"{HEADER},1 1\n", r"line 2: its ImageId is empty"),
        (f'{HEADER}x,"1 1\n', r"is no valid CSV table \(unexpected end of data\)"),
        ("\n", r"is empty\. Get the file again"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        listed_ids(table(tmp_path / "t.csv", text), RunLengthColumns())


def test_a_wrong_class_column_is_looked_up_in_the_header(tmp_path):
    path = table(tmp_path / "t.csv", "ImageId,category,EncodedPixels\nx,1,1 1\n")
    with pytest.raises(DataError) as caught:
        listed_ids(path, RunLengthColumns(label="ClassId"))
    line = re.search(r"`data\.mask\.columns: (.*?)`", str(caught.value))[1]
    assert listed_ids(path, RunLengthColumns.model_validate(yaml.safe_load(line))) == {"x": 1}
    assert "label: 'category'" in line


def test_an_empty_class_is_refused(tmp_path):
    path = table(tmp_path / "t.csv", "ImageId,EncodedPixels,ClassId\na,1 1,\n")
    with pytest.raises(DataError, match="line 2: its ClassId is empty"):
        listed_ids(path, RunLengthColumns(label="ClassId"))


def test_text_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "t.csv").write_bytes(f"{HEADER}ü.png,1 1\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"is no UTF-8 text \(byte 22\)"):
        listed_ids(tmp_path / "t.csv", RunLengthColumns())


def test_masks_longer_than_the_limit_of_csv_are_read(tmp_path):
    mask = np.indices((400, 200)).sum(0) % 2 == 0
    runs = pairs_of(mask)
    assert len(runs) > 131072
    path = table(tmp_path / "t.csv", f"\ufeff{HEADER}a,{runs}\r\n")
    assert np.array_equal(mask_of(path, mask.shape, label="a", encoding="rle"), mask)
