import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_scse.prediction.scene_work import ranges
from seg_scse.prediction.sharing import Share


def shares(shards: int, world: int) -> list[Share]:
    return [Share(shard, shards, rank, world) for shard in range(shards) for rank in range(world)]


counts = {"shards": st.integers(1, 5), "world": st.integers(1, 4)}


@given(items=st.integers(0, 40), modulus=st.integers(1, 9), **counts)
def test_each_item_belongs_to_one_process_or_to_all(items: int, modulus: int, shards: int, world: int) -> None:
    parts = [share.divide(range(items), lambda item: item % modulus == 0) for share in shares(shards, world)]
    shared = parts[0][0]
    assert all(part[0] == shared for part in parts)
    assert all(item % modulus == 0 for item in shared)
    assert len(shared) < max(2, shards * world)
    alone = list(itertools.chain.from_iterable(part[1] for part in parts))
    assert sorted([*shared, *alone]) == list(range(items))
    sizes = [len(part[1]) for part in parts]
    assert max(sizes) - min(sizes) <= 1, "but for what is shared all do equally much"


@given(strips=st.integers(0, 60), **counts)
def test_each_strip_belongs_to_one_process(strips: int, shards: int, world: int) -> None:
    parts = [share.strips(strips) for share in shares(shards, world)]
    assert list(itertools.chain.from_iterable(parts)) == list(range(strips)), "in order, without gaps"
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_process_has_a_number_among_all() -> None:
    assert [share.label for share in shares(2, 2)] == ["1/4", "2/4", "3/4", "4/4"]
    assert Share().divide([1, 2, 3], lambda item: True) == ([], [1, 2, 3])


@pytest.mark.parametrize(
    ("numbers", "joined"), [([], []), ([3], [range(3, 4)]), ([0, 1, 2, 7, 8], [range(3), range(7, 9)])]
)
def test_numbers_that_follow_each_other_are_joined(numbers: list[int], joined: list[range]) -> None:
    assert list(ranges(numbers)) == joined
