"""Folding frozen gates into the weights of a network.

A gate that is frozen at its mean scales each channel of its feature map by a constant. Where nothing but operations
with f(k x) = k f(x) lies between, that constant can be multiplied into the weights of the convolution, normalisation or
linear layer that made the map, or of the one that reads it. The network then computes the same without the gate.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from seg_scse.attention.attach import PREFIX, GateSet, SiteHook
from seg_scse.attention.functional import Gates
from seg_scse.attention.probe import Separable, apply_gates, constant, gates_by_site, kind_of
from seg_scse.attention.trace import tensors_in, undisturbed
from seg_scse.errors import ConfigError, numbered

TOLERANCE = 1e-6
"""Largest difference that a fold may make in float64, relative to the largest output; rounding makes about 1e-12."""

TRIALS = 2
"""Random changes of the weights under which a fold must hold, beside the weights as they are."""

READERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
"""Layers whose weights (out, in / groups, ...) can take a factor per input channel."""

MAKERS = (*READERS, _NormBase, nn.GroupNorm, nn.LayerNorm)
"""Layers whose weights (out, ...) and bias (out,) can take a factor per output channel."""


@dataclass(frozen=True)
class _Neighbour:
    """A layer whose output channels (it makes the feature map) or input channels (it reads it) can be scaled."""

    path: str
    side: Literal["outputs", "inputs"]

    def fits(self, layer: nn.Module, channels: int) -> bool:
        """Tell whether the layer has that many channels on this side, and weights for them."""
        if self.side == "inputs":
            width = layer.in_features if isinstance(layer, nn.Linear) else getattr(layer, "in_channels", None)
            return isinstance(layer, READERS) and width == channels
        weight = getattr(layer, "weight", None)
        return isinstance(layer, MAKERS) and isinstance(weight, Tensor) and len(weight) == channels

    def scale(self, model: nn.Module, factor: Tensor) -> None:
        """Multiply the weights (and, for outputs, the bias) by a factor (C,) per channel, in place."""
        layer: Any = model.get_submodule(self.path)
        weight = layer.weight
        if self.side == "outputs":
            _multiply(weight, factor.view(-1, *(1 for _ in weight.shape[1:])))
            if layer.bias is not None:
                _multiply(layer.bias, factor)
            return
        groups = getattr(layer, "groups", 1)
        by_group = weight.view(groups, len(weight) // groups, *weight.shape[1:])
        _multiply(by_group, factor.view(groups, 1, -1, *(1 for _ in weight.shape[2:])))


def _multiply(values: Tensor, factor: Tensor) -> None:
    """Multiply in place, rounding once."""
    values.data.copy_(values.data.double().cpu() * factor)


def fold_constant_gates(
    model: nn.Module, means: Mapping[str, Gates], sites: Sequence[str] | None = None, *, example: Tensor
) -> list[str]:
    """Freeze gates at their means, multiply them into neighbouring layers, and take them off the network, in place.

    A frozen gate is a factor per channel k: c + s, max(c, s), c s, or the one gate there is. For each site, the layers
    that run before it are tried from the nearest on, then those after it. A layer is accepted if the output is the same
    with k in its weights as with k at the site: for the weights as they are, and for random ones of many magnitudes and
    both signs, so that a sigmoid, a clipped ReLU or a second use of the layer's output is noticed. This is tried on a
    copy in float64; the network itself is changed only when all sites can be folded.

    A network without its last gate has the plain host's state-dict keys.

    Args:
        model: a network with attached gates.
        means: by site, the values to freeze the gates at: see `probe.gate_means`.
        sites: names of the sites to fold; default: all in `means`.
        example: an input that the network accepts, such as (1, 3, 64, 64) float32.

    Returns:
        Path of the layer that each site was folded into, in the order of `sites`.

    Raises:
        ConfigError: a site has no gate, no mean, or no layer that can take its factor; the network is then unchanged.
    """
    names = list(means if sites is None else sites)
    gates = gates_by_site(model)
    problems = [f"`{site}` has no gate" for site in names if site not in gates]
    problems += [f"`{site}` has no mean in `means`" for site in names if site in gates and site not in means]
    _refuse(problems)
    trial = copy.deepcopy(model).cpu().double()
    inputs = [example.detach().cpu().double(), torch.randn(example.shape, generator=_random(), dtype=torch.float64)]
    with undisturbed(trial), torch.no_grad():
        found = _find_all(trial, _freeze(trial, {site: means[site] for site in names}), inputs)
    for site, (neighbour, factor) in found.items():
        neighbour.scale(model, factor)
        _remove(model, site)
    return [neighbour.path for neighbour, _ in found.values()]


def _random() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise ConfigError(f"gates cannot be folded, and nothing was changed:\n{numbered(problems)}")


class _Scale(nn.Module):
    """A frozen gate: multiplies a feature map (N, C, *spatial) by a factor (C,)."""

    def __init__(self, factor: Tensor) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor, *_others: Tensor) -> Tensor:
        return x * self.factor.view(-1, *(1 for _ in x.shape[2:]))


def _freeze(trial: nn.Module, means: Mapping[str, Gates]) -> dict[str, _Scale]:
    """Put constant factors in the place of gates."""
    gates = gates_by_site(trial)
    factors = {site: _factor(gates[site], values) for site, values in means.items()}
    _refuse(
        [
            f"`{site}`: a constant gate of this kind ({kind_of(gates[site])}) is not one factor per channel"
            for site, factor in factors.items()
            if factor is None
        ]
    )
    frozen = {site: _Scale(factor) for site, factor in factors.items() if factor is not None}
    gate_set = trial.get_submodule(PREFIX)
    assert isinstance(gate_set, GateSet)
    for key, site in gate_set.sites.items():
        if site.name in frozen:
            gate_set[key] = frozen[site.name]
    return frozen


def _factor(gate: nn.Module, means: Gates) -> Tensor | None:
    """Return the factor k (C,) that a frozen gate multiplies each channel by, None where it does anything else."""
    if not isinstance(gate, Separable):
        return None
    dimensions = next(value.dim() for value in means if value is not None)
    shape = (1, gate.channels, *(2 for _ in range(dimensions - 2)))
    x = torch.randn(shape, generator=_random(), dtype=torch.float64)
    own = Gates(
        None if means.channel is None else x.new_empty(1, shape[1], *(1 for _ in shape[2:])),
        None if means.spatial is None else x.new_empty(1, 1, *shape[2:]),
    )
    frozen = constant(Gates(*(None if value is None else value.cpu() for value in means)))(own, x)
    y, scaled = apply_gates(gate, x, frozen), apply_gates(gate, torch.ones_like(x), frozen)
    factor = scaled.flatten(2)[0, :, 0]
    return factor if torch.allclose(y, _Scale(factor)(x), rtol=TOLERANCE) else None


def _find_all(
    trial: nn.Module, frozen: Mapping[str, _Scale], inputs: Sequence[Tensor]
) -> dict[str, tuple[_Neighbour, Tensor]]:
    """Fold one site after the other on the copy; return by site the layer and the factor it took."""
    found: dict[str, tuple[_Neighbour, Tensor]] = {}
    for site, gate in frozen.items():
        factor = gate.factor
        for neighbour in _candidates(trial, gate, inputs[0]):
            if _holds(trial, gate, neighbour, inputs):
                neighbour.scale(trial, factor)
                gate.factor = torch.ones_like(factor)
                found[site] = neighbour, factor
                break
    _refuse(
        [
            f"`{site}`: no convolution, normalisation or linear layer next to it can take its factor alone: the "
            "feature map is also used elsewhere, or a function that is not f(k x) = k f(x) lies between"
            for site in frozen
            if site not in found
        ]
    )
    return found


def _candidates(trial: nn.Module, gate: _Scale, example: Tensor) -> list[_Neighbour]:
    """List the host's layers with the right width: those before the gate from the nearest on, then those after."""
    order: list[str] = []  # of starting: a gate on a layer's output runs before that layer's own call is over
    handles = [
        module.register_forward_pre_hook(lambda _module, _args, path=path: order.append(path))
        for path, module in trial.named_modules()
        if module is gate or not path.startswith(f"{PREFIX}.")
    ]
    trial(example)
    for handle in handles:
        handle.remove()
    place = order.index(next(path for path, module in trial.named_modules() if module is gate))
    neighbours = [_Neighbour(path, "outputs") for path in reversed(order[:place])]
    neighbours += [_Neighbour(path, "inputs") for path in order[place + 1 :]]
    return [one for one in neighbours if one.fits(trial.get_submodule(one.path), len(gate.factor))]


