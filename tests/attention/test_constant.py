import copy
import re

import numpy as np
import pytest
import torch
from torch import nn

from seg_scse.attention import build_gate
from seg_scse.attention.constant import ConstantGate
from seg_scse.attention.fold import fold_constant_gates
from seg_scse.attention.probe import Separable, constant, gate_means, record, replaced
from seg_scse.config.attention import GateConfig
from seg_scse.config.schema import ModelConfig
from seg_scse.errors import ConfigError
from seg_scse.models import build_model

INITS = pytest.mark.parametrize(("init", "gain"), [("default", 1.0), ("identity", 2.0)])
SIZES = pytest.mark.parametrize("size", [(7,), (5, 4), (3, 2, 4)])
CLASSIC = {"architecture": "classic_unet", "width": 4, "depth": 2}


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def trained(channels: int = 6, init: str = "default") -> ConstantGate:
    """A gate that has left its start behind."""
    gate = build_gate(GateConfig(type="constant", init=init), channels)
    with torch.no_grad():
        gate.score.copy_(torch.linspace(-3, 3, channels))
    return gate


@SIZES
@INITS
def test_each_channel_is_scaled_by_its_number_whatever_the_image(size: tuple[int, ...], init: str, gain: float) -> None:
    gate, x = trained(init=init), drawn(3, 6, *size)
    factors = gain / (1 + np.exp(-np.linspace(-3, 3, 6)))
    expected = x.numpy() * factors.reshape(1, 6, *(1 for _ in size))
    np.testing.assert_allclose(gate(x).detach().numpy(), expected, rtol=1e-5)


@SIZES
def test_the_gates_are_those_of_a_channel_gate_and_alike_for_all_images(size: tuple[int, ...]) -> None:
    gate = trained()
    assert isinstance(gate, Separable)
    for images, seed in ((3, 1), (2, 2)):
        x = drawn(images, 6, *size, seed=seed)
        channel, spatial = gate.gates(x)
        assert channel.shape == (images, 6, *(1 for _ in size))
        assert spatial is None
        assert torch.equal(channel[0].flatten(), torch.sigmoid(torch.linspace(-3, 3, 6)))
        assert torch.equal(channel[0], channel[-1])
        torch.testing.assert_close(gate(x), x * channel)


@pytest.mark.parametrize(
    ("treatment", "init", "start"),
    [
        ({"type": "cse"}, "default", 0.5),
        ({"type": "sse"}, "default", 0.5),
        ({"type": "scse", "merge": "max"}, "default", 0.5),
        ({"type": "scse", "merge": "add"}, "identity", 1.0),
        *(({"type": "scse", "merge": merge, "init": "identity"}, "identity", 1.0) for merge in ("add", "max", "mul")),
        ({"type": "cse", "init": "identity"}, "identity", 1.0),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else None,
)
def test_it_starts_at_the_scale_of_the_gate_that_it_controls(
    treatment: dict[str, str], init: str, start: float
) -> None:
    torch.manual_seed(0)
    x = drawn(4, 64, 8, 8)
    fresh, control = build_gate(GateConfig(**treatment), 64), build_gate(GateConfig(type="constant", init=init), 64)
    assert torch.equal(control(x), start * x)
    assert float(fresh(x).detach().norm() / x.norm()) == pytest.approx(start, rel=0.2)


def test_it_draws_no_random_numbers() -> None:
    before = torch.random.get_rng_state()
    build_gate(GateConfig(type="constant"), 8)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_another_start_is_refused() -> None:
    with pytest.raises(ConfigError, match=re.escape("`init`='ones' is not known. Known: default, identity.")):
        ConstantGate(8, init="ones")


def test_scores_of_half_precision_give_a_full_gate() -> None:
    gate = trained().bfloat16()
    channel = gate.gates(drawn(1, 6, 2, 2).bfloat16()).channel
    assert channel.dtype == torch.float32
    assert gate(drawn(1, 6, 2, 2).bfloat16()).dtype == torch.bfloat16


def test_an_exported_gate_takes_batches_and_images_of_any_size() -> None:
    gate, sizes = trained().eval(), {0: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    program = torch.export.export(gate, (drawn(2, 6, 8, 8),), dynamic_shapes=(sizes,))
    x = drawn(3, 6, 5, 7)
    torch.testing.assert_close(program.module()(x), gate(x))


def unet() -> nn.Module:
    torch.manual_seed(1)
    model = build_model(ModelConfig(**CLASSIC, attention={"type": "constant"}), 3, 2).eval()
    with torch.no_grad():
        for gate in model.gates.values():
            gate.score.copy_(drawn(*gate.score.shape))
    return model


def test_its_mean_over_images_is_the_gate_itself() -> None:
    model, x = unet(), drawn(2, 3, 32, 32)
    means = gate_means(model, [x, drawn(1, 3, 64, 32)])
    with record(model) as seen, torch.no_grad():
        expected = model(x)
    for site, mean in means.items():
        torch.testing.assert_close(mean.channel, seen[site].gates.channel[:1], rtol=1e-6, atol=0)
    with replaced(model, {site: constant(mean) for site, mean in means.items()}), torch.no_grad():
        torch.testing.assert_close(model(x), expected)


def test_it_folds_into_the_plain_network_without_a_loss() -> None:
    model, x = unet(), drawn(2, 3, 32, 32)
    with torch.no_grad():
        expected = copy.deepcopy(model)(x)
    layers = fold_constant_gates(model, gate_means(model, [x]), example=x)
    assert layers == ["decoder.blocks.0.conv2.1", "decoder.blocks.1.conv2.1"]
    plain = build_model(ModelConfig(**CLASSIC), 3, 2).eval()
    plain.load_state_dict(model.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(plain(x), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
