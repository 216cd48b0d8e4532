from collections import Counter

import pytest

from seg_scse.config.schema import SplitConfig
from seg_scse.data.listing.splits import (
    apply_splits,
    assign_groups,
    count_splits,
    crossing_groups,
    describe,
    divide,
    read_lists,
    read_splits,
    write_splits,
)
from seg_scse.data.samples import Sample
from seg_scse.errors import ConfigError, DataError


def samples(count: int, split: str | None = None, prefix: str = "s") -> list[Sample]:
    return [Sample(f"{prefix}{i:03d}", None, (), split, f"{prefix}{i:03d}") for i in range(count)]


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


def test_a_table_may_write_a_name_in_the_other_way_of_unicode():
    sample = Sample("caf\u00e9", None, (), None, "x")
    assert apply_splits([sample], {"cafe\u0301": "test"}, "card")[0][0].split == "test"


def test_every_sample_is_tested_in_exactly_one_fold():
    folds = [divide(samples(23), SplitConfig(folds=5, fold=k))[0] for k in range(5)]
    tested = Counter(s.id for divided in folds for s in divided if s.split == "test")
    assert tested == {s.id: 1 for s in samples(23)}
    for divided in folds:
        counts = Counter(s.split for s in divided)
        assert counts["test"] in (4, 5)
        assert counts["val"] == round(0.15 * (23 - counts["test"]))
    # Another val for each fold, so that not the same images choose every network.
    assert len({frozenset(s.id for s in divided if s.split == "val") for divided in folds}) == 5


def test_folds_keep_groups_whole_and_stratify():
    config = SplitConfig(folds=4, group=r"^s(\d\d)", stratify=True)
    grouped = assign_groups(samples(80), config.group)
    presence = {s.id: frozenset({0, 1} if s.group in ("00", "01", "02", "03") else {0}) for s in grouped}
    for fold in range(4):
        divided, method = divide(grouped, config.model_copy(update={"fold": fold}), presence)
        assert crossing_groups(divided) == []
        assert describe(divided, presence, ("none", "some"))["test"] == {
            "samples": 20,
            "groups": 2,
            "classes": {"none": 20, "some": 10},
        }
        assert method == f"fold {fold} of 4 is test, divided by class presence with seed 41, 8 groups kept whole"


def test_folds_divide_a_ready_made_split_anew_and_say_so():
    divided, method = divide(samples(10, "train") + samples(5, "test", "t"), SplitConfig(folds=3, fold=0))
    assert Counter(s.split for s in divided)["test"] == 5
    assert {s.id[0] for s in divided if s.split == "test"} == {"s", "t"}
    assert method.endswith("; the split of the data set is not used")


def test_more_folds_than_groups_are_refused():
    with pytest.raises(DataError, match=r"data\.split\.folds=5, but only 3 independent samples"):
        divide(samples(3), SplitConfig(folds=5, fold=0))


def test_stratified_splits_need_the_classes():
    with pytest.raises(ValueError, match="give `presence`"):
        divide(samples(10), SplitConfig(stratify=True))


def test_val_of_a_ready_made_train_is_stratified():
    ready = samples(20, "train") + samples(5, "test", "t")
    presence = {s.id: frozenset({0, 1} if s.id in ("s000", "s001", "s002", "s003") else {0}) for s in ready}
    config = SplitConfig(train=0.75, val=0.25, test=0.0, stratify=True)
    divided, method = divide(ready, config, presence)
    assert describe(divided, presence, ("none", "some"))["val"]["classes"] == {"none": 5, "some": 1}
    assert "val is 0.25 of its train, by class presence with seed 41" in method


def test_a_split_is_described_by_samples_and_groups():
    divided = [Sample("a", None, (), "train", "p"), Sample("b", None, (), "train", "p")]
    assert describe(divided) == {
        "train": {"samples": 2, "groups": 1},
        "val": {"samples": 0, "groups": 0},
        "test": {"samples": 0, "groups": 0},
    }
