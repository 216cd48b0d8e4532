import json

import pytest

from seg_scse.config.schema import DataConfig
from seg_scse.data.listing.listing import Listing, list_samples
from seg_scse.data.listing.manifest import build_manifest
from seg_scse.errors import ConfigError, DataError

from ..files.drawn_files import save_dicom
from .trees import pairs, touch


def listed(root, **data) -> Listing:
    return list_samples(DataConfig.model_validate({"root": str(root), **data}))


def names(listing: Listing) -> dict[str, list[str]]:
    assert listing.problems == []
    return {sample.id: [path.name for path in sample.files] for sample in listing.samples}


def test_all_problems_are_collected_and_raised_at_once(tmp_path):
    touch(pairs(tmp_path, ["ok", "twice"]), "images/twice.jpg", "images/lonely.png", "masks/10.png")
    config = DataConfig(root=str(tmp_path), exclude={"nobody": "typo"})
    found = list_samples(config)
    assert [sample.id for sample in found.samples] == ["ok", "twice"]
    assert [problem.partition(str(tmp_path))[0] for problem in found.problems][1:] == [
        "images and masks do not pair by name: 1 of ",
        "images and masks do not pair by name: 1 of ",
        "data.exclude names nobody, but there is no such sample. Correct or remove it.",
    ]
    with pytest.raises(DataError, match=r"(?s)4 problems.*twice: twice\.jpg and twice\.png.*lonely.*: 10\..*nobody"):
        build_manifest(config)


def test_both_folders_that_are_missing_are_named(tmp_path):
    assert [problem.split(":")[0] for problem in listed(tmp_path).problems] == ["data.images", "data.masks"]


def test_patterns_choose_the_files_and_others_are_noted(tmp_path):
    touch(tmp_path, "all/Image_01L.jpg", "all/Image_01L_1stHO.png", "all/Image_01L_2ndHO.png")
    found = listed(tmp_path, images="all", masks="all", image_pattern=r"(Image_\w{3})", mask_suffix="_1stHO")
    assert names(found) == {"Image_01L": ["Image_01L.jpg", "Image_01L_1stHO.png"]}
    assert found.notes == [f"1 other file in {tmp_path / 'all'} is not read: Image_01L_2ndHO.png"]


def test_a_pattern_that_fits_nothing_is_named(tmp_path):
    pairs(tmp_path, ["a1"])
    problem = listed(tmp_path, image_pattern=r"b(\d+)").problems[0]
    assert problem.startswith("data.images: no PNG, ")
    assert r"whose path below it matches 'b(\\d+)' in" in problem
    assert "there is a1.png. Correct data.images." in problem


def test_one_file_per_band_by_pattern_and_folder(tmp_path):
    for band in ("red", "nir"):
        touch(tmp_path, *(f"train_{band}/{band}_patch_{k}.TIF" for k in (1, 10)))
    touch(tmp_path, "train_gt/gt_patch_1.TIF", "train_gt/gt_patch_10.TIF")
    found = listed(
        tmp_path,
        bands=["nir", "red"],
        images="train_{band}",
        image_pattern="{band}_(.*)",
        masks="train_gt",
        mask_pattern="gt_(.*)",
    )
    assert names(found) == {
        f"patch_{k}": [f"nir_patch_{k}.TIF", f"red_patch_{k}.TIF", f"gt_patch_{k}.TIF"] for k in (1, 10)
    }
    assert [path.name for path in found.samples[0].bands] == ["red_patch_1.TIF"]


def test_one_folder_per_scene_with_a_file_per_band(tmp_path):
    touch(tmp_path, "images/s1/red.tif", "images/s1/nir.tif", "images/s1/preview.png", "masks/s1.png")
    found = listed(tmp_path, bands=["red", "nir"], image_suffix="/{band}")
    assert names(found) == {"s1": ["red.tif", "nir.tif", "s1.png"]}
    assert "preview.png" in found.notes[0]


def test_dicom_files_without_extension_are_images_by_their_whole_name(tmp_path):
    uid = "1.2.840.113619.2.5"
    touch(tmp_path, "images/LICENSE", "masks/IM0006.png", f"masks/{uid}.png")
    save_dicom(tmp_path / "images/IM0006")
    save_dicom(tmp_path / "images" / uid)
    found = listed(tmp_path, channels="gray")
    assert names(found) == {"IM0006": ["IM0006", "IM0006.png"], uid: [uid, f"{uid}.png"]}
    assert found.notes == [f"1 other file in {tmp_path / 'images'} is not read: LICENSE"]


