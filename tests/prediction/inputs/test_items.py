"""What a name on the command line stands for."""

import re
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from seg_scse.config.schema import DataConfig
from seg_scse.errors import ConfigError, DataError
from seg_scse.prediction.inputs.items import Found, Item, find_items

from ...data.files.drawn_files import save_dicom

RGB = DataConfig()


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def find(root: Path, *inputs: str | Path, config: DataConfig = RGB, **more: str) -> Found:
    return find_items([str(each) for each in inputs], config, root / "out", **more)


def ids(found: Found) -> list[str]:
    return [item.id for item in found.items]


def test_a_file_is_one_item_named_by_its_stem(tmp_path):
    touch(tmp_path, "a/Amazon_5.tiff_50.tiff", "a/b.png")
    found = find(tmp_path, tmp_path / "a/Amazon_5.tiff_50.tiff")
    assert found == Found((Item("Amazon_5.tiff_50", "image", (tmp_path / "a/Amazon_5.tiff_50.tiff",)),), ())


def test_a_folder_is_read_to_its_depth_in_natural_order(tmp_path):
    touch(tmp_path / "in", "10.png", "2.png", "b/1.TIF", "b/c/x.y.jpg", ".hidden.png", "notes.txt", "._2.png")
    assert ids(find(tmp_path, tmp_path / "in")) == ["2", "10", "b/1", "b/c/x.y"]


def test_a_pattern_finds_what_it_matches_below_its_fixed_part(tmp_path, monkeypatch):
    touch(tmp_path, "in/a/1.png", "in/b/1.png", "in/b/2.jpg", "in/b/mask_1.png", "in/b/.1.png", "in/c/d/1.png")
    assert ids(find(tmp_path, tmp_path / "in/*/[0-9].*")) == ["a/1", "b/1", "b/2"]
    assert ids(find(tmp_path, tmp_path / "in/**/1.png")) == ["a/1", "b/1", "c/d/1"]
    assert ids(find(tmp_path, tmp_path / "in/b/*.png")) == ["1", "mask_1"]
    assert ids(find(tmp_path, tmp_path / "in/?")) == ["a/1", "b/1", "b/2", "b/mask_1", "c/d/1"]
    monkeypatch.chdir(tmp_path / "in")
    assert ids(find(tmp_path, "*/1.png")) == ["a/1", "b/1"]


def test_a_name_with_brackets_is_a_file_before_it_is_a_pattern(tmp_path):
    touch(tmp_path, "in/a[1].png", "in/a1.png")
    assert ids(find(tmp_path, tmp_path / "in/a[1].png")) == ["a[1]"]


def test_a_pattern_below_a_folder_with_brackets_says_how_they_are_written(tmp_path):
    touch(tmp_path, "in [1]/a.png")
    with pytest.raises(DataError, match=r"In a pattern, the \[ of a folder's name is written \[\[\]\. Name a file"):
        find(tmp_path, tmp_path / "in [1]/*.png")
    assert ids(find(tmp_path, tmp_path / "in [[]1]/*.png")) == ["in [1]/a"]


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="this Python takes two stars within a name for one")
def test_two_stars_within_a_name_are_refused(tmp_path):
    touch(tmp_path, "in/a.png")
    with pytest.raises(ConfigError, match=r"^--input .*/in/\*\*\.png: .* Write \*\*/\*\.png for \*\*\.png\.$"):
        find(tmp_path, tmp_path / "in/**.png")


def test_several_inputs_are_named_below_the_folder_they_share(tmp_path):
    touch(tmp_path, "a/1.png", "b/1.png", "b/2.png")
    assert ids(find(tmp_path, tmp_path / "a", tmp_path / "b/1.png")) == ["a/1", "b/1"]
    assert ids(find(tmp_path, tmp_path / "b/1.png", tmp_path / "b/2.png")) == ["1", "2"]


