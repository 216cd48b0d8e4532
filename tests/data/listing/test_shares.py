import random
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from seg_scse.config.schema import SplitConfig
from seg_scse.data.listing.shares import largest_remainder, random_split, stratified_split
from seg_scse.data.listing.splits import divide
from seg_scse.data.samples import Sample
from seg_scse.errors import DataError

FROZEN_TEST_IDS = ["id0", "id8", "id16", "id18", "id23", "id28", "id34"]
SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}


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


def images(count: int, rare: int) -> dict[str, list[frozenset[int]]]:
    """All have background, half have class 1, the first `rare` class 2; one group each."""
    return {
        f"id{i:03}": [frozenset({0} | ({1} if i % 2 else set()) | ({2} if i < rare else set()))] for i in range(count)
    }


def per_part(units, table, label):
    return Counter(table[unit] for unit, groups in units.items() for found in groups if label in found)


def test_every_part_gets_its_share_of_each_class():
    units = images(100, rare=20)
    table = stratified_split(units, SHARES, 41)
    assert Counter(table.values()) == {"train": 70, "val": 15, "test": 15}
    assert per_part(units, table, 2) == {"train": 14, "val": 3, "test": 3}
    assert abs(per_part(units, table, 1)["val"] - 7.5) <= 0.5
    unaware = random_split(units, SHARES, 41)
    assert per_part(units, unaware, 2) != per_part(units, table, 2)


def test_stratified_split_is_a_pure_function_of_ids_and_seed():
    units = images(60, rare=6)
    table = stratified_split(units, SHARES, 41)
    shuffled = dict(random.Random(0).sample(list(units.items()), 60))
    assert stratified_split(shuffled, SHARES, 41) == table
    assert stratified_split(units, SHARES, 42) != table


def test_groups_are_stratified_as_a_whole():
    # 12 patients of 10 images each; class 1 is in half the images of four of them.
    units = {f"p{k:02}": [frozenset({0, 1} if k < 4 and i % 2 else {0}) for i in range(10)] for k in range(12)}
    table = stratified_split(units, {str(k): 0.25 for k in range(4)}, 41)
    assert Counter(table.values()) == {str(k): 3 for k in range(4)}
    assert per_part(units, table, 1) == {str(k): 5 for k in range(4)}


@pytest.mark.parametrize("seed", range(5))
def test_large_groups_are_placed_before_small_ones(seed):
    units = {"large": [frozenset({1})] * 8} | {f"small{k}": [frozenset({1})] for k in range(8)}
    table = stratified_split(units, {"train": 0.5, "test": 0.5}, seed)
    assert per_part(units, table, 1) == {"train": 8, "test": 8}


def test_images_without_any_class_are_dealt_out_too():
    units = {f"id{i}": [frozenset()] for i in range(20)}
    assert Counter(stratified_split(units, SHARES, 41).values()) == {"train": 14, "val": 3, "test": 3}


def test_a_share_of_zero_gets_nothing():
    table = stratified_split(images(10, 3), {"train": 0.5, "val": 0.5, "test": 0.0}, 41)
    assert Counter(table.values()) == {"train": 5, "val": 5}


def test_too_few_groups_are_refused():
    with pytest.raises(DataError, match=r"2 independent samples .* leave .*test empty"):
        stratified_split(images(2, 1), SHARES, 41)


def proposed(divide, units, shares):
    """The parts that the first line of a refusal gives, and its text."""
    with pytest.raises(DataError) as caught:
        divide(units, shares, 41)
    text = str(caught.value)
    line = re.search(r"write `data\.split: (\{[^}]*\})`", text)[1]
    found = SplitConfig.model_validate(yaml.safe_load(line))
    return Counter(divide(units, {part: getattr(found, part) for part in shares}, 41).values()), text


@pytest.mark.parametrize("divide", [random_split, stratified_split])
@pytest.mark.parametrize(
    ("count", "shares", "parts"),
    [
        (3, SHARES, {"train": 1, "val": 1, "test": 1}),
        (4, SHARES, {"train": 2, "val": 1, "test": 1}),
        (2, SHARES, {"train": 1, "val": 1}),
        (3, {"train": 0.85, "val": 0.15}, {"train": 2, "val": 1}),
        (5, {"train": 0.98, "val": 0.01, "test": 0.01}, {"train": 3, "val": 1, "test": 1}),
    ],
)
def test_the_shares_that_a_refusal_proposes_work(divide, count, shares, parts):
    assert proposed(divide, {f"id{k}": [frozenset({0, 1})] for k in range(count)}, shares)[0] == parts


@pytest.mark.parametrize("count", [3, 4])
def test_the_cross_validation_that_a_refusal_proposes_works(count):
    _, text = proposed(random_split, {f"id{k}": [] for k in range(count)}, SHARES)
    line = re.search(r"cross-validate: `data\.split: (\{[^}]*\})`", text)[1]
    samples = [Sample(f"id{k}", Path("i"), (Path("m"),), None, f"id{k}") for k in range(count)]
    for fold in range(count):
        config = SplitConfig.model_validate(yaml.safe_load(line) | {"fold": fold})
        assert {sample.split for sample in divide(samples, config)[0]} == {"train", "val", "test"}


def test_one_sample_cannot_be_divided():
    with pytest.raises(DataError, match=r"1 independent sample \(or groups\) divided .* leave .* empty\. Add data\.$"):
        random_split(["a"], {"train": 0.5, "val": 0.5}, 41)