def test_a_missing_band_is_named(tmp_path):
    touch(tmp_path, "images/a_red.tif", "images/a_nir.tif", "images/b_red.tif", "masks/a.png", "masks/b.png")
    found = listed(tmp_path, bands=["red", "nir"], image_suffix="_{band}")
    assert "1 of 2 samples have no file of band nir in" in found.problems[0]
    assert found.problems[0].split(": ")[1].startswith("b. ")
    excluded = listed(tmp_path, bands=["red", "nir"], image_suffix="_{band}", exclude={"b": "no nir"})
    assert [sample.id for sample in excluded.samples] == ["a"]
    assert excluded.problems == []


def test_one_file_per_class_in_the_order_of_the_classes(tmp_path):
    touch(tmp_path, "images/a.png", "masks/sportscar/a.png", "masks/car/a.png")
    config = {"classes": ["none", "sportscar", "car"], "mask": {"encoding": "files"}}
    found = listed(tmp_path, masks="masks/{class}", **config)
    assert [str(path.parent.name) for path in found.samples[0].masks] == ["sportscar", "car"]
    touch(tmp_path, "flat/a_sportscar.png", "flat/a_car.png")
    assert names(listed(tmp_path, masks="flat", mask_suffix="_{class}", **config)) == {
        "a": ["a.png", "a_sportscar.png", "a_car.png"]
    }
    (tmp_path / "flat/a_car.png").unlink()
    problem = listed(tmp_path, masks="flat", mask_suffix="_{class}", **config).problems[0]
    assert "1 of 1 samples have no file of class car in" in problem


def test_objects_may_share_an_id_in_one_folder(tmp_path):
    touch(
        tmp_path,
        *(f"benign/benign (1){end}.png" for end in ("", "_mask", "_mask_1")),
        *(f"normal/normal (1){end}.png" for end in ("", "_mask")),
    )
    found = listed(tmp_path, images=".", masks=".", mask={"encoding": "objects"}, mask_pattern=r"(.+)_mask(?:_\d+)?")
    assert names(found) == {
        "benign/benign (1)": ["benign (1).png", "benign (1)_mask.png", "benign (1)_mask_1.png"],
        "normal/normal (1)": ["normal (1).png", "normal (1)_mask.png"],
    }
    assert found.notes == []


def test_one_folder_for_all_without_a_rule_is_refused(tmp_path):
    touch(tmp_path, "all/a.png", "all/a_mask.png")
    problem = listed(tmp_path, images="all", masks="all").problems[0]
    assert problem == (
        "2 files are both data.images and data.masks: a.png, a_mask.png. Tell them apart by a suffix or a pattern."
    )


def test_masks_may_lie_below_the_images(tmp_path):
    touch(tmp_path, "data/a.png", "data/masks/a.png")
    assert names(listed(tmp_path, images="data", masks="data/masks")) == {"a": ["a.png", "a.png"]}


def test_objects_have_nested_folders_and_empty_ones(tmp_path):
    touch(tmp_path, "images/t/a.png", "images/t/b.png", "masks/t/a/1.png", "masks/t/a/2.png")
    (tmp_path / "masks/t/b").mkdir()
    found = names(listed(tmp_path, mask={"encoding": "objects"}))
    assert found == {"t/a": ["a.png", "1.png", "2.png"], "t/b": ["b.png"]}


def coco(root, *files: str, objects: int = 1) -> None:
    images = [{"id": k, "file_name": name, "height": 8, "width": 8} for k, name in enumerate(files)]
    square = [[1, 1, 5, 1, 5, 5, 1, 5]]
    annotations = [
        {"id": k, "image_id": k, "category_id": 1, "segmentation": square, "iscrowd": 0} for k in range(objects)
    ]
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "foreground"}]}
    (root / "coco.json").write_text(json.dumps(document))


POLYGONS = {"masks": "coco.json", "mask": {"encoding": "polygons"}}


