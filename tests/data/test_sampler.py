"""The order of samples: complete, disjoint, reproducible, and entered at any batch."""

import pytest

from seg_scse.data.sampler import EpochBatchSampler, crops_to_cover
from seg_scse.errors import ConfigError


def _epoch(epoch, batch=0, *, size=12, batch_size=3, seed=5, rank=0, world=1, repeats=2):
    sampler = EpochBatchSampler([repeats] * size, batch_size, seed, rank, world)
    sampler.position(epoch, batch)
    return list(sampler)


def _keys(batches):
    return [key for batch in batches for key in batch]


def test_an_epoch_holds_each_draw_once():
    keys = _keys(_epoch(4))
    assert sorted(keys) == [(4, draw, index) for draw in range(2) for index in range(12)]


def test_only_whole_batches_are_given():
    batches = _epoch(0, size=11, repeats=1)
    assert [len(batch) for batch in batches] == [3, 3, 3]
    assert len(EpochBatchSampler([1] * 11, 3, 0, 0, 1)) == 3
    assert len(set(_keys(batches))) == 9


def test_epochs_and_seeds_have_different_orders():
    orders = [[key[1:] for key in _keys(batches)] for batches in (_epoch(0), _epoch(1), _epoch(0, seed=6))]
    assert orders[0] != orders[1]
    assert orders[0] != orders[2]
    assert sorted(orders[0]) == sorted(orders[1])


def test_the_order_is_the_same_in_every_sampler_and_iteration():
    sampler = EpochBatchSampler([2] * 12, 3, 5, 0, 1)
    sampler.position(7, 0)
    assert list(sampler) == list(sampler) == _epoch(7)


@pytest.mark.parametrize("batch", range(9))
def test_a_position_yields_exactly_the_tail(batch):
    assert _epoch(3, batch) == _epoch(3)[batch:]


def test_a_position_set_during_iteration_holds_for_the_next_one():
    sampler = EpochBatchSampler([2] * 12, 3, 5, 0, 1)
    iterator = iter(sampler)
    sampler.position(1, 6)
    assert list(iterator) == _epoch(0)
    assert list(sampler) == _epoch(1)[6:]


def test_a_position_outside_the_epoch_is_refused():
    sampler = EpochBatchSampler([2] * 12, 3, 5, 0, 1)
    with pytest.raises(ValueError, match=r"position\(0, 9\): an epoch has 8 batches"):
        sampler.position(0, 9)
    with pytest.raises(ValueError, match=r"position\(-1, 0\)"):
        sampler.position(-1, 0)


@pytest.mark.parametrize("world", [2, 3, 5])
def test_shards_are_disjoint_and_of_equal_length(world):
    shards = [_epoch(2, rank=rank, world=world, batch_size=2) for rank in range(world)]
    keys = [key for shard in shards for key in _keys(shard)]
    assert len({len(shard) for shard in shards}) == 1
    assert len(set(keys)) == len(keys) == 24 // world // 2 * 2 * world


def test_the_batches_of_two_processes_are_one_slice_of_the_order():
    alone = _epoch(2, batch_size=4)
    pair = [_epoch(2, batch_size=2, rank=rank, world=2) for rank in range(2)]
    assert [set(a + b) for a, b in zip(*pair, strict=True)] == [set(batch) for batch in alone]


def test_an_epoch_without_a_batch_names_numbers_and_cure():
    with pytest.raises(ConfigError) as caught:
        EpochBatchSampler([1] * 5, 8, 0, 0, 1)
    assert str(caught.value) == (
        "trainer.batch_size=8: an epoch draws 5 crops from 5 training images, which fills no batch. "
        "Choose trainer.batch_size <= 5, or trainer.repeats 2 times as large."
    )
    EpochBatchSampler([1] * 5, 5, 0, 0, 1)
    EpochBatchSampler([2] * 5, 8, 0, 0, 1)


def test_an_epoch_shared_by_too_many_processes_names_them():
    with pytest.raises(ConfigError, match=r"5 training images for 8 processes.* trainer\.repeats 4 times as large"):
        EpochBatchSampler([1] * 5, 2, 0, 0, 8)
    EpochBatchSampler([4] * 5, 2, 0, 0, 8)


def test_an_empty_split_is_refused():
    with pytest.raises(ConfigError, match="the training split has no images"):
        EpochBatchSampler([], 2, 0, 0, 1)


def test_each_sample_is_drawn_as_often_as_its_number_says():
    sampler = EpochBatchSampler([1, 3, 2], 2, 0, 0, 1)
    keys = [key[1:] for batch in sampler for key in batch]
    assert sorted(keys) == [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 1)]


def test_crops_cover_the_area_of_an_image():
    assert crops_to_cover([(256, 256), (1024, 1024), (30, 40), (256, 640)], 256) == [1, 16, 1, 2]