def test_what_two_inputs_name_is_predicted_once(tmp_path):
    touch(tmp_path, "a/1.png", "a/2.png")
    found = find(tmp_path, tmp_path / "a", tmp_path / "a/../a/2.png")
    assert ids(found) == ["1", "2"]
    assert found.notes == ("1 file named twice, predicted once",)


@pytest.mark.parametrize("twin", ["a.jpg", "a.nii.gz"])
def test_two_files_of_one_id_are_refused(tmp_path, twin):
    touch(tmp_path / "in", "a.png", "b.png", twin)
    text = f"--input: 1 id would have several results: a ({tmp_path}/in/"
    with pytest.raises(DataError, match=re.escape(text)) as caught:
        find(tmp_path, tmp_path / "in")
    assert "Rename the files, or give each an id in a CSV table with the columns image and id." in str(caught.value)


def test_names_that_only_unicode_tells_apart_are_refused(tmp_path):
    touch(tmp_path / "in", "\u00e9.png", "e\u0301.png")
    with pytest.raises(DataError, match="1 id would have several results"):
        find(tmp_path, tmp_path / "in")


def test_a_name_with_a_line_break_makes_an_id_of_one_line(tmp_path):
    touch(tmp_path / "in", "a\nb.png", "d\r/c.png")
    assert ids(find(tmp_path, tmp_path / "in")) == [r"a\nb", r"d\r/c"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none.png", "does not exist. In {root} there is in. Correct the name, or put a pattern in quotes."),
        ("none/*.png", "no PNG, JPEG, TIFF, .* file in {root}/none/"),
        ("in/*.tif", "no PNG, JPEG, TIFF, .* file in {root}/in/"),
        ("in", r"no PNG, JPEG, TIFF, .* file in {root}/in \(there is a.txt, b.xml\). Name a file, a folder, a pattern"),
        ("x" * 5000, "cannot be read"),
    ],
)
def test_an_input_with_nothing_to_predict_is_refused(tmp_path, name, reason):
    touch(tmp_path, "in/a.txt", "in/b.xml")
    with pytest.raises(DataError, match=f"^--input.*{reason.format(root=re.escape(str(tmp_path)))}"):
        find(tmp_path, tmp_path / name)


def test_no_input_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="--input: name a file, a folder, a pattern or a CSV table"):
        find(tmp_path)


def test_results_below_the_input_are_left_out(tmp_path):
    touch(tmp_path, "a.png", "out/labels/a.png", "out/overlays/a.png", "outer/b.png")
    found = find(tmp_path, tmp_path)
    assert ids(found) == ["a", "outer/b"]
    assert found.notes == (f"2 files in {tmp_path}/out left out: results of this prediction",)
    assert ids(find(tmp_path, tmp_path / "*/**/*.png")) == ["outer/b"]


def test_the_input_folder_is_no_place_for_the_results(tmp_path):
    touch(tmp_path, "out/a.png")
    (tmp_path / "link").symlink_to(tmp_path / "out")
    for name in ("out", "link", "out/**/*.png"):
        with pytest.raises(ConfigError, match=r"--output .*/out: is the input folder, so results would lie among the"):
            find(tmp_path, tmp_path / name)


def test_an_input_within_the_output_is_read(tmp_path):
    touch(tmp_path, "out/images/a.png")
    assert ids(find(tmp_path, tmp_path / "out/images")) == ["a"]
    assert ids(find(tmp_path, tmp_path / "out/images/a.png")) == ["a"]


def test_a_file_in_the_output_folder_is_read(tmp_path):
    touch(tmp_path, "out/a.png")
    assert ids(find(tmp_path, tmp_path / "out/a.png")) == ["a"]


def test_an_output_that_is_the_input_is_refused(tmp_path):
    touch(tmp_path, "out")
    (tmp_path / "a.png").symlink_to(tmp_path / "out")
    with pytest.raises(ConfigError, match=r".*/out: is the image itself, which would be overwritten"):
        find(tmp_path, tmp_path / "a.png")