def test_images_are_found_in_an_annotation_file_by_any_form_of_their_name(tmp_path):
    touch(tmp_path, "images/x/a.jpg", "images/b.jpg", "images/c.jpg")
    coco(tmp_path, "x/a.jpg", "b.jpg", "val2017/c.jpg")
    found = listed(tmp_path, **POLYGONS)
    assert found.problems == []
    labels = {sample.id: (sample.label, sample.masks[0].name) for sample in found.samples}
    assert labels == {
        "b": ("b.jpg", "coco.json"),
        "c": ("val2017/c.jpg", "coco.json"),
        "x/a": ("x/a.jpg", "coco.json"),
    }


def test_images_and_annotations_without_each_other_are_named(tmp_path):
    touch(tmp_path, "images/a.jpg", "images/new.jpg")
    coco(tmp_path, "a.jpg", "gone.jpg")
    found = listed(tmp_path, **POLYGONS)
    assert [sample.id for sample in found.samples] == ["a"]
    assert "1 image is in" in found.problems[0]
    assert "coco.json: new. List them there" in found.problems[0]
    assert "coco.json without a file in" in found.problems[1]
    assert ": gone.jpg. Add them" in found.problems[1]
    assert listed(tmp_path, **POLYGONS, exclude={"new": "later", "gone": "lost"}).problems == []


def test_an_excluded_image_takes_its_annotation_with_it(tmp_path):
    touch(tmp_path, "images/x/a.jpg", "images/b.jpg")
    coco(tmp_path, "a.jpg", "b.jpg")
    found = listed(tmp_path, **POLYGONS, exclude={"x/a": "blurred"})
    assert names(found) == {"b": ["b.jpg", "coco.json"]}
    assert found.notes == ["excluded x/a: blurred"]


def test_an_annotation_that_means_two_images_is_refused(tmp_path):
    touch(tmp_path, "images/x/a.jpg", "images/y/a.jpg")
    coco(tmp_path, "a.jpg")
    assert "1 name means" in listed(tmp_path, **POLYGONS).problems[0]
    assert "coco.json: a.jpg" in listed(tmp_path, **POLYGONS).problems[0]


def test_annotation_files_of_split_folders(tmp_path):
    touch(tmp_path, "train/a.jpg", "valid/b.jpg")
    for split, name in (("train", "a.jpg"), ("valid", "b.jpg")):
        coco(tmp_path, name)
        (tmp_path / "coco.json").rename(tmp_path / split / "_annotations.coco.json")
    found = listed(tmp_path, images="{split}", masks="{split}/_annotations.coco.json", mask={"encoding": "polygons"})
    assert [(sample.id, sample.split, sample.label) for sample in found.samples] == [
        ("a", "train", "a.jpg"),
        ("b", "val", "b.jpg"),
    ]
    assert found.notes == []


GEOJSON = json.dumps({"type": "FeatureCollection", "features": []})


def test_geojson_names_no_images(tmp_path):
    touch(tmp_path, "images/a.tif", "images/b.tif")
    (tmp_path / "all.geojson").write_text(GEOJSON)
    found = listed(tmp_path, masks="all.geojson", mask={"encoding": "polygons"}, exclude={"b": "clouds"})
    assert [(sample.id, sample.label, sample.masks[0].name) for sample in found.samples] == [("a", None, "all.geojson")]
    assert found.notes == ["excluded b: clouds"]


def test_one_geojson_per_image_pairs_by_name(tmp_path):
    touch(tmp_path, "images/a.tif", "masks/a_buildings.geojson", "masks/readme.txt")
    found = listed(tmp_path, mask_suffix="_buildings", mask={"encoding": "polygons"})
    assert names(found) == {"a": ["a.tif", "a_buildings.geojson"]}
    assert found.samples[0].label is None


def test_a_table_of_run_lengths_lists_its_images(tmp_path):
    touch(tmp_path, "images/a.jpg", "images/b.jpg")
    (tmp_path / "train.csv").write_text("ImageId,EncodedPixels\na.jpg,1 3\nb.jpg,\n")
    found = listed(tmp_path, masks="train.csv", mask={"encoding": "rle"})
    assert [(sample.id, sample.label) for sample in found.samples] == [("a", "a.jpg"), ("b", "b.jpg")]
    (tmp_path / "masks").mkdir()
    assert "With mask.encoding=rle, name the CSV table" in listed(tmp_path, mask={"encoding": "rle"}).problems[0]


