import numpy as np
import pytest
import torch

from seg_scse.attention.timm_gates import CBAM, ECA, CoordinateAttention, EffectiveSE, GlobalContext
from seg_scse.errors import ConfigError

from .random_weights import randomized

EVERY_BLOCK = pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda: ECA(64), id="eca"),
        pytest.param(lambda: EffectiveSE(6), id="ese"),
        pytest.param(lambda: CBAM(6, 2, 0), id="cbam"),
        pytest.param(lambda: GlobalContext(6, 2, 0), id="gc"),
        pytest.param(lambda: CoordinateAttention(6, 2, 0), id="coord"),
    ],
)


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def normalized(x, weights, name, training):
    """Batch normalisation of (N, C, ...) with eps 1e-5."""
    axes = (0, *range(2, x.ndim))
    shape = (1, -1) + (1,) * (x.ndim - 2)
    mean = x.mean(axes) if training else weights[f"{name}.running_mean"]
    variance = x.var(axes) if training else weights[f"{name}.running_var"]
    y = (x - mean.reshape(shape)) / np.sqrt(variance.reshape(shape) + 1e-5)
    return y * weights[f"{name}.weight"].reshape(shape) + weights[f"{name}.bias"].reshape(shape)


def eca(x, w, training):
    kernel = w["conv.weight"][0, 0]
    z = np.pad(x.mean((2, 3)), ((0, 0), (len(kernel) // 2,) * 2))
    scores = sum(factor * z[:, k : k + x.shape[1]] for k, factor in enumerate(kernel))
    return x * sigmoid(scores)[:, :, None, None]


def ese(x, w, training):
    scores = x.mean((2, 3)) @ w["fc.weight"][:, :, 0, 0].T + w["fc.bias"]
    return x * (np.clip(scores + 3, 0, 6) / 6)[:, :, None, None]


def cbam(x, w, training):
    w0, w1 = (w[f"channel.{name}.weight"][:, :, 0, 0] for name in ("fc1", "fc2"))
    scores = sum(np.maximum(z @ w0.T, 0) @ w1.T for z in (x.mean((2, 3)), x.max((2, 3))))
    v = x * sigmoid(scores)[:, :, None, None]
    pooled = np.pad(np.stack([v.mean(1), v.max(1)], 1), ((0, 0), (0, 0), (3, 3), (3, 3)))
    windows = np.lib.stride_tricks.sliding_window_view(pooled, (7, 7), axis=(2, 3))
    scores = np.einsum("nchwij,dcij->ndhw", windows, w["spatial.conv.conv.weight"])
    return v * sigmoid(normalized(scores, w, "spatial.conv.bn", training))


def gc(x, w, training):
    flat = x.reshape(*x.shape[:2], -1)
    scores = np.exp(np.einsum("ncp,c->np", flat, w["conv_attn.weight"][0, :, 0, 0]))
    z = np.einsum("ncp,np->nc", flat, scores / scores.sum(1, keepdims=True))
    hidden = z @ w["mlp_scale.fc1.weight"][:, :, 0, 0].T + w["mlp_scale.fc1.bias"]
    hidden = (hidden - hidden.mean(1, keepdims=True)) / np.sqrt(hidden.var(1, keepdims=True) + 1e-6)
    hidden = np.maximum(hidden * w["mlp_scale.norm.weight"] + w["mlp_scale.norm.bias"], 0)
    scores = hidden @ w["mlp_scale.fc2.weight"][:, :, 0, 0].T + w["mlp_scale.fc2.bias"]
    return x * sigmoid(scores)[:, :, None, None]


def coord(x, w, training):
    rows = x.shape[2]
    f = np.einsum("ncp,hc->nhp", np.concatenate([x.mean(3), x.mean(2)], 2), w["conv1.weight"][:, :, 0, 0])
    f = normalized(f, w, "bn1", training)
    f = f * np.clip(f + 3, 0, 6) / 6
    g_h = sigmoid(np.einsum("nhp,ch->ncp", f[:, :, :rows], w["conv_h.weight"][:, :, 0, 0]))
    g_w = sigmoid(np.einsum("nhp,ch->ncp", f[:, :, rows:], w["conv_w.weight"][:, :, 0, 0]))
    return x * g_h[:, :, :, None] * g_w[:, :, None, :]


REFERENCES = {"eca": eca, "ese": ese, "cbam": cbam, "gc": gc, "coord": coord}


@EVERY_BLOCK
@pytest.mark.parametrize("training", [True, False])
def test_every_block_computes_its_equation(build, training):
    block = randomized(build()).train(training)
    x = drawn(2, block.channels, 9, 8)
    weights = {name.removeprefix("block."): value.numpy().copy() for name, value in block.state_dict().items()}
    expected = REFERENCES[block.kind](x.numpy(), weights, training)
    np.testing.assert_allclose(block(x).detach().numpy(), expected, rtol=1e-9, atol=1e-12)


@EVERY_BLOCK
def test_gradients_agree_with_finite_differences(build):
    block = randomized(build()).eval()
    x = drawn(1, block.channels, 2, 2).requires_grad_()
    names = [name for name, _ in block.named_parameters()]

    def run(x, *values):
        return torch.func.functional_call(block, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (x, *block.parameters()))


@pytest.mark.parametrize(("channels", "kernel"), [(4, 3), (16, 3), (64, 3), (128, 5), (256, 5), (512, 5), (2048, 7)])
def test_the_kernel_of_eca_grows_with_the_logarithm_of_the_channels(channels, kernel):
    assert ECA(channels).block.conv.weight.shape == (1, 1, kernel)


def test_eca_of_a_hand_computed_map():
    block = ECA(3).double()
    with torch.no_grad():
        block.block.conv.weight.copy_(torch.tensor([[[1.0, 0.0, -1.0]]]))
    x = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64).view(1, 3, 1, 1)  # scores 0 - 2, 1 - 4, 2 - 0
    assert block(x).flatten().tolist() == pytest.approx([1 * 0.1192029220, 2 * 0.0474258732, 4 * 0.8807970780])


def test_a_context_gate_with_one_unit_is_refused_because_it_would_be_constant():
    with pytest.raises(ConfigError) as error:
        GlobalContext(16, 16, 0)
    assert str(error.value) == (
        "`reduction`=16 leaves one bottleneck unit for 16 channels, which the layer norm of `gc` turns into a "
        "constant: choose a smaller reduction, or min_width >= 2."
    )
    assert GlobalContext(16, 16, min_width=2).hidden == 2


def test_the_context_does_not_depend_on_a_bias_of_its_scores():
    assert GlobalContext(16, 2, 0).block.conv_attn.bias is None
