"""The operators as torch sees them, what they move through memory, and what they refuse."""

from contextlib import contextmanager

import pytest
import torch
from small_blocks import MERGES, block, drawn, results, weights_of
from triton.runtime.interpreter import InterpreterBuilder

from seg_scse.attention import triton_form
from seg_scse.attention.functional import Recipe
from seg_scse.attention.pieces import laid_out
from seg_scse.attention.triton_form import scse_triton, supports


@contextmanager
def counted():
    """Count the bytes that kernels read and write, by the size of their elements: 2 for maps, 4 for all else."""
    moved = {2: 0, 4: 0}
    load, store = InterpreterBuilder.create_masked_load, InterpreterBuilder.create_masked_store

    def count(pointers, mask):
        size = pointers.get_element_ty().primitive_bitwidth // 8
        moved[size] += size * int(mask.data.sum())

    def counting_load(self, pointers, mask, *rest):
        count(pointers, mask)
        return load(self, pointers, mask, *rest)

    def counting_store(self, pointers, value, mask, *rest):
        count(pointers, mask)
        return store(self, pointers, value, mask, *rest)

    InterpreterBuilder.create_masked_load, InterpreterBuilder.create_masked_store = counting_load, counting_store
    try:
        yield moved
    finally:
        InterpreterBuilder.create_masked_load, InterpreterBuilder.create_masked_store = load, store


def test_what_is_frozen_gets_no_gradient():
    module, x = block(6), drawn((2, 6, 5, 4), torch.bfloat16)
    y = scse_triton(x, *weights_of(module), module.recipe)
    with counted() as backward:
        y.backward(torch.ones_like(y))
    assert x.grad is None
    assert backward[2] == 2 * x.nbytes  # x and the gradient of y are read, nothing is written
    assert all(weight.grad is not None for weight in module.parameters())
    module.requires_grad_(False).zero_grad(set_to_none=True)
    module.spatial.requires_grad_()
    x.requires_grad_()
    scse_triton(x, *weights_of(module), module.recipe).sum().backward()
    assert x.grad is not None
    assert module.channel.squeeze.weight.grad is None
    assert module.spatial.project.weight.grad is not None


def test_weights_for_another_number_of_channels_are_refused():
    weights = weights_of(block(6))
    with pytest.raises(ValueError, match=r"the gates' weights are for \[6\] channels and the map has 8"):
        scse_triton(drawn((2, 8, 5, 4)), *weights, Recipe())


def test_autocast_changes_nothing():
    x, module = drawn((2, 24, 5, 6), torch.bfloat16), block(24)
    plain = results(scse_triton, x, weights_of(module), module.recipe, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = results(scse_triton, x, weights_of(module), module.recipe, x)
    assert all(torch.equal(*pair) for pair in zip(plain, cast, strict=True))


def test_only_x_and_small_tensors_are_kept_for_backward():
    x, module = drawn((2, 64, 16, 16)).requires_grad_(), block(64)
    parameters = {weight.data_ptr() for weight in module.parameters()}
    kept = {}

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        scse_triton(x, *weights_of(module), module.recipe)
    assert kept[x.data_ptr()] == x.nbytes
    others = sum(size for pointer, size in kept.items() if pointer not in parameters | {x.data_ptr()})
    assert others == 4 * (2 * 16 * 16 + 2 * (64 + 64 + 32))  # s; means, c, hidden


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize(("channels", "side"), [(32, 20), (520, 5)])
@pytest.mark.parametrize("merge", MERGES)
def test_a_training_step_reads_and_writes_maps_seven_times(merge, channels, side, last):
    x, module = drawn((2, channels, side, side), torch.bfloat16, last).requires_grad_(), block(channels, merge=merge)
    assert triton_form._dense(x) is x
    with counted() as forward:
        y = scse_triton(x, *weights_of(module), module.recipe)
    gradient = drawn(x.shape, torch.bfloat16, last, seed=1)
    assert laid_out(gradient, last).data_ptr() == gradient.data_ptr()
    with counted() as backward:
        y.backward(gradient)
    assert forward[2] == 3 * x.nbytes
    assert backward[2] == 4 * x.nbytes
    assert forward[4] + backward[4] <= 1.5 * x.nbytes  # gates, weights and partial sums


def arguments(merge="add", last=True, dtype=torch.float32):
    module, x = block(6, merge=merge), drawn((2, 6, 5, 4), dtype, last).requires_grad_()
    channel, spatial = weights_of(module)
    return (x, *channel, *spatial, merge, "sigmoid", 1.0)


@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf"
)  # torch looks at its own copies
@pytest.mark.parametrize(("merge", "last"), [("add", True), ("max", False)])
def test_the_operators_are_registered_as_torch_wants_them(merge, last):
    x, *rest = arguments(merge, last)
    torch.library.opcheck(triton_form._scse, (x, *rest))
    _, means, _, c, s = triton_form._scse(x.detach(), *rest)
    gradient = drawn(x.shape, last=last, seed=1)
    with torch.no_grad():
        torch.library.opcheck(triton_form._reduce, (x.detach(), gradient, c, s, merge, "sigmoid", 1.0))
        torch.library.opcheck(triton_form._spread, (gradient, c, s, rest[4].detach(), s, means, merge))


