import resource
from types import SimpleNamespace

import pytest
from torch import nn

from seg_scse.inference import sources
from seg_scse.inference.cost import count_flops, measure_cost
from seg_scse.inference.ensemble import Ensemble
from seg_scse.inference.sources import NetworkSource

from .drawn import drawn, predictor

CONV = 2 * 3 * 4 * 9 * 32 * 32
"""Two operations for each of 3 * 4 * 9 products at each of 32 * 32 pixels."""


def test_a_multiplication_with_its_addition_counts_as_two() -> None:
    assert count_flops(predictor(nn.Conv2d(3, 4, 3, padding=1)), 3) == CONV


def test_every_pass_of_test_time_augmentation_counts() -> None:
    network = nn.Conv2d(3, 4, 3, padding=1)
    assert [count_flops(predictor(network, tta=kind), 3) for kind in ("flips", "d4")] == [4 * CONV, 8 * CONV]


def test_a_tile_in_other_sizes_counts_by_its_pixels() -> None:
    network = nn.Conv2d(3, 4, 3, padding=1)
    assert count_flops(predictor(network, scales=(1.0, 2.0, 2.0), tta="flips"), 3) == 4 * (1 + 4 + 4) * CONV


def test_counting_leaves_the_network_as_it_is() -> None:
    model = nn.Sequential(nn.Conv2d(3, 1, 1), nn.BatchNorm2d(1)).train()
    count_flops(predictor(model), 3)
    assert model.training
    assert int(model[1].num_batches_tracked) == 0


def test_the_cost_of_an_ensemble_is_the_sum_over_its_members() -> None:
    data = drawn(1)
    one = NetworkSource(predictor(nn.Conv2d(3, 4, 3, padding=1)), data.store)
    two = NetworkSource(Ensemble((*one.network.members, predictor(nn.Conv2d(3, 4, 1)))), data.store)
    assert (measure_cost(one)["parameters"], measure_cost(one)["flops_per_tile"]) == (4 * 27 + 4, CONV)
    assert measure_cost(two)["parameters"] == 4 * 27 + 4 + 4 * 3 + 4
    assert measure_cost(two)["flops_per_tile"] == CONV + CONV // 9
    assert measure_cost(two)["tile"] == 32


def test_throughput_is_that_of_the_predictions_after_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([100.0, 107.0, 200.0, 200.5, 300.0, 301.5])
    monkeypatch.setattr(sources, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    data = drawn(3)
    source = NetworkSource(predictor(), data.store)
    unknown = measure_cost(source)
    assert unknown["seconds"] is unknown["images_per_second"] is unknown["megapixels_per_second"] is None
    for index in range(3):
        source.predict(index)
    cost = measure_cost(source)
    pixels = data.store.mask(1).size + data.store.mask(2).size
    assert (cost["seconds"], cost["images_per_second"]) == (2.0, 1.0)
    assert cost["megapixels_per_second"] == pytest.approx(pixels / 1e6 / 2)


def test_the_memory_of_a_cpu_run_is_that_of_the_process_in_bytes() -> None:
    cost = measure_cost(NetworkSource(predictor(), drawn(1).store))
    assert cost["peak_memory_of"] == "process"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert cost["peak_memory_bytes"] == pytest.approx(peak * 1024, rel=0.05)
    assert 50e6 < cost["peak_memory_bytes"] < 50e9
