"""A table of what to predict."""

from pathlib import Path

import pytest

from seg_scse.config.schema import DataConfig
from seg_scse.errors import DataError
from seg_scse.prediction.inputs.items import Found, Item, find_items

NAMED = DataConfig(bands=("red", "nir"))


def find(root: Path, path: Path, config: DataConfig | None = None) -> Found:
    return find_items([str(path)], config or DataConfig(), root / "out")


def ids(found: Found) -> list[str]:
    return [item.id for item in found.items]


def table(root: Path, text: str) -> Path:
    path = root / "t/list.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return path


def test_a_table_names_files_relative_to_itself_and_may_name_the_results(tmp_path):
    path = table(tmp_path, 'note,id,image\n"a, b",north/2,x/1.png\n,one,"/data/a, b.nii.gz"\n\n')
    assert find(tmp_path, path).items == (
        Item("north/2", "image", (tmp_path / "t/x/1.png",)),
        Item("one", "volume", (Path("/data/a, b.nii.gz"),)),
    )


@pytest.mark.parametrize("divider", [",", ";", "\t"])
def test_a_table_without_ids_names_results_by_the_shared_folder(tmp_path, divider):
    path = table(tmp_path, f"\ufeffimage{divider}x\r\na/1.png{divider}3\r\nb/1.png{divider}\r\n")
    assert ids(find(tmp_path, path)) == ["a/1", "b/1"]
    path = table(tmp_path, "image\n../u/a/1.png\n../u/2.png\n")
    assert ids(find(tmp_path, path)) == ["2", "a/1"]


def test_a_table_may_name_a_file_per_band(tmp_path):
    path = table(tmp_path, "nir,red,id\nB8.tif,B4.tif,s\n")
    found = find(tmp_path, path, config=NAMED)
    assert found.items == (Item("s", "image", (tmp_path / "t/B4.tif", tmp_path / "t/B8.tif")),)
    with pytest.raises(DataError, match=r"list\.csv: needs the column image, and may have id; its first line has nir"):
        find(tmp_path, path)


def test_names_that_are_no_unicode_are_read_from_a_table(tmp_path):
    name = b"a\xff.png".decode("utf-8", "surrogateescape")
    found = find(tmp_path, table(tmp_path, f"image\n{name}\n"))
    assert found.items == (Item(r"a\udcff", "image", (tmp_path / "t" / name,)),)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", r"list\.csv: needs the column image, and may have id; its first line has nothing"),
        ("file,id\n", r"needs the column image, .* its first line has file, id"),
        ("image\n", "has no rows below its head"),
        ("image,id\n,a\n", "line 2: no file in the column image. Fill it in"),
        ("image,id\na.png\n", "line 2: the id '' is no name of a result"),
        ("image,id\na.png,a\nb.png,../b\n", r"line 3: the id '\.\./b' is no name of a result"),
        ("image,id\na.png,/a\n", "line 2: the id '/a' is no name"),
        ("image,id\na.png,a\\..\\b\n", "is no name of a result"),
        ("image,id\na.png,C:a\n", "is no name of a result"),
        ('image,id\na.png,"a\nb"\n', r"is no name of a result"),
        ('image\n"a', "cannot be read as a CSV table"),
        ("image,id\na.png,x\nb.png,x\n", "1 id would have several results: x"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path, text, reason):
    with pytest.raises(DataError, match=reason):
        find(tmp_path, table(tmp_path, text))