def test_linked_folders_with_a_loop_give_each_file_once(tmp_path):
    touch(tmp_path / "in", "a/1.png")
    (tmp_path / "in/a/back").symlink_to(tmp_path / "in")
    (tmp_path / "in/again").symlink_to(tmp_path / "in/a")
    assert ids(find(tmp_path, tmp_path / "in")) == ["a/1"]


@pytest.mark.parametrize("pattern", ["*", "**", "[a-b]*", "*/*"])
def test_patterns_give_what_links_lead_to_once_and_by_its_own_name(tmp_path, pattern):
    touch(tmp_path / "in", "b/1.png")
    (tmp_path / "in/a").symlink_to(tmp_path / "in/b")
    (tmp_path / "in/b/back").symlink_to(tmp_path / "in")
    (tmp_path / "in/b/2.png").symlink_to(tmp_path / "in/b/1.png")
    assert ids(find(tmp_path, tmp_path / "in" / pattern)) == ["b/1", "b/2"]


def test_a_link_to_nothing_is_an_item_whose_reading_will_fail(tmp_path):
    touch(tmp_path / "in", "a.png")
    (tmp_path / "in/b.png").symlink_to(tmp_path / "none.png")
    assert ids(find(tmp_path, tmp_path / "in")) == ["a", "b"]


def test_nifti_files_are_volumes_whatever_their_name(tmp_path):
    touch(tmp_path, "in/a.nii.gz", "in/b.NII", "in/c.png")
    nibabel.Nifti1Image(np.zeros((2, 3, 4), np.uint8), np.eye(4)).to_filename(tmp_path / "d.nii")
    (tmp_path / "d.nii").rename(tmp_path / "scan")
    found = find(tmp_path, tmp_path / "in", tmp_path / "scan")
    assert [(item.id, item.kind) for item in found.items] == [
        ("in/a", "volume"),
        ("in/b", "volume"),
        ("in/c", "image"),
        ("scan", "volume"),
    ]


def save_slices(folder: Path, names: list[str], uid: str, placed: bool = True) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        place = {"ImagePositionPatient": [0, 0, number]} if placed else {}
        save_dicom(folder / name, SeriesInstanceUID=uid, **place)


def test_dicom_slices_of_one_series_in_one_folder_are_one_item(tmp_path):
    save_slices(tmp_path / "in/case 1", ["IM10", "IM9", "IM1"], "1.2.3")
    save_slices(tmp_path / "in/case 2", ["a.dcm", "b.dcm"], "1.2.4")
    save_slices(tmp_path / "in/case 2", ["c.dcm", "d.dcm"], "1.2.5")
    save_slices(tmp_path / "in", ["lone.dcm"], "1.2.4")
    found = find(tmp_path, tmp_path / "in")
    assert [(item.id, item.kind, [path.name for path in item.files]) for item in found.items] == [
        ("case 1", "series", ["IM1", "IM9", "IM10"]),
        ("case 2/1.2.4", "series", ["a.dcm", "b.dcm"]),
        ("case 2/1.2.5", "series", ["c.dcm", "d.dcm"]),
        ("lone", "image", ["lone.dcm"]),
    ]


def test_a_folder_that_is_a_series_gives_it_its_name(tmp_path):
    save_slices(tmp_path / "case 7", ["a.dcm", "b.dcm"], "1.2.3")
    assert ids(find(tmp_path, tmp_path / "case 7")) == ["case 7"]
    assert ids(find(tmp_path, tmp_path / "case 7/a.dcm")) == ["a"]


def test_dicom_files_are_images_where_that_is_asked_for(tmp_path):
    save_slices(tmp_path / "in", ["a.dcm", "b.dcm"], "1.2.3")
    found = find(tmp_path, tmp_path / "in", series="files")
    assert [(item.id, item.kind) for item in found.items] == [("a", "image"), ("b", "image")]


