import os
import unicodedata
from pathlib import Path

import pytest

from seg_scse.config.schema import DataConfig
from seg_scse.data.listing.manifest import build_manifest
from seg_scse.errors import DataError

from .trees import ALL_TRAIN, SPLIT, pairs, touch


def ids(root: Path, **data: object) -> list[str]:
    manifest = build_manifest(DataConfig.model_validate({"root": str(root), "split": ALL_TRAIN, **data}))
    for sample in manifest.samples:
        assert sample.image.is_file()
        assert all(path.is_file() for path in sample.masks)
    return [sample.id for sample in manifest.samples]


STEMS = ["1", "10", "11", "a.b", "a.b.c", "Amazon_5.tiff_50", "A", "ü", "with space", "-x", "100%", 'q"uote']


def test_pairs_are_exact_by_stem(tmp_path):
    pairs(tmp_path, STEMS, image=".tiff")
    manifest = build_manifest(DataConfig(root=str(tmp_path)))
    assert [s.id for s in manifest.samples] == sorted(STEMS)
    for sample in manifest.samples:
        assert (sample.image.name, sample.masks[0].name) == (f"{sample.id}.tiff", f"{sample.id}.png")


def test_extensions_in_any_case_are_found(tmp_path):
    touch(tmp_path, "images/A.JPG", "images/b.Jpeg", "images/c.TIF", "masks/A.png", "masks/b.PNG", "masks/c.Bmp")
    assert ids(tmp_path) == ["A", "b", "c"]


def test_declared_suffixes_are_dropped(tmp_path):
    touch(tmp_path, "images/1_sat.jpg", "images/2_sat.jpg", "masks/1_mask.png", "masks/2_mask.png")
    assert ids(tmp_path, image_suffix="_sat", mask_suffix="_mask") == ["1", "2"]
    with pytest.raises(
        DataError, match=r"images end with \"_sat\" .*`data: \{image_suffix: _sat, mask_suffix: _mask\}`"
    ):
        ids(tmp_path)


def test_images_and_masks_may_share_a_folder(tmp_path):
    touch(tmp_path, "all/1.jpg", "all/1_mask.png", "all/2.jpg", "all/2_mask.png")
    assert ids(tmp_path, images="all", masks="all", mask_suffix="_mask") == ["1", "2"]


def test_files_without_the_declared_suffix_are_noted(tmp_path):
    touch(tmp_path, "images/1.jpg", "masks/1_mask.png", "masks/1_superpixels.png", "images/LICENSE.txt")
    config = DataConfig(root=str(tmp_path), mask_suffix="_mask", split=ALL_TRAIN)
    notes = "\n".join(build_manifest(config).notes)
    assert "1 other file in" in notes
    assert "1_superpixels.png" in notes
    assert "LICENSE.txt" in notes


def test_leftovers_on_both_sides_are_listed(tmp_path):
    touch(pairs(tmp_path, ["ok"]), "images/lonely.png", "images/10.png", "masks/1.png")
    with pytest.raises(DataError) as caught:
        ids(tmp_path)
    assert "2 of" in str(caught.value)
    assert "images have no mask in" in str(caught.value)
    assert ": 10, lonely" in str(caught.value)
    assert "masks have no image in" in str(caught.value)
    assert "data.exclude" in str(caught.value)


def test_excluded_samples_are_left_out_on_both_sides_and_noted(tmp_path):
    touch(pairs(tmp_path, ["a", "b"]), "images/c.png")
    config = DataConfig(root=str(tmp_path), exclude={"c": "no mask", "b": "blurred"}, split=ALL_TRAIN)
    manifest = build_manifest(config)
    assert [s.id for s in manifest.samples] == ["a"]
    assert sorted(manifest.notes)[1:] == ["excluded b: blurred", "excluded c: no mask"]


def test_excluding_everything_is_refused(tmp_path):
    pairs(tmp_path, ["a"])
    with pytest.raises(DataError, match="no samples are left"):
        ids(tmp_path, exclude={"a": "x"})


def test_excluding_an_unknown_id_is_refused_with_the_nearest(tmp_path):
    pairs(tmp_path, ["case_01", "b"])
    rule = r"data\.exclude names case_0l, but there is no such sample\. The nearest is case_01\. Correct or remove it\."
    with pytest.raises(DataError, match=rule):
        ids(tmp_path, exclude={"case_0l": "typo"})