def test_a_broken_annotation_file_is_one_problem(tmp_path):
    touch(tmp_path, "images/a.jpg")
    (tmp_path / "coco.json").write_text("{")
    assert len(listed(tmp_path, **POLYGONS).problems) == 1


def test_a_split_file_is_used_as_it_is(tmp_path):
    pairs(tmp_path, ["a", "b", "c", "d"])
    table = tmp_path / "splits.csv"
    table.write_text("id,split,group\na,train,a\nb,val,b\nc,test,c\n")
    config = DataConfig.model_validate({"root": str(tmp_path), "split": {"file": str(table)}})
    manifest = build_manifest(config)
    assert [(sample.id, sample.split) for sample in manifest.samples] == [("a", "train"), ("b", "val"), ("c", "test")]
    assert f"1 samples are in no split of {table}, left out: d" in manifest.notes
    assert manifest.notes[-1] == f"3 samples: 1 train, 1 val, 1 test; as {table} divides it"


@pytest.mark.parametrize(
    ("id_", "reason"),
    [
        ("../b", r"ids are not among the 2 samples: \.\./b\. An id is the path below the image folder"),
        ("/etc/passwd", r"/etc/passwd\. An id is the path below the image folder"),
        ("case_O1", r"case_O1\. Complete the data, or use another split\. The nearest to case_O1 is case_01\."),
    ],
)
def test_a_split_file_with_other_ids_is_refused_by_name(tmp_path, id_, reason):
    pairs(tmp_path, ["case_01", "b"])
    (tmp_path / "s.csv").write_text(f"id,split\nb,train\n{id_},test\n")
    problems = listed(tmp_path, split={"file": str(tmp_path / "s.csv")}).problems
    with pytest.raises(DataError, match=reason):
        raise DataError(problems[0])


def test_a_sample_with_a_problem_is_not_missed_again_by_the_split_file(tmp_path):
    touch(pairs(tmp_path, ["a"]), "images/lonely.png")
    (tmp_path / "s.csv").write_text("id,split\na,train\nlonely,test\n")
    problems = listed(tmp_path, split={"file": str(tmp_path / "s.csv")}).problems
    assert len(problems) == 1
    assert "have no mask" in problems[0]


def test_a_missing_split_file_is_a_problem(tmp_path):
    pairs(tmp_path, ["a"])
    assert "gone.csv: cannot be read as a split table" in listed(tmp_path, split={"file": "gone.csv"}).problems[0]


def test_what_is_wrong_with_the_configuration_is_raised(tmp_path):
    pairs(tmp_path, ["a"])
    with pytest.raises(ConfigError, match="is not a regular expression"):
        listed(tmp_path, image_pattern="(")


CARD = """
title: drawn
source: here
licence: CC0
citation: none
images: 2
checked: nothing
layout: pairs
marker: images
split: {patterns: {test: "t.*", train: ".*"}}
data:
  exclude: {in_another_release: broken}
"""


def test_exclusions_of_a_card_may_name_what_another_release_has(tmp_path):
    pairs(tmp_path, ["a", "t1"])
    (tmp_path / "card.yaml").write_text(CARD)
    found = listed(tmp_path, card=str(tmp_path / "card.yaml"))
    assert found.problems == []
    assert found.notes == ["data.exclude of the card names in_another_release, but there is no such sample"]
    assert [(sample.id, sample.split) for sample in found.samples] == [("a", "train"), ("t1", "test")]
    mine = listed(tmp_path, card=str(tmp_path / "card.yaml"), exclude={"mine": "typo"})
    assert mine.problems == ["data.exclude names mine, but there is no such sample. Correct or remove it."]


def test_a_split_file_replaces_the_split_of_a_card(tmp_path):
    pairs(tmp_path, ["a", "t1"])
    (tmp_path / "card.yaml").write_text(CARD)
    (tmp_path / "s.csv").write_text("id,split\na,test\nt1,train\n")
    found = listed(tmp_path, card=str(tmp_path / "card.yaml"), split={"file": str(tmp_path / "s.csv")})
    assert [(sample.id, sample.split) for sample in found.samples] == [("a", "test"), ("t1", "train")]
