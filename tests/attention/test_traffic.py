"""How much memory traffic the block causes, in passes over its map."""

import pytest
import torch
from segmentation_models_pytorch.base.modules import SCSEModule
from torch._functorch import config as functorch_config
from torch._inductor import config as inductor_config
from torch._inductor.graph import GraphLowering

from seg_scse.attention import SCSE
from seg_scse.attention.functional import scse

from .traffic import passes

CHANNELS, SIDE = 64, 96
FORMATS = pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])


def a_map(memory_format=torch.channels_last):
    return torch.randn(2, CHANNELS, SIDE, SIDE).contiguous(memory_format=memory_format).requires_grad_()


def forward_and_backward(block, x):
    """Passes forward, and backward."""
    results = []
    forward = passes(lambda: results.append(block(x)), x)
    gradient = torch.randn_like(results[0])
    return forward, passes(lambda: torch.autograd.grad(results[0], [x, *block.parameters()], gradient), x)


def test_a_sum_of_two_maps_is_three_passes_and_a_broadcast_gate_is_free():
    x = a_map().detach()
    assert passes(lambda: x + x, x) == 3
    assert passes(lambda: x * torch.zeros(1, CHANNELS, 1, 1), x) == pytest.approx(2, abs=0.001)
    assert passes(lambda: x.flatten(2).transpose(1, 2), x) == 0


def test_smps_block_makes_33_passes():
    forward, backward = forward_and_backward(SCSEModule(CHANNELS).to(memory_format=torch.channels_last), a_map())
    assert round(forward) == 9
    assert round(backward) == 24


@FORMATS
@pytest.mark.parametrize(("merge", "most"), [("add", (6, 12)), ("mul", (6, 12)), ("max", (6, 17))])
def test_our_block_makes_18_passes_and_23_for_max(merge, most, memory_format):
    forward, backward = forward_and_backward(SCSE(CHANNELS, 16, merge=merge), a_map(memory_format))
    # The rest of each figure is maps with one channel and the fewer than 0.02 of the small matrices.
    assert forward <= most[0] + 0.2
    assert backward <= most[1] + 0.4
    assert forward + backward <= 23.5


@FORMATS
@pytest.mark.parametrize("single", [{"channel": False}, {"spatial": False}])
def test_one_gate_alone_makes_no_more_passes_than_two(single, memory_format):
    assert sum(forward_and_backward(SCSE(CHANNELS, **single), a_map(memory_format))) <= 18.5


@FORMATS
@pytest.mark.parametrize(("merge", "most"), [("add", 7), ("max", 7), ("mul", 8)])
def test_inference_makes_7_passes_and_8_for_mul(merge, most, memory_format):
    block, x = SCSE(CHANNELS, 16, merge=merge), a_map(memory_format)
    with torch.no_grad():
        assert passes(lambda: block(x), x) <= most + 0.2


class KernelTraffic:
    """Collects, for graphs while torch compiles them, the bytes that each kernel reads and writes."""

    def __init__(self, monkeypatch):
        self.kernels = []
        generate = GraphLowering.codegen

        def noted(graph):
            result = generate(graph)
            self.kernels += [node.get_read_write_buffers_sizes() for node in graph.scheduler.nodes]
            return result

        monkeypatch.setattr(GraphLowering, "codegen", noted)


@pytest.fixture
def without_cached_graphs():
    """A graph from a cache is not scheduled again, so nothing of it would be counted."""
    torch.compiler.reset()
    with inductor_config.patch(fx_graph_cache=False), functorch_config.patch(enable_autograd_cache=False):
        yield


@pytest.mark.usefixtures("without_cached_graphs")
@pytest.mark.slow  # about 20 s for each: it compiles C++
@pytest.mark.parametrize(
    ("merge", "memory_format", "most"),
    [
        ("add", torch.channels_last, 10),
        ("max", torch.channels_last, 10),
        ("max", torch.contiguous_format, 10),
        ("add", torch.contiguous_format, 11),
    ],
)
def test_the_compiled_block_makes_10_passes(monkeypatch, merge, memory_format, most):
    traffic, block, x = KernelTraffic(monkeypatch), SCSE(CHANNELS, 16, merge=merge), a_map(memory_format)
    weights = block.channel.weights(), block.spatial.weights()
    y = torch.compile(lambda x: scse(x, *weights, block.recipe))(x)
    assert y.is_contiguous(memory_format=memory_format)
    (gradient,) = torch.autograd.grad(y, x, torch.randn_like(y))
    assert gradient.is_contiguous(memory_format=memory_format)
    assert 7 <= sum(traffic.kernels) / x.nbytes <= most + 0.3  # 7: nothing is uncounted
