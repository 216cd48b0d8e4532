import pytest

from seg_scse.config.schema import DataConfig
from seg_scse.data.listing.patterns import rules_of, same_name
from seg_scse.errors import ConfigError


def test_a_suffix_is_no_part_of_the_id():
    rule = rules_of(DataConfig(mask_suffix="_mask"), "mask")[0]
    assert rule.id_of("case/1_mask") == "case/1"
    assert rule.id_of("case/1") is None
    assert rule.id_of("case/_mask") is None


def test_the_groups_of_a_pattern_are_the_id():
    rule = rules_of(DataConfig(image_pattern=r"scene(\d+)/tile_(\d+)(?:_(b))?"), "image")[0]
    assert rule.id_of("scene7/tile_12") == "7/12"
    assert rule.id_of("scene7/tile_12_b") == "7/12/b"
    assert rule.id_of("scene7/tile_12.old") is None


def test_each_band_has_a_rule_with_its_name_taken_as_it_is():
    config = DataConfig(bands=("b.4", "nir"), images="{split}_{band}", image_pattern=r"{band}_(\d{3})")
    first, second = rules_of(config, "image")
    assert (first.name, first.folder) == ("b.4", "{split}_b.4")
    assert first.id_of("b.4_012") == "012"
    assert first.id_of("bx4_012") is None
    assert second.id_of("nir_012") == "012"


def test_each_class_but_the_first_has_a_rule():
    config = DataConfig(classes=("none", "car", "tree"), mask_suffix="_{class}", mask={"encoding": "files"})
    assert [(rule.name, rule.id_of("a_tree")) for rule in rules_of(config, "mask")] == [("car", None), ("tree", "a")]


def test_objects_are_named_by_their_folder_unless_a_rule_names_them():
    by_folder = rules_of(DataConfig(mask={"encoding": "objects"}), "mask")[0]
    assert (by_folder.id_of("a/b/1"), by_folder.id_of("1")) == ("a/b", None)
    by_name = rules_of(DataConfig(mask={"encoding": "objects"}, mask_pattern=r"(.+)_mask(?:_\d+)?"), "mask")[0]
    assert by_name.id_of("x/benign (1)_mask_2") == "x/benign (1)"


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [("(", r"data\.image_pattern='\(' is not a regular expression"), (r"\d+", "has no group: put the part")],
)
def test_patterns_that_give_no_id_are_refused(pattern, reason):
    with pytest.raises(ConfigError, match=reason):
        rules_of(DataConfig(image_pattern=pattern), "image")


def test_both_ways_of_writing_a_letter_are_one_name():
    assert same_name("e\u0301") == same_name("\u00e9")
