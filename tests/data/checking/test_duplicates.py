from dataclasses import replace
from pathlib import Path

from seg_scse.data.checking.duplicates import find_crossings, find_duplicates, is_constant

from .facts import pair


def test_an_image_in_two_splits_is_a_leak() -> None:
    same = {"image_digest": "1", "mask_digest": "2"}
    (found,) = find_duplicates([pair("a", "train", **same), pair("b", "test", **same), pair("c", "val")])
    assert (found.level, found.kind, found.ids) == ("warning", "leak-content", ("a", "b"))
    assert found.text.startswith("leak: equal images are in more than one split (1 case): a (train) = b (test).")
    assert "data.exclude" in found.text


def test_only_a_ready_made_split_is_told_to_divide_anew() -> None:
    pairs = [pair(f"{k}", split, image_digest="1", mask_digest="2") for k, split in enumerate(["train", "test"])]
    (found,) = find_duplicates(pairs)
    assert "in data.exclude, or let data.split divide, with a data.split.group" in found.text
    drawn = [(replace(sample, image=Path("images/a.png")), entry) for sample, entry in pairs]
    (found,) = find_duplicates(drawn)
    assert "in data.exclude, or keep them together by a part of their ids (data.split.group)." in found.text


def test_equal_images_with_different_masks_are_a_contradiction() -> None:
    (found,) = find_duplicates([pair("a", image_digest="1"), pair("b", image_digest="1")])
    assert (found.level, found.kind, found.ids) == ("warning", "contradiction", ("a", "b"))
    assert "different masks" in found.text


def test_a_contradiction_across_splits_is_a_leak_too() -> None:
    pairs = [pair("a", "train", image_digest="1"), pair("b", "test", image_digest="1")]
    assert {found.kind for found in find_duplicates(pairs)} == {"contradiction", "leak-content"}


def test_copies_within_a_split_are_noted() -> None:
    same = {"image_digest": "1", "mask_digest": "2"}
    (found,) = find_duplicates([pair(name, "train", **same) for name in "abcde"])
    assert (found.level, found.kind) == ("note", "duplicate")
    assert found.ids == tuple("abcde")
    assert "a (train) = b (train) = c (train) = 2 more" in found.text


def test_images_of_one_value_are_no_duplicates() -> None:
    black = {"image_digest": "1", "minima": (0, 0, 0), "maxima": (0, 0, 0)}
    pairs = [pair("a", "train", **black), pair("b", "test", **black)]
    assert is_constant(pairs[0][1])
    assert find_duplicates(pairs) == []


def test_many_cases_are_one_finding() -> None:
    pairs = [pair(f"{split}{i}", split, image_digest=str(i)) for i in range(50) for split in ("train", "test")]
    found = {finding.kind: finding for finding in find_duplicates(pairs)}
    assert "(50 cases)" in found["leak-content"].text
    assert "and 47 more" in found["leak-content"].text
    assert len(found["leak-content"].ids) == 100


def test_a_group_in_two_splits_is_a_leak() -> None:
    pairs = [pair("p1_a", "train", "p1"), pair("p1_b", "test", "p1"), pair("p2_a", "test", "p2")]
    (found,) = find_crossings(pairs)
    assert (found.level, found.kind, found.ids) == ("warning", "leak-group", ("p1_a", "p1_b"))


def test_a_name_in_two_split_folders_is_a_possible_leak_unless_the_pixels_are_equal() -> None:
    pairs = [pair("train/a", "train", "a"), pair("test/a", "test", "a")]
    (found,) = find_crossings(pairs)
    assert (found.kind, found.ids) == ("leak-name", ("train/a", "test/a"))
    assert found.text.startswith("possible leak")
    same = [pair("train/a", "train", "a", image_digest="1"), pair("test/a", "test", "a", image_digest="1")]
    assert find_crossings(same) == [], "find_duplicates names it"


def test_one_volume_in_two_splits_is_a_leak() -> None:
    pairs = [pair("v/0", "train", "v", plane=0), pair("v/1", "test", "v", plane=1)]
    assert {found.kind for found in find_crossings(pairs)} == {"leak-file", "leak-group"}


def test_names_in_one_split_do_not_cross() -> None:
    assert find_crossings([pair("x/1", "train", "x"), pair("y/1", "train", "y"), pair("z/1", "test", "z")]) == []
