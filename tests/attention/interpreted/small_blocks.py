"""Small blocks and maps, and what they give in float64."""

import torch

from seg_scse.attention.gates import SCSE
from seg_scse.attention.triton_form import scse_triton

MERGES = ("add", "max", "mul")
TOLERANCE = {torch.float32: 1e-6, torch.bfloat16: 5e-3, torch.float16: 1e-3}


def drawn(shape, dtype=torch.float32, last=False, seed=0):
    """Draw a map (N, C, *spatial), in memory with its channels last or first."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape))).to(dtype)
    return x.movedim(1, -1).contiguous().movedim(-1, 1) if last else x


def block(channels, **fields):
    torch.manual_seed(channels)
    least = {"min_width": 1} if fields.get("channel", True) else {}
    return SCSE(channels, **least, **fields)


def weights_of(module, dtype=None):
    """Return the weights as the functions take them, converted to a dtype where one is given."""
    channel, spatial = module._weights()
    if dtype is None:
        return channel, spatial
    return tuple(
        part and type(part)(*(None if w is None else w.detach().to(dtype).requires_grad_() for w in part))
        for part in (channel, spatial)
    )


def reference(x, channel, spatial, recipe):
    """The block from its equations, in float64."""
    activation = torch.sigmoid if recipe.activation == "sigmoid" else lambda score: (score + 3).clamp(0, 6) / 6
    flat, c, s = x.flatten(2), None, None
    if channel is not None:
        hidden = (
            flat.mean(2) @ channel.squeeze.T + (0 if channel.squeeze_bias is None else channel.squeeze_bias)
        ).relu()
        score = hidden @ channel.excite.T + (0 if channel.excite_bias is None else channel.excite_bias)
        c = recipe.gain * activation(score)[:, :, None]
    if spatial is not None:
        score = torch.einsum("ncp,oc->nop", flat, spatial.project)
        s = recipe.gain * activation(score + (0 if spatial.project_bias is None else spatial.project_bias))
    if c is None or s is None:
        gate = s if c is None else c
    else:
        gate = {"add": torch.add, "max": torch.maximum, "mul": torch.mul}[recipe.merge](c, s)
    return (flat * gate).view(x.shape)


def results(function, x, weights, recipe, gradient):
    """Return y and the gradients of x and of each weight."""
    x = x.detach().requires_grad_()
    inputs = [x, *(tensor for part in weights if part for tensor in part if tensor is not None)]
    y = function(x, *weights, recipe)
    return [y.detach(), *torch.autograd.grad(y, inputs, gradient)]


def error(value, exact):
    return ((value.double() - exact).norm() / exact.norm().clamp_min(1e-30)).item()


def check(x, module, gradient=None, recipe=None):
    """Hold y, the gradient of x and those of the weights against the reference."""
    gradient = drawn(x.shape, x.dtype, seed=1) if gradient is None else gradient
    recipe = recipe or module.recipe
    ours = results(scse_triton, x, weights_of(module), recipe, gradient)
    exact = results(reference, x.double(), weights_of(module, torch.float64), recipe, gradient.double())
    for value, expected in zip(ours[:2], exact[:2], strict=True):
        assert value.dtype == x.dtype
        assert value.stride() == x.stride()
        assert error(value, expected) <= TOLERANCE[x.dtype]
    for value, expected in zip(ours[2:], exact[2:], strict=True):
        assert value.shape == expected.shape
        assert error(value, expected) <= 2e-6