@pytest.mark.parametrize(("last", "dynamic"), [(True, True), (False, False)])
def test_a_compiled_block_without_graph_breaks_gives_the_same(last, dynamic):
    module = block(6)
    compiled = torch.compile(
        lambda x, *weights: scse_triton(x, *weights), backend="aot_eager", fullgraph=True, dynamic=dynamic
    )
    for size in ((5, 4), (6, 7)):
        x = drawn((2, 6, *size), last=last)
        pair = [results(form, x, weights_of(module), module.recipe, x) for form in (scse_triton, compiled)]
        assert all(torch.equal(*values) for values in zip(*pair, strict=True))
        assert pair[1][0].stride() == x.stride()


def test_an_exported_block_holds_one_operator():
    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.block = block(6, merge="max")

        def forward(self, x):
            return scse_triton(x, *weights_of(self.block), self.block.recipe)

    module, x = Block().eval(), drawn((2, 6, 5, 4), last=True)
    program = torch.export.export(module, (x,))
    names = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert names.count("seg_scse.scse.default") == 1
    assert torch.equal(program.module()(x), module(x))


def test_a_second_derivative_is_refused():
    x, module = drawn((1, 4, 3, 3)).requires_grad_(), block(4)
    (dx,) = torch.autograd.grad(scse_triton(x, *weights_of(module), module.recipe).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="no autograd formula was registered"):
        dx.sum().backward()


@pytest.mark.parametrize(
    ("x", "fields"),
    [
        (torch.zeros(0, 6, 5, 4), {}),
        (torch.zeros(2, 6, 0, 4), {}),
        (torch.zeros(2, 6), {}),
        (torch.zeros(2, 6, 2, 2, 2, 2), {}),
        (torch.zeros(2, 6, 5, 4, dtype=torch.float64), {}),
        (torch.zeros(2, 6, 5, 4), {"squeeze": "max"}),
        (torch.zeros(2, 6, 5, 4), {"merge": "concat"}),
    ],
)
def test_what_the_kernels_do_not_compute_is_refused(x, fields):
    module = block(6)
    recipe = Recipe()._replace(**fields)
    assert supports(torch.zeros(2, 6, 5, 4), *weights_of(module), Recipe())
    assert not supports(x, *weights_of(module), recipe)
    with pytest.raises(ValueError, match="the Triton form of scSE does not compute"):
        scse_triton(x, *weights_of(module), recipe)


def test_more_channels_than_a_program_can_hold_and_double_weights_are_not_supported():
    assert not supports(torch.zeros(1, 2049, 2, 2), *weights_of(block(2049, reduction=64)), Recipe())
    assert not supports(torch.zeros(1, 6, 2, 2), *weights_of(block(6).double()), Recipe())
