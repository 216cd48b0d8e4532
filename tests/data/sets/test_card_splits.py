from pathlib import Path

import pytest

from seg_scse.data.listing.splits import random_split, read_lists
from seg_scse.data.sets.card_splits import split_table
from seg_scse.data.sets.cards import Card, card_path, load_card
from seg_scse.errors import DataError

LINE = r"/its/(train|val)/(\w+)\.png .*"
CVC_LAST_FRAMES = (25, 50, 67, 78, 103, 126, 151, 177, 199, 205, 227, 252, 277, 297, 317, 342, 363, 383, 408, 428, 447)
CVC_LAST_FRAMES += (466, 478, 503, 528, 546, 571, 591, 612)


def card(**split: object) -> Card:
    facts = {"title": "T", "source": "https://t", "licence": "L", "citation": "C", "images": 1, "checked": "all"}
    return Card.model_validate({**facts, "layout": "pairs", "marker": "images", "split": split})


def test_without_a_rule_there_is_no_table(tmp_path):
    assert split_table(card(), tmp_path, tmp_path, ["a"]) is None
    assert split_table(card(folders={"training": "train"}), tmp_path, tmp_path, ["a"]) is None


def test_lists_are_beside_the_card_and_root_lists_beside_the_data(tmp_path):
    for folder, id_ in (("card", "a"), ("data", "b")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "train.txt").write_text(f"{id_}\n")
    for rule, id_ in (("lists", "a"), ("root_lists", "b")):
        table = split_table(card(**{rule: {"train": "train.txt"}}), tmp_path / "card", tmp_path / "data", [])
        assert table == {id_: "train"}


def test_a_table_is_beside_the_data(tmp_path):
    (tmp_path / "splits.csv").write_text("id,split\na,val\n")
    assert split_table(card(table="splits.csv"), Path("nowhere"), tmp_path, []) == {"a": "val"}


def test_ids_are_taken_out_of_lines(tmp_path):
    (tmp_path / "1.txt").write_text("/its/train/a.png /its/masks/a.png\n")
    (tmp_path / "2.txt").write_text("/its/val/b.png /its/masks/b.png\n")
    rule = card(root_lists={"train": "1.txt", "test": "2.txt"}, line=LINE)
    assert split_table(rule, tmp_path, tmp_path, []) == {"train/a": "train", "val/b": "test"}


def test_lines_of_another_form_are_refused(tmp_path):
    (tmp_path / "1.txt").write_text("elsewhere/a.png\n")
    with pytest.raises(DataError, match=r"1\.txt: the line 'elsewhere/a\.png' is not of the form .*split\.line"):
        split_table(card(root_lists={"train": "1.txt"}, line=LINE), tmp_path, tmp_path, [])


def test_an_id_in_two_lists_is_refused(tmp_path):
    (tmp_path / "1.txt").write_text("/its/train/a.png 1\n")
    (tmp_path / "2.txt").write_text("/its/train/a.png 2\n")
    rule = card(root_lists={"train": "1.txt", "val": "2.txt"}, line=LINE)
    with pytest.raises(DataError, match=r"2\.txt: id train/a is given twice \(train and val\)"):
        split_table(rule, tmp_path, tmp_path, [])


def test_the_first_pattern_that_matches_the_whole_id_decides(tmp_path):
    rule = card(patterns={"test": r"[a-z]+[1-5]", "train": r"[a-z]+\d+"})
    ids = ["austin1", "austin15", "vienna5"]
    assert split_table(rule, tmp_path, tmp_path, ids) == {"austin1": "test", "austin15": "train", "vienna5": "test"}
    with pytest.raises(DataError, match=r"patterns of the card match none of 1 ids: 17\. Remove these files"):
        split_table(rule, tmp_path, tmp_path, [*ids, "17"])


def test_the_lists_of_cvc_clinicdb_are_whole_sequences_by_the_seeded_order():
    names = [f"sequence {number}" for number in range(1, 30)]
    splits = random_split(names, {"train": 0.8, "val": 0.1, "test": 0.1}, 41)
    lists = load_card("cvc_clinicdb").split.lists or {}
    table = read_lists({split: card_path("cvc_clinicdb").parent / name for split, name in lists.items()})
    starts = (0, *CVC_LAST_FRAMES)
    for name, start, last in zip(names, starts, CVC_LAST_FRAMES, strict=False):
        assert {table[str(frame)] for frame in range(start + 1, last + 1)} == {splits[name]}
    assert len(table) == 612