def test_dicom_files_without_a_place_in_space_or_damaged_are_images(tmp_path):
    save_slices(tmp_path / "in", ["a.dcm", "b.dcm"], "1.2.3", placed=False)
    (tmp_path / "in/c.dcm").write_bytes(b"nothing")
    (tmp_path / "in/d.dcm").write_bytes(b"nothing")
    found = find(tmp_path, tmp_path / "in")
    assert [(item.id, item.kind) for item in found.items] == [(name, "image") for name in "abcd"]
    assert found.notes == (
        "1 DICOM series without ImagePositionPatient, so no volume: each of their files is an image",
    )


def test_bands_in_files_of_their_own_are_joined_as_the_run_names_them(tmp_path):
    config = DataConfig(bands=("red", "nir"), image_suffix="_{band}")
    touch(tmp_path / "in", "a/1_red.tif", "a/1_nir.tif", "2_nir.tif", "2_red.tif", "quicklook.png")
    found = find(tmp_path, tmp_path / "in", config=config)
    assert [(item.id, [path.name for path in item.files]) for item in found.items] == [
        ("2", ["2_red.tif", "2_nir.tif"]),
        ("a/1", ["1_red.tif", "1_nir.tif"]),
    ]
    assert found.notes == ("1 file left out: no band of red, nir by their names",)


def test_of_two_bands_whose_names_end_a_file_the_longer_is_meant(tmp_path):
    config = DataConfig(bands=("ir", "nir"), image_suffix="{band}")
    touch(tmp_path / "in", "1ir.tif", "1nir.tif")
    found = find(tmp_path, tmp_path / "in", config=config)
    assert [(item.id, [path.name for path in item.files]) for item in found.items] == [("1", ["1ir.tif", "1nir.tif"])]


def test_bands_in_folders_of_their_own_are_joined(tmp_path):
    config = DataConfig(bands=("red", "nir"), images="images/{band}")
    touch(tmp_path / "in", "red/a/1.tif", "nir/a/1.tif")
    assert ids(find(tmp_path, tmp_path / "in", config=config)) == ["a/1"]


def test_a_missing_band_is_named(tmp_path):
    config = DataConfig(bands=("red", "nir"), image_suffix="_{band}")
    touch(tmp_path / "in", "1_red.tif", "1_nir.tif", "2_nir.tif")
    with pytest.raises(
        DataError, match=r"one file per band, and 1 of 2 images lack some: 2 \(no red\)\. Add the files"
    ):
        find(tmp_path, tmp_path / "in", config=config)
    touch(tmp_path / "in", "2_red.tif", "2_red.png")
    with pytest.raises(DataError, match=r"two files are one band of one image: .*2_red\.png, .*2_red\.tif"):
        find(tmp_path, tmp_path / "in", config=config)


def test_volumes_with_a_file_per_band_are_volumes(tmp_path):
    config = DataConfig(bands=("t1", "flair"), image_suffix="_{band}")
    touch(tmp_path / "in", "a/1_flair.nii.gz", "a/1_t1.nii.gz")
    assert find(tmp_path, tmp_path / "in", config=config).items == (
        Item("a/1", "volume", (tmp_path / "in/a/1_t1.nii.gz", tmp_path / "in/a/1_flair.nii.gz")),
    )


def test_results_of_an_earlier_prediction_below_the_input_are_left_out_and_said(tmp_path):
    names = ("a.png", "old/predict.json", "old/labels/a.png", "old/labels/deep/b.png", "new/c.png")
    old = touch(tmp_path / "scans", *names) / "old"
    found = find(tmp_path, tmp_path / "scans")
    assert ids(found) == ["a", "new/c"]
    assert found.notes == (f"2 files in {old} left out: results of an earlier prediction",)
    assert ids(find(tmp_path, old / "labels")) == ["a", "deep/b"], "what is named is meant"


def test_folders_with_files_of_the_same_names_get_a_note(tmp_path):
    touch(tmp_path / "in", "images/a.png", "images/b.png", "masks/a.png", "masks/b.png", "more/a.png")
    found = find(tmp_path, tmp_path / "in")
    assert len(found.items) == 5
    assert found.notes == (
        "images and masks hold files of the same names: all are predicted. If some are masks, name the folder of the "
        "images",
    )
