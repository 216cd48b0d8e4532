import random

import pytest

from seg_scse.config.schema import SplitConfig
from seg_scse.data.samples import Sample
from seg_scse.data.splits import (
    apply_splits,
    assign_groups,
    count_splits,
    crossing_groups,
    divide,
    largest_remainder,
    random_split,
    read_lists,
    read_splits,
    write_splits,
)
from seg_scse.errors import ConfigError, DataError

FROZEN_TEST_IDS = ["id0", "id8", "id16", "id18", "id23", "id28", "id34"]
SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}


def samples(count: int, split: str | None = None, prefix: str = "s") -> list[Sample]:
    return [Sample(f"{prefix}{i:03d}", None, (), split, f"{prefix}{i:03d}") for i in range(count)]


@pytest.mark.parametrize(
    ("count", "shares", "sizes"),
    [
        (100, (0.7, 0.15, 0.15), [70, 15, 15]),
        (10, (0.7, 0.15, 0.15), [7, 2, 1]),
        (5, (0.7, 0.15, 0.15), [3, 1, 1]),
        (7, (1.0, 0.0, 0.0), [7, 0, 0]),
        (29, (0.8, 0.2), [23, 6]),
        (10, (0.9, 0.1), [9, 1]),
    ],
)
def test_sizes_follow_the_largest_remainder(count, shares, sizes):
    assert largest_remainder(count, shares) == sizes


def test_split_is_a_pure_function_of_ids_and_seed():
    ids = [f"id{i}" for i in range(50)]
    first = random_split(ids, SHARES, 41)
    shuffled = random.Random(0).sample(ids, 50)
    assert random_split(shuffled, SHARES, 41) == first
    assert random_split(ids, SHARES, 42) != first
    # frozen, so that no later version divides old data anew
    assert [i for i in ids if first[i] == "test"] == FROZEN_TEST_IDS


def test_empty_split_is_refused_with_the_shares():
    with pytest.raises(DataError, match=r"3 independent samples .* train 0\.7, val 0\.15, test 0\.15 leave test empty"):
        divide(samples(3), SplitConfig())


def test_a_share_of_zero_leaves_a_split_out():
    divided, _ = divide(samples(4), SplitConfig(train=0.5, val=0.5, test=0.0))
    assert count_splits(divided) == "2 train, 2 val"


def test_groups_stay_together():
    config = SplitConfig(train=0.5, val=0.25, test=0.25, group=r"^s(\d\d)")
    divided, _ = divide(assign_groups(samples(80), config.group), config)
    assert crossing_groups(divided) == []
    assert {s.group for s in divided} == {f"{i:02d}" for i in range(8)}
    assert count_splits(divided) == "40 train, 20 val, 20 test"


@pytest.mark.parametrize(
    ("expression", "kind", "reason"),
    [
        (r"^patient(\d+)", DataError, r"does not match 3 ids: s000, s001, s002\. Correct it"),
        (r"s\d+", ConfigError, "has no group"),
        (r"s(\d+", ConfigError, "is not a regular expression"),
    ],
)
def test_wrong_group_expressions_are_refused(expression, kind, reason):
    with pytest.raises(kind, match=reason):
        assign_groups(samples(3), expression)


def test_val_is_taken_from_a_ready_made_train():
    ready = samples(20, "train") + samples(5, "test", "t")
    divided, method = divide(ready, SplitConfig(train=0.8, val=0.2, test=0.0))
    assert count_splits(divided) == "16 train, 4 val, 5 test"
    assert [s.id for s in divided] == [s.id for s in ready]
    assert all(s.split == "test" for s in divided if s.id.startswith("t"))
    assert "val is 0.2 of its train" in method


def test_a_complete_ready_made_split_is_kept():
    ready = samples(3, "train") + samples(2, "val", "v") + samples(2, "test", "t")
    assert divide(ready, SplitConfig()) == (ready, "as the data set divides it")


def test_ready_made_splits_need_train():
    with pytest.raises(DataError, match="no train"):
        divide(samples(3, "test"), SplitConfig())


def test_crossing_groups_are_found():
    assert crossing_groups([Sample("a", None, (), "train", "p"), Sample("b", None, (), "test", "p")]) == ["p"]


def test_splits_survive_writing_and_reading(tmp_path):
    divided, _ = divide([Sample('a,"b"', None, (), None, "g"), *samples(9)], SplitConfig())
    write_splits(tmp_path / "splits.csv", divided)
    assert (tmp_path / "splits.csv").read_text().startswith("id,split,group\n")
    assert read_splits(tmp_path / "splits.csv") == {s.id: s.split for s in divided}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("id,split\na,training\n", r"splits\.csv:2: id 'a', split 'training'; need"),
        ("id,split\na,train\na,test\n", r"splits\.csv:3: id a is given twice"),
        ("name\na\n", r"splits\.csv:2: id None, split None; need columns id and split"),
        ("id,split\n", "holds no samples"),
    ],
)
def test_wrong_split_tables_are_refused(tmp_path, text, reason):
    (tmp_path / "splits.csv").write_text(text)
    with pytest.raises(DataError, match=reason):
        read_splits(tmp_path / "splits.csv")


def test_a_missing_split_table_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv: cannot be read as a split table"):
        read_splits(tmp_path / "none.csv")


def test_id_lists_are_read_and_duplicates_refused(tmp_path):
    (tmp_path / "a.txt").write_text("x\r\ny z\n\n")
    (tmp_path / "b.txt").write_text("\ufeffq\n", encoding="utf-8")
    lists = {"train": tmp_path / "a.txt", "test": tmp_path / "b.txt"}
    assert read_lists(lists) == {"x": "train", "y z": "train", "q": "test"}
    (tmp_path / "b.txt").write_text("x\n")
    with pytest.raises(DataError, match=r"id x is given twice \(train and test\)"):
        read_lists(lists)


def test_a_table_names_missing_ids_and_returns_the_unnamed():
    named, unnamed = apply_splits(samples(3), {"s000": "train", "s002": "test"}, "card")
    assert [(s.id, s.split) for s in named] == [("s000", "train"), ("s002", "test")]
    assert unnamed == ["s001"]
    with pytest.raises(DataError, match=r"card: 1 of 2 ids are not among the 3 samples: gone\. Complete"):
        apply_splits(samples(3), {"s000": "train", "gone": "test"}, "card")