def test_one_name_in_two_splits_is_excluded_from_one_by_its_id(tmp_path):
    for split in ("train", "val", "test"):
        pairs(tmp_path, ["same", split], under=f"{split}/")
    assert ids(tmp_path, **SPLIT, exclude={"test/same": "twice"}) == ["test", "train", "train/same", "val", "val/same"]


def test_two_files_of_one_name_are_refused(tmp_path):
    touch(pairs(tmp_path, ["a"]), "images/a.jpg")
    with pytest.raises(DataError, match=r"(?s)1 name belongs to more than one file.*a: a\.jpg and a\.png"):
        ids(tmp_path)


def test_hidden_files_are_skipped(tmp_path):
    touch(pairs(tmp_path, ["a"]), "images/._a.png", "images/.DS_Store", "masks/.ipynb_checkpoints/a.png")
    assert ids(tmp_path) == ["a"]


def test_subfolders_become_part_of_the_id(tmp_path):
    touch(tmp_path, "images/Tile 1/a.jpg", "images/Tile 2/a.jpg", "masks/Tile 1/a.png", "masks/Tile 2/a.png")
    assert ids(tmp_path) == ["Tile 1/a", "Tile 2/a"]


def test_link_loops_end_and_dangling_links_are_kept_for_the_reader(tmp_path):
    pairs(tmp_path, ["a", "b"])
    (tmp_path / "images" / "loop").symlink_to(tmp_path / "images")
    assert ids(tmp_path) == ["a", "b"]
    (tmp_path / "images" / "b.png").unlink()
    (tmp_path / "images" / "b.png").symlink_to(tmp_path / "gone.png")
    manifest = build_manifest(DataConfig(root=str(tmp_path), split=ALL_TRAIN))
    assert len(manifest.samples) == 2
    assert any(f"b.png -> {tmp_path / 'gone.png'} (nothing is there)" in note for note in manifest.notes)