def _holds(trial: nn.Module, gate: _Scale, neighbour: _Neighbour, inputs: Sequence[Tensor]) -> bool:
    """Tell whether the factor does the same in the layer as at the site, and put everything back."""
    layer, factor = trial.get_submodule(neighbour.path), gate.factor
    before = copy.deepcopy(layer.state_dict())
    holds = True
    for change in _changes(len(factor)):
        if neighbour.side == "outputs":  # vary the feature map where it is made, else where it passes the site
            neighbour.scale(trial, change)
            change = torch.ones_like(factor)
        gate.factor = factor * change
        expected = _outputs(trial, inputs)
        neighbour.scale(trial, factor)
        gate.factor = change
        holds = holds and _close(_outputs(trial, inputs), expected)
        layer.load_state_dict(before)
    gate.factor = factor
    return holds


def _changes(channels: int) -> Iterator[Tensor]:
    """Yield factors (C,) to try a fold under: ones, then random signs with magnitudes from 0.01 to 100."""
    yield torch.ones(channels, dtype=torch.float64)
    random = _random()
    for _ in range(TRIALS):
        signs = torch.randint(0, 2, (channels,), generator=random).double() * 2 - 1
        yield signs * 10 ** (torch.rand(channels, generator=random, dtype=torch.float64) * 4 - 2)


def _outputs(trial: nn.Module, inputs: Sequence[Tensor]) -> list[Tensor]:
    return [output for x in inputs for output in tensors_in(trial(x))]


def _close(found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    pairs = zip(found, expected, strict=True)
    return all(bool((a - b).abs().max() <= TOLERANCE * b.abs().max()) for a, b in pairs)


def _remove(model: nn.Module, name: str) -> None:
    """Take a gate and its hook off; with the last one, the set of gates goes too."""
    gates = model.get_submodule(PREFIX)
    assert isinstance(gates, GateSet)
    key = next(key for key, site in gates.sites.items() if site.name == name)
    site = gates.sites.pop(key)
    del gates[key]
    module = model.get_submodule(site.module)
    for hooks in (module._forward_hooks, module._forward_pre_hooks):
        for number in [number for number, hook in hooks.items() if isinstance(hook, SiteHook) and hook.site == site]:
            del hooks[number]
    if not gates.sites:
        delattr(model, PREFIX)
