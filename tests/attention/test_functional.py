import copy
import pickle
import sys
from types import SimpleNamespace

import pytest
import torch

from seg_scse.attention import SCSE, functional
from seg_scse.attention.functional import Recipe, choose_form, scse


def drawn(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=dtype)


def block(**fields):
    torch.manual_seed(0)
    return SCSE(8, **fields)


def parts(module):
    return module.channel.weights(), module.spatial.weights(), module.recipe


@pytest.mark.parametrize(
    ("recipe", "form"),
    [
        (Recipe("add"), "eager"),
        (Recipe("max"), "eager"),
        (Recipe("mul", activation="hard_sigmoid"), "eager"),
        (Recipe("concat"), "reference"),
        (Recipe("add", squeeze="max"), "reference"),
        (Recipe("add", squeeze="avg+max"), "reference"),
    ],
)
def test_without_a_gpu_the_hand_written_form_is_chosen_where_it_can(recipe, form):
    channel, spatial, _ = parts(block())
    assert choose_form(drawn(1, 8, 4, 4), channel, spatial, recipe) == form


def test_under_a_compiler_the_fusible_form_is_chosen(monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    channel, spatial, _ = parts(block())
    assert choose_form(drawn(1, 8, 4, 4), channel, spatial, Recipe("max", squeeze="avg+max")) == "fusible"
    assert choose_form(drawn(1, 8, 4, 4), channel, spatial, Recipe("concat")) == "reference"


@pytest.mark.parametrize("compiling", [False, True])
@pytest.mark.parametrize("able", [False, True])
def test_on_a_gpu_the_triton_form_comes_first_where_it_can(monkeypatch, compiling, able):
    module = SimpleNamespace(supports=lambda *_: able, scse_triton=lambda x, *_: "launched")
    monkeypatch.setitem(sys.modules, "seg_scse.attention.triton_form", module)
    monkeypatch.setattr("seg_scse.attention.triton_form", module, raising=False)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiling)
    x = SimpleNamespace(is_cuda=True, numel=lambda: 1, is_floating_point=lambda: True, dim=lambda: 4)
    expected = "triton" if able else "fusible" if compiling else "eager"
    assert choose_form(x, None, None, Recipe()) == expected
    if able:
        assert scse(x, None, None, Recipe()) == "launched"


def test_a_map_on_the_cpu_does_not_import_triton(monkeypatch):
    monkeypatch.setitem(sys.modules, "seg_scse.attention.triton_form", None)  # importing it would fail
    monkeypatch.delattr("seg_scse.attention.triton_form", raising=False)
    module = block()
    assert module(drawn(1, 8, 4, 4)).shape == (1, 8, 4, 4)


@pytest.mark.parametrize("form", ["triton", "eager", "fusible"])
def test_a_form_that_cannot_is_refused(form):
    channel, spatial, _ = parts(block())
    with pytest.raises(ValueError, match=f"form = '{form}' does not compute Recipe.*'concat'.*use form='auto'"):
        scse(drawn(1, 8, 4, 4), channel, spatial, Recipe("concat"), form=form)


@pytest.mark.parametrize("size", [(7,), (4, 5), (2, 3, 4)])
@pytest.mark.parametrize(
    "fields",
    [
        *({"merge": merge, "squeeze": squeeze} for merge in ("add", "max", "mul") for squeeze in ("avg", "avg+max")),
        {"channel": False},
        {"spatial": False, "squeeze": "avg"},
        {"spatial": False, "squeeze": "avg+max"},
    ],
)
def test_the_fusible_form_is_the_reference(size, fields):
    module = block(**fields).double()
    x = drawn(2, 8, *size, dtype=torch.float64).requires_grad_()
    inputs = [x, *module.parameters()]
    results = []
    for form in ("fusible", "reference"):
        y = scse(x, *module._weights(), module.recipe, form=form)
        results.append((y, *torch.autograd.grad(y, inputs, drawn(*y.shape, dtype=torch.float64))))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("form", ["eager", "reference", "fusible"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_form_returns_the_dtype_and_memory_format_of_the_map(form, dtype):
    x = drawn(2, 8, 4, 6).to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
    module = block().to(dtype)
    if form == "fusible":  # its memory format is the compiler's business
        assert scse(x, *parts(module), form=form).dtype == dtype
        return
    y = scse(x, *parts(module), form=form)
    y.backward(torch.ones_like(y))
    for tensor in (y, x.grad):
        assert tensor.dtype == dtype
        assert tensor.is_contiguous(memory_format=torch.channels_last)


def test_copies_and_functional_calls_compute_the_same():
    module, x = block(), drawn(2, 8, 4, 4)
    expected = module(x)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):  # noqa: TID251 - pickled here
        assert torch.equal(other(x), expected)
    assert torch.equal(torch.func.functional_call(block(merge="add"), module.state_dict(), x), expected)


def test_gradients_per_sample_work():
    module, x = block(), drawn(3, 8, 4, 4)
    parameters = dict(module.named_parameters())

    def loss(parameters, sample):
        return torch.func.functional_call(module, parameters, sample[None]).square().sum()

    found = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, x)
    module(x).square().sum().backward()
    for name, parameter in parameters.items():
        torch.testing.assert_close(found[name].sum(0), parameter.grad, rtol=1e-4, atol=1e-5)


def test_an_exported_program_computes_the_same_for_another_batch():
    module, x = block(), drawn(2, 8, 4, 4)
    batch = torch.export.Dim("batch", min=2, max=8)
    program = torch.export.export(module, (x,), dynamic_shapes=({0: batch},))
    other = drawn(5, 8, 4, 4)
    torch.testing.assert_close(program.module()(other), module(other))


def test_the_public_names_are_there():
    assert set(functional.__all__) <= set(dir(functional))


def test_the_kernels_come_first_but_not_where_their_rules_are_unknown_or_they_cannot_go(monkeypatch):
    monkeypatch.setattr(functional, "_supports", lambda *_: True)  # as on a GPU
    chosen = []

    def look(x):
        chosen.append(choose_form(x, None, None, Recipe()))
        return x

    look(torch.ones(1))
    torch.func.vmap(look)(torch.ones(2, 1))
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    look(torch.ones(1))
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    look(torch.ones(1))
    assert chosen == ["triton", "reference", "triton", "fusible"]


def test_inference_in_float32_takes_the_reference_and_in_half_precision_the_hand_written_form():
    x = drawn(1, 8, 4, 4)
    module = block()
    with torch.no_grad():
        assert choose_form(x, *parts(module)) == "reference"
        assert choose_form(x.bfloat16(), *parts(module)) == "eager"
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert choose_form(x, *parts(module)) == "eager"  # whose scores stay float32
        assert choose_form(x.to("meta"), *parts(module)) == "reference"


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (torch.ones(1, 8, 4, 4, dtype=torch.int64), "not torch.int64"),
        (torch.ones(1, 8), "one to three spatial dimensions"),
        (torch.ones(1, 8, 1, 1, 1, 1), "one to three spatial dimensions"),
        (torch.ones(1, 6, 4, 4), "was built for 8 channels, but the map has 6"),
    ],
)
def test_what_is_no_map_of_the_blocks_width_is_refused(x, text):
    with pytest.raises(ValueError, match=text):
        block()(x)


def test_an_unknown_form_is_refused():
    with pytest.raises(
        ValueError, match="form = 'Eager' is not known: choose one of auto, triton, fusible, eager, ref"
    ):
        scse(drawn(1, 8, 4, 4), *parts(block()), form="Eager")