def write_bytes_names(root: Path, *names: bytes) -> None:
    for name in names:
        path = Path(os.fsdecode(os.fsencode(root) + b"/" + name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


NFC, NFD = "é".encode(), unicodedata.normalize("NFD", "é").encode()


def test_odd_names_pair_and_have_one_printable_line(tmp_path):
    for folder in (b"images/", b"masks/"):
        write_bytes_names(tmp_path, *(folder + name for name in (b"b\xff.png", b"new\nline.png", NFC + b".png")))
    found = ids(tmp_path)
    assert len(set(found)) == 3
    assert r"b\udcff" in found
    assert r"new\nline" in found
    assert all(id_.encode("utf-8") and id_.isprintable() for id_ in found)


def test_a_name_written_in_two_ways_of_unicode_pairs(tmp_path):
    write_bytes_names(tmp_path, b"images/" + NFD + b".png", b"masks/" + NFC + b".png")
    assert ids(tmp_path) == [NFD.decode()]
    with pytest.raises(DataError, match="no samples are left"):
        ids(tmp_path, exclude={NFC.decode(): "named in the other way"})


def test_two_files_whose_names_differ_only_in_unicode_form_are_refused(tmp_path):
    for folder in (b"images/", b"masks/"):
        write_bytes_names(tmp_path, folder + NFC + b".png", folder + NFD + b".png")
    with pytest.raises(DataError) as caught:
        ids(tmp_path)
    for folder in ("images", "masks"):
        assert rf"{folder}: 'e\u0301' and '\xe9' are one name, {NFC.decode()}, written" in str(caught.value)


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Training", "VALIDATION", "Testing"), ("train", "valid", "test")]
)
def test_split_folders_in_any_spelling_give_the_split(tmp_path, names):
    for name in names:
        pairs(tmp_path, [f"{name}1", f"{name}2"], under=f"{name}/")
    manifest = build_manifest(DataConfig(root=str(tmp_path), **SPLIT))
    for name, split in zip(names, ("train", "val", "test"), strict=True):
        assert [manifest.samples[i].id for i in manifest.indices(split)] == [f"{name}1", f"{name}2"]


def test_split_may_be_part_of_a_folder_name(tmp_path):
    touch(tmp_path, "train/a.png", "trainannot/a.png", "val/b.png", "valannot/b.png", "test/c.png", "testannot/c.png")
    manifest = build_manifest(DataConfig(root=str(tmp_path), images="{split}", masks="{split}annot"))
    assert [(s.id, s.split) for s in manifest.samples] == [("a", "train"), ("b", "val"), ("c", "test")]


def test_val_is_taken_from_train_where_there_is_none(tmp_path):
    pairs(tmp_path, [f"{i}" for i in range(10)], under="train/")
    pairs(tmp_path, ["t"], under="test/")
    manifest = build_manifest(DataConfig(root=str(tmp_path), **SPLIT, split={"train": 0.8, "val": 0.2, "test": 0.0}))
    assert manifest.notes[-1].startswith("11 samples: 8 train, 2 val, 1 test; ")


def test_one_name_in_two_splits_stays_two_samples_and_is_noted(tmp_path):
    for split in ("train", "val", "test"):
        pairs(tmp_path, ["same", split], under=f"{split}/")
    manifest = build_manifest(DataConfig(root=str(tmp_path), **SPLIT))
    assert [s.id for s in manifest.samples] == ["test", "test/same", "train", "train/same", "val", "val/same"]
    assert "possible leak: 1 names or groups are in more than one split: same" in manifest.notes


def test_two_folders_for_one_split_are_refused(tmp_path):
    pairs(tmp_path, ["a"], under="train/")
    pairs(tmp_path, ["b"], under="Training/")
    with pytest.raises(DataError, match="two folders stand for the split train"):
        ids(tmp_path, **SPLIT)


def test_splits_of_images_and_masks_must_agree(tmp_path):
    pairs(tmp_path, ["a"], under="train/")
    touch(tmp_path, "test/images/b.png")
    with pytest.raises(DataError, match=r"data\.masks: folder .*test/masks does not exist"):
        ids(tmp_path, **SPLIT)
    with pytest.raises(DataError, match=r"Use \{split\} in both or in none"):
        ids(tmp_path, images="{split}/images", masks="train/masks")


def test_objects_have_a_folder_per_image(tmp_path):
    touch(tmp_path, "images/a.png", "images/b.png", "masks/a/1.png", "masks/a/2.png")
    (tmp_path / "masks" / "b").mkdir()
    manifest = build_manifest(DataConfig(root=str(tmp_path), mask={"encoding": "objects"}, split=ALL_TRAIN))
    assert [[path.name for path in s.masks] for s in manifest.samples] == [["1.png", "2.png"], []]


def test_missing_folders_are_refused_with_the_nearest_names(tmp_path):
    pairs(tmp_path / "data", ["a"])
    with pytest.raises(
        DataError, match=r"data\.root: folder .*dat does not exist\. In .* there is data\. Correct data\.root"
    ):
        ids(tmp_path / "dat")
    with pytest.raises(
        DataError, match=r"data\.masks: folder .*mask does not exist\. In .* there is masks, images\. Correct"
    ):
        ids(tmp_path / "data", masks="mask")
    with pytest.raises(DataError, match=r"data\.images: folder .* is a file, not a folder"):
        ids(touch(tmp_path / "data", "file"), images="file")


def test_forgotten_split_folders_are_suggested(tmp_path):
    pairs(tmp_path, ["a"], under="train/")
    with pytest.raises(DataError, match=r'has split folders \(train\): set data\.images="\{split\}/images"'):
        ids(tmp_path)


def test_no_split_folder_is_refused_with_what_is_there(tmp_path):
    pairs(tmp_path, ["a"], under="part1/")
    with pytest.raises(DataError, match=r"no split folder in .*; there is part1\. Name them train, val, test"):
        ids(tmp_path, **SPLIT)


def test_folders_without_images_say_what_they_hold(tmp_path):
    touch(tmp_path, "images/a.txt", "images/b.mat", "masks/a.png")
    with pytest.raises(DataError, match=r"data\.images: no PNG, .* file in .*; there is a\.txt, b\.mat\. Correct"):
        ids(tmp_path)


def test_folders_may_be_absolute(tmp_path):
    pairs(tmp_path / "x", ["a"])
    config = {"images": str(tmp_path / "x/images"), "masks": str(tmp_path / "x/masks"), "split": ALL_TRAIN}
    assert len(build_manifest(DataConfig.model_validate(config)).samples) == 1
