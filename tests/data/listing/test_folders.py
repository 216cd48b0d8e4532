import pytest

from seg_scse.data.listing.folders import SPLIT_FOLDERS, contents, expand_splits, leading_out, visible
from seg_scse.errors import DataError

from .trees import touch


def test_everything_below_a_folder_is_found_once(tmp_path):
    touch(tmp_path, "b/1.png", "b/c/2.png", "d/3.txt", "d/.hidden", "._4.png", "e/.gitkeep")
    (tmp_path / "a").symlink_to(tmp_path / "b")  # comes first by name, but is a link
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    found = contents(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in found.files] == ["b/1.png", "b/c/2.png", "d/3.txt", "self"]
    assert [path.name for path in found.empty] == ["e"]
    assert [path.name for path in found.links] == ["a", "loop", "self"]


def test_links_that_lead_out_or_to_nothing_are_named(tmp_path):
    folder = touch(tmp_path, "in/1.png", "out/2.png") / "in"
    for name, target in (("inside", folder / "1.png"), ("outside", tmp_path / "out/2.png"), ("gone", tmp_path / "x")):
        (folder / name).symlink_to(target)
    assert leading_out(folder, contents(folder).links) == [
        f"gone -> {tmp_path / 'x'} (nothing is there)",
        f"outside -> {tmp_path / 'out/2.png'}",
    ]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone: the folder cannot be listed \(No such file"):
        visible(tmp_path / "gone")


def test_files_may_stand_for_splits(tmp_path):
    touch(tmp_path, "annotations/instances_train2017.json", "annotations/instances_val2017.json")
    pattern = "annotations/instances_{split}2017.json"
    found = expand_splits(tmp_path, pattern, "data.masks", SPLIT_FOLDERS, files=True)
    assert {split: path.name for split, path in found.items()} == {
        "train": "instances_train2017.json",
        "val": "instances_val2017.json",
    }
    with pytest.raises(DataError, match="no split folder"):
        expand_splits(tmp_path, pattern, "data.masks", SPLIT_FOLDERS)


def test_the_name_of_the_split_may_come_twice(tmp_path):
    touch(tmp_path, "Train/Train_labels/a.png", "test/test_labels/b.png")
    found = expand_splits(tmp_path, "{split}/{split}_labels", "data.masks", SPLIT_FOLDERS)
    assert {split: path.name for split, path in found.items()} == {"train": "Train_labels", "test": "test_labels"}
