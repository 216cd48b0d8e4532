"""The order of samples: complete, disjoint, reproducible, and entered at any batch."""

import itertools
from collections import Counter

import numpy as np
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


def _hard(weights, epoch=3, *, share=0.5, draws=(4,) * 12, batch_size=4, seed=5, rank=0, world=1, batch=0):
    sampler = EpochBatchSampler(draws, batch_size, seed, rank, world, share)
    sampler.weigh(None if weights is None else np.asarray(weights, float))
    sampler.position(epoch, batch)
    return list(sampler)


def test_the_order_without_hard_sampling_is_that_of_the_first_release():
    sampler = EpochBatchSampler([1, 3, 2], 2, 5, 0, 1)
    sampler.position(3, 0)
    assert list(sampler) == [[(3, 0, 2), (3, 0, 1)], [(3, 2, 1), (3, 0, 0)], [(3, 1, 1), (3, 1, 2)]]
    sampler = EpochBatchSampler([2] * 4, 2, 7, 1, 2)
    sampler.position(1, 0)
    assert list(sampler) == [[(1, 1, 1), (1, 0, 0)], [(1, 0, 2), (1, 1, 2)]]


@pytest.mark.parametrize(("share", "weights"), [(0.0, [1.0] * 11 + [9.0]), (0.5, None), (0.5, [0.0] * 12)])
def test_without_a_share_or_weights_the_order_is_the_uniform_one(share, weights):
    uniform = EpochBatchSampler([4] * 12, 4, 5, 0, 1)
    uniform.position(3, 0)
    assert _hard(weights, share=share) == list(uniform)


def test_the_share_of_an_epoch_that_follows_the_weights_is_exact():
    weights = [0] * 10 + [1, 3]
    counts = Counter(index for _, _, index in _keys(_hard(weights)))
    assert sum(counts.values()) == 48
    # 24 of 48 draws go to the last two samples, 6 and 18; the other 24 are what was left of 4 draws of each
    assert 6 <= counts[10] <= 6 + 4
    assert 18 <= counts[11] <= 18 + 4
    assert sum(counts[index] for index in range(10)) + (counts[10] - 6) + (counts[11] - 18) == 24


def test_all_draws_follow_the_weights_at_a_share_of_one():
    counts = Counter(index for _, _, index in _keys(_hard([1, 2, 3] * 4, share=1.0)))
    assert [counts[index] for index in range(12)] == [2, 4, 6] * 4


def test_a_sample_is_never_drawn_twice_with_the_same_number():
    for epoch in range(20):
        keys = _keys(_hard(np.linspace(0, 1, 12) ** 3, epoch, share=0.7))
        assert len(set(keys)) == len(keys) == 48


def test_what_gives_way_and_what_comes_differ_from_epoch_to_epoch():
    counts = Counter()
    for epoch in range(200):
        keys = _keys(_hard([1] * 99 + [0], epoch, share=0.1, draws=(1,) * 100, batch_size=10))
        counts.update(index for _, draw, index in keys if draw)
        assert sum(draw > 0 for _, draw, _ in keys) == 10
        counts["last"] += sum(index == 99 for _, _, index in keys)
    assert all(5 <= counts[index] <= 45 for index in range(99)), "10 hard draws of 99 samples in 200 epochs: 20 each"
    assert counts[99] == 0
    assert 165 <= counts.pop("last") <= 195, "each draw is replaced in a tenth of the epochs"


def test_hard_draws_are_spread_over_the_epoch():
    batches = _hard([0] * 99 + [1], share=0.5, draws=(4,) * 100, batch_size=40)
    shares = [sum(index == 99 for _, _, index in batch) / 40 for batch in batches]
    assert len(shares) == 10
    assert min(shares) > 0.25
    assert max(shares) < 0.75


def test_the_weights_of_large_images_count_for_each_of_their_crops():
    even = Counter(index for _, _, index in _keys(_hard([1, 1, 1], share=1.0, draws=(10, 20, 2), batch_size=1)))
    assert even == {0: 10, 1: 20, 2: 2}


@pytest.mark.parametrize("batch", range(13))
def test_a_position_in_an_epoch_with_weights_yields_exactly_the_tail(batch):
    weights = np.linspace(0, 1, 12)
    assert _hard(weights, batch=batch) == _hard(weights)[batch:]


def test_the_order_depends_on_seed_epoch_and_weights():
    weights = np.linspace(0, 1, 12)
    orders = [_hard(weights), _hard(weights, 4), _hard(weights, seed=6), _hard(weights[::-1])]
    assert all(a != b for a, b in itertools.combinations(orders, 2))
    assert _hard(weights) == _hard(weights * 7), "only their proportion counts"


def test_processes_with_the_same_weights_share_one_order():
    weights = np.linspace(0, 1, 12)
    pair = [_hard(weights, batch_size=2, rank=rank, world=2) for rank in range(2)]
    assert [set(a + b) for a, b in zip(*pair, strict=True)] == [set(batch) for batch in _hard(weights)]


def test_weights_set_during_iteration_hold_for_the_next_one():
    sampler = EpochBatchSampler([4] * 12, 4, 5, 0, 1, 0.5)
    uniform = list(sampler)
    iterator = iter(sampler)
    weights = np.arange(12.0)
    sampler.weigh(weights)
    weights[:] = 1
    assert list(iterator) == uniform
    assert list(sampler) == _hard(np.arange(12.0), 0), "a copy is kept"
    sampler.weigh(None)
    assert list(sampler) == uniform


@pytest.mark.parametrize("weights", [[1.0] * 11, [1.0] * 11 + [-1.0], [1.0] * 11 + [np.nan], [np.inf] * 12])
def test_unusable_weights_are_refused(weights):
    with pytest.raises(ValueError, match="12 finite weights >= 0 are needed"):
        _hard(weights)
