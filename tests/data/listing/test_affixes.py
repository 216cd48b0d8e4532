import re

import pytest
import yaml

from seg_scse.config.schema import DataConfig
from seg_scse.data.listing.affixes import Affixes, common_affixes
from seg_scse.data.listing.listing import list_samples

from .trees import pairs, touch

IDS = ["case_1", "case_2", "case_11"]


@pytest.mark.parametrize(
    ("image", "mask", "found"),
    [
        ("{}_0000", "{}", Affixes("_0000", "", True)),
        ("{}", "{}_mask", Affixes("", "_mask", True)),
        ("{}_sat", "{}_mask", Affixes("_sat", "_mask", True)),
        ("{}_image", "{}_label", Affixes("_image", "_label", True)),
        ("img_{}", "{}", Affixes("img_", "", False)),
        ("img_{}", "gt_{}", Affixes("img_", "gt_", False)),
        ("train/{}", "{}", Affixes("train/", "", False)),
        ("{}.ah", "{}", Affixes(".ah", "", True)),
    ],
)
def test_a_common_end_or_beginning_is_found(image, mask, found):
    assert common_affixes([image.format(id_) for id_ in IDS], [mask.format(id_) for id_ in IDS]) == found


@pytest.mark.parametrize("fewer", [0, 1])
def test_leftovers_of_one_side_do_not_hide_it(fewer):
    sides = [f"{id_}_0000" for id_ in IDS], list(IDS)
    sides[fewer].pop()
    assert common_affixes(*sides) == Affixes("_0000", "", True)


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        (["a_1", "b_2"], ["a", "b"]),
        (["c_0000", "c_0001"], ["c", "d"]),
        (["lonely"], ["10"]),
        ([], ["a"]),
    ],
)
def test_names_that_differ_otherwise_are_not_explained(images, masks):
    assert common_affixes(images, masks) is None


@pytest.mark.parametrize(
    ("image", "mask", "line"),
    [
        ("{}_0000", "{}", "image_suffix: _0000"),
        ("{} sat", "{}_mask", "image_suffix: ' sat', mask_suffix: _mask"),
        ("im'g_{}", "gt_{}", r"image_pattern: 'im''g_(.+)', mask_pattern: 'gt_(.+)'"),
    ],
)
def test_one_cause_is_one_problem_whose_line_works(tmp_path, image, mask, line):
    for id_ in IDS:
        touch(tmp_path, f"images/{image.format(id_)}.png", f"masks/{mask.format(id_)}.png")
    (problem,) = list_samples(DataConfig(root=str(tmp_path))).problems
    assert line in problem
    proposed = yaml.safe_load(re.search("`data: (.*)`", problem)[1])
    found = list_samples(DataConfig.model_validate({"root": str(tmp_path), **proposed}))
    assert (found.problems, [sample.id for sample in found.samples]) == ([], sorted(IDS))


def test_a_suffix_that_is_set_is_completed(tmp_path):
    for id_ in IDS:
        touch(tmp_path, f"images/{id_}_a_b.png", f"masks/{id_}.png")
    (problem,) = list_samples(DataConfig(root=str(tmp_path), image_suffix="_b")).problems
    assert "`data: {image_suffix: _a_b}`" in problem


@pytest.mark.parametrize(
    ("mask", "line"), [("{}_m.1", r"mask_pattern: '(.+?)(?:_m\.1)?'"), ("gt_{}", "mask_pattern: '(?:gt_)?(.+)'")]
)
def test_files_that_do_pair_are_not_given_up(tmp_path, mask, line):
    touch(
        pairs(tmp_path, ["ok"]), *(f"images/{id_}.png" for id_ in "12"), *(f"masks/{mask.format(i)}.png" for i in "12")
    )
    (problem,) = list_samples(DataConfig(root=str(tmp_path))).problems
    assert "all without a partner among the masks" in problem
    assert f"`data: {{{line}}}`" in problem
    proposed = yaml.safe_load(line)
    found = list_samples(DataConfig.model_validate({"root": str(tmp_path), **proposed}))
    assert (found.problems, [sample.id for sample in found.samples]) == ([], ["1", "2", "ok"])


def test_one_file_that_is_left_proves_nothing(tmp_path):
    touch(pairs(tmp_path, ["ok"]), "images/1.png", "masks/10.png")
    assert len(list_samples(DataConfig(root=str(tmp_path))).problems) == 2
