import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from seg_scse.data.masks import annotations
from seg_scse.data.masks.annotations import load_json, parsed
from seg_scse.errors import DataError

CALLS: list[str] = []


def count(path: Path, data: bytes, *arguments: object) -> tuple[object, ...]:
    CALLS.append(path.name)
    return (data, *arguments)


def refuse(path: Path, data: bytes) -> None:
    CALLS.append(path.name)
    raise DataError(f"{path.name}: no good")


@pytest.fixture(autouse=True)
def _no_calls():
    CALLS.clear()


def test_a_file_is_parsed_once_for_each_state_and_argument(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"1")
    assert parsed(path, count) == parsed(path, count) == (b"1",)
    assert parsed(path, count, "x") == (b"1", "x")
    assert len(CALLS) == 2
    path.write_bytes(b"12")
    assert parsed(path, count) == (b"12",)
    os.utime(path, ns=(1, 1))
    parsed(path, count)
    assert len(CALLS) == 4


def test_a_bad_file_is_parsed_once_too(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    for _ in range(3):
        with pytest.raises(DataError, match="a: no good"):
            parsed(tmp_path / "a", refuse)
    assert CALLS == ["a"]


def test_threads_that_ask_at_once_parse_once(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    together = threading.Barrier(8)

    def ask(_: int) -> object:
        together.wait()
        return parsed(tmp_path / "a", count)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == {(b"1",)}
    assert CALLS == ["a"]


def test_only_the_last_few_files_are_kept(tmp_path):
    paths = [tmp_path / str(i) for i in range(10)]
    for path in paths:
        path.write_bytes(b"1")
        parsed(path, count)
    parsed(paths[-1], count)
    assert len(CALLS) == 10
    parsed(paths[0], count)
    assert len(CALLS) == 11


def test_missing_empty_and_huge_files_are_refused(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"none: cannot be read \(No such file or directory\)"):
        parsed(tmp_path / "none", count)
    with pytest.raises(DataError, match=r"cannot be read \(Is a directory\)"):
        parsed(tmp_path, count)
    (tmp_path / "empty").write_bytes(b" \n")
    with pytest.raises(DataError, match=r"empty: is empty\. Get the file again"):
        parsed(tmp_path / "empty", count)
    monkeypatch.setattr(annotations, "MOST_BYTES", 1_000)
    (tmp_path / "huge").write_bytes(b"1" * 1_001)
    with pytest.raises(DataError, match=r"huge: 0\.0 GB are more than an annotation file may have"):
        parsed(tmp_path / "huge", count)
    assert not CALLS


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"<html>", r"is an HTML page \(a failed download\?\), not the JSON of data\.mask\.encoding=polygons"),
        (b"version https://git-lfs", r"is a Git LFS pointer"),
        (b'{"a": 1', r"is no valid JSON \(Expecting ',' delimiter: line 1 column 8"),
        (b'{"a": NaN}', r"is no valid JSON \(NaN is no JSON number\)"),
        (b'{"a": -Infinity}', r"is no valid JSON \(-Infinity is no JSON number\)"),
        (b'{"a": "\xff"}', r"is no valid JSON \('utf-8' codec can't decode byte"),
        (b'{"a": ' + b"1" * 5000 + b"}", r"is no valid JSON \(Exceeds the limit"),
        (b"[" * 100_000, r"its lists are nested too deeply"),
    ],
)
def test_what_is_no_json_is_refused(data, text):
    with pytest.raises(DataError, match=text):
        load_json(Path("a.json"), data)


def test_a_byte_order_mark_is_no_mistake():
    assert load_json(Path("a.json"), b'\xef\xbb\xbf{"a": 1}') == {"a": 1}
