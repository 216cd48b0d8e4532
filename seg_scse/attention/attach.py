"""Putting gates on the places of any network where a feature map flows, without touching the network itself.

A gate is applied by a hook on one of the host's modules. The gates' parameters live in one new child of the host, so
that its state dict keeps every key it had and gains only keys that start with `gates.`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from seg_scse.attention.trace import undisturbed, unreached_parameters
from seg_scse.errors import ConfigError

PREFIX = "gates"
"""Name of the child module that holds the gates, and first part of their state-dict keys."""


@dataclass(frozen=True)
class Site:
    """A place where a feature map flows.

    Attributes:
        name: what the site is called in configuration and reports, such as `decoder.1`.
        module: path of the host's module, such as `decoder.blocks.0`.
        where: the feature map is this module's output, or its first positional input.
        index: which element, where that output or input is a list or tuple of feature maps; None for a single one.
        layout: position of the channels; NHWC maps are gated through a transposed view.
    """

    name: str
    module: str
    where: Literal["output", "input"] = "output"
    index: int | None = None
    layout: Literal["NCHW", "NHWC"] = "NCHW"

    @property
    def key(self) -> str:
        """Name of the gate in the state dict: the site's name, with `_` for the dots that torch forbids there."""
        return self.name.replace(".", "_")

    def change(self, value: Any, function: Callable[[Tensor], Tensor]) -> Any:  # noqa: ANN401 - a forward's result
        """Return the module's input or output `value` with the site's feature map x replaced by function(x).

        Raises:
            TypeError: `value` holds no (N, C, H, W) tensor at the site.
        """
        if self.index is None:
            return self._apply(value, function)
        items = list(value)
        items[self.index] = self._apply(items[self.index], function)
        return items if isinstance(value, list) else tuple(items)

    def _apply(self, x: object, function: Callable[[Tensor], Tensor]) -> Tensor:
        if not isinstance(x, Tensor) or x.dim() != 4:
            raise TypeError(f"a {type(x).__name__} flows there, not one (N, C, H, W) tensor")
        if self.layout == "NCHW":
            return function(x)
        return function(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class GateSet(nn.ModuleDict):
    """The gates of a network by site key, and the sites they are on. Replacing an item replaces the gate in use."""

    def __init__(self) -> None:
        super().__init__()
        self.sites: dict[str, Site] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Return x: a host that is an `nn.Sequential` runs all its children, and this one must not change anything."""
        return x


class _GateHook:
    """Applies one gate of a `GateSet` as a forward hook.

    An object and not a closure: `copy.deepcopy` and `pickle` follow its reference to the gates, so that a copied
    network uses the copied gates.
    """

    def __init__(self, gates: nn.ModuleDict, site: Site) -> None:
        self.gates = gates
        self.site = site

    def __call__(self, _module: nn.Module, args: tuple[Any, ...], *result: Any) -> Any:  # noqa: ANN401 - torch's hook type
        gate = self.gates[self.site.key]
        if self.site.where == "output":
            return self.site.change(result[0], gate)
        return (self.site.change(args[0], gate), *args[1:])


def hook_at(model: nn.Module, site: Site, hook: Callable[..., Any]) -> RemovableHandle:
    """Register a forward hook (module, args, output) or, for an input, a pre-hook (module, args) at a site."""
    module = model.get_submodule(site.module)
    if site.where == "input":
        return module.register_forward_pre_hook(hook)
    # First in the row: some encoders collect their features by hooks of their own, which must see the gated map.
    return module.register_forward_hook(hook, prepend=True)


class _Measure:
    """A hook that notes the channel count at a site, each time the site is passed, or why there is none."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.channels: list[int] = []
        self.problem = ""

    def __call__(self, _module: nn.Module, args: tuple[Any, ...], *result: Any) -> None:  # noqa: ANN401 - torch's hook type
        try:
            self.site.change(result[0] if self.site.where == "output" else args[0], self._note)
        except (TypeError, IndexError) as error:
            self.problem = f"cannot carry a gate: {error}"

    def _note(self, x: Tensor) -> Tensor:
        self.channels.append(x.shape[1])
        return x

    def reason(self) -> str:
        """Say why the site cannot be used, or nothing."""
        if self.problem or len(self.channels) == 1:
            return self.problem
        return f"is passed {len(self.channels)} times in a forward pass, but a gate needs exactly one"


def _measure(model: nn.Module, sites: Sequence[Site], example: Tensor) -> list[int]:
    """Return each site's channel count, seen in one forward pass."""
    hooks = [_Measure(site) for site in sites]
    handles = [hook_at(model, hook.site, hook) for hook in hooks]
    try:
        with undisturbed(model), torch.no_grad():
            model(example)
    finally:
        for handle in handles:
            handle.remove()
    _refuse(sites, {hook.site.name: hook.reason() for hook in hooks if hook.reason()})
    return [hook.channels[0] for hook in hooks]


def _refuse(sites: Sequence[Site], reasons: dict[str, str]) -> None:
    """Raise if there are reasons (by site name) against some of the sites."""
    bad = [
        f"site `{site.name}` ({site.where} of `{site.module}`) {reasons[site.name]}"
        for site in sites
        if site.name in reasons
    ]
    if bad:
        usable = ", ".join(site.name for site in sites if site.name not in reasons) or "none"
        raise ConfigError(f"{'; '.join(bad)}. Usable of the sites asked for: {usable}.")


def attach_attention(
    model: nn.Module, sites: Sequence[Site], gate: Callable[[int], nn.Module], example: Tensor
) -> GateSet:
    """Put a new gate on each site of `model`, in place.

    The host's modules, parameters and state-dict keys stay as they are; keys under `gates.` are added. Channel counts
    are taken from a forward pass on `example`. Afterwards a forward and backward pass in evaluation mode proves that
    every gate's parameters get a gradient; if not, the gates are taken off again.

    Args:
        model: any network.
        sites: places with different names; each must be passed exactly once in a forward pass.
        gate: builds a gate for a number of channels, for instance `functools.partial(build_gate, config)`.
        example: an input that `model` accepts, such as (1, 3, 64, 64) float32.

    Returns:
        The gates, which are also `model.gates`.

    Raises:
        ConfigError: a site does not exist, carries no (N, C, H, W) tensor, is not passed exactly once, or does not
            influence the output.
        ValueError: `model` already has a child named `gates`, or two sites share a name.
    """
    if hasattr(model, PREFIX):
        raise ValueError(f"the network already has an attribute `{PREFIX}`: gates can be attached once.")
    if len({site.key for site in sites}) < len(sites):
        raise ValueError(f"two sites share a name: {[site.name for site in sites]}.")
    paths = dict(model.named_modules())
    _refuse(sites, {site.name: "does not exist in this network" for site in sites if site.module not in paths})
    gates = GateSet()
    for site, channels in zip(sites, _measure(model, sites, example), strict=True):
        gates[site.key] = gate(channels)
        gates.sites[site.key] = site
    model.add_module(PREFIX, gates.to(example.device))
    handles = [hook_at(model, site, _GateHook(gates, site)) for site in sites]
    try:
        unreached = unreached_parameters(model, example)
        dead = [key for key in gates if any(name.startswith(f"{PREFIX}.{key}.") for name in unreached)]
        _refuse(sites, {gates.sites[key].name: "does not influence the network's output" for key in dead})
    except Exception:
        for handle in handles:
            handle.remove()
        delattr(model, PREFIX)
        raise
    return gates
