"""Putting gates on the places of any network where a feature map flows, without touching the network itself.

A gate is applied by a hook on one of the host's modules. The gates' parameters live in one new child of the host, so
that its state dict keeps every key it had and gains only keys that start with `gates.`.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from seg_scse.attention.trace import reached, total, undisturbed
from seg_scse.errors import ConfigError

PREFIX = "gates"
"""Name of the child module that holds the gates, and first part of their state-dict keys."""

Layout = Literal["channels_first", "channels_last"]
"""Position of the channels in a map's shape, (N, C, *spatial) or (N, *spatial, C); not its memory format."""

Argument = int | str
"""One argument of a module's forward: its position, or its name where the caller passes it by name."""


@dataclass(frozen=True)
class Site:
    """A place where a feature map with one to three spatial dimensions flows.

    Attributes:
        name: what the site is called in configuration and reports, such as `decoder.1`.
        module: path of the host's module, such as `decoder.blocks.0`.
        where: the feature map is this module's output, or one of its inputs.
        index: which element, where that output or input is a list or tuple of feature maps; None for a single one.
        layout: position of the channels; maps with the channels last are gated through a transposed view.
        argument: which input of the module it is.
        signal: another input, (N, C', *spatial) of any size, which the gate looks at too; None for none.
    """

    name: str
    module: str
    where: Literal["output", "input"] = "output"
    index: int | None = None
    layout: Layout = "channels_first"
    argument: Argument = 0
    signal: Argument | None = None

    @property
    def key(self) -> str:
        """Name of the gate in the state dict: the site's name, with `_` for the dots that torch forbids there."""
        return self.name.replace(".", "_")

    def change(self, value: Any, function: Callable[[Tensor], Tensor]) -> Any:  # noqa: ANN401 - a forward's result
        """Return the module's input or output `value` with the site's feature map x replaced by function(x).

        Args:
            value: a feature map, or a list or tuple that holds it.
            function: from (N, C, *spatial) to the same shape, whatever the site's layout.

        Raises:
            TypeError: `value` holds no feature map with one to three spatial dimensions at the site.
        """
        if self.index is None:
            return self._apply(value, function)
        items = list(value)
        items[self.index] = self._apply(items[self.index], function)
        return items if isinstance(value, list) else tuple(items)

    def _apply(self, x: object, function: Callable[[Tensor], Tensor]) -> Tensor:
        if not isinstance(x, Tensor):
            raise TypeError(f"a {type(x).__name__} flows there, not one feature map")
        if x.dim() not in (3, 4, 5):
            raise TypeError(f"a tensor of shape {tuple(x.shape)} flows there, not one with 1 to 3 spatial dimensions")
        if self.layout == "channels_first":
            return function(x)
        return function(x.movedim(-1, 1)).movedim(1, -1)


class GateSet(nn.ModuleDict):
    """The gates of a network by site key, and the sites they are on. Replacing an item replaces the gate in use."""

    def __init__(self) -> None:
        super().__init__()
        self.sites: dict[str, Site] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Return x: a host that is an `nn.Sequential` runs all its children, and this one must not change anything."""
        return x


class SiteHook:
    """Does something at one site: `passed` is given the feature map there, and the network goes on with its result.

    An object and not a closure: `copy.deepcopy` and `pickle` follow its reference to the gates, so that a copied
    network uses the copied gates.
    """

    def __init__(self, site: Site) -> None:
        self.site = site

    def passed(self, x: Tensor, *signal: Tensor) -> Tensor:
        """Return what replaces x (N, C, *spatial); `signal` is the site's second map, where it has one."""
        raise NotImplementedError

    def __call__(self, _module: nn.Module, args: tuple[Any, ...], rest: Any) -> Any:  # noqa: ANN401 - torch's hook type
        """Serve as a forward hook, where `rest` is the output, or as a pre-hook, where it is the named arguments."""
        site = self.site
        if site.where == "output":
            return site.change(rest, self.passed)
        given = {**dict(enumerate(args)), **rest}
        signal = () if site.signal is None else (given[site.signal],)
        changed = site.change(given[site.argument], lambda x: self.passed(x, *signal))
        if isinstance(site.argument, str):
            return args, {**rest, site.argument: changed}
        return (*args[: site.argument], changed, *args[site.argument + 1 :]), rest

    def register(self, model: nn.Module) -> RemovableHandle:
        """Put the hook on the module of the site."""
        module = model.get_submodule(self.site.module)
        if self.site.where == "input":
            return module.register_forward_pre_hook(self, with_kwargs=True)
        # First in the row: some encoders collect their features by hooks of their own, which must see the gated map.
        return module.register_forward_hook(self, prepend=True)


class _GateHook(SiteHook):
    """Applies one gate of a `GateSet`, looked up at the time of the call."""

    def __init__(self, site: Site, gates: GateSet) -> None:
        super().__init__(site)
        self.gates = gates

    def passed(self, x: Tensor, *signal: Tensor) -> Tensor:
        changed: Tensor = self.gates[self.site.key](x, *signal)
        return changed


class _Measure(SiteHook):
    """Notes the channel counts at a site, each time the site is passed, or why there are none."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.channels: list[tuple[int, ...]] = []
        self.problem = ""

    def __call__(self, module: nn.Module, args: tuple[Any, ...], rest: Any) -> None:  # noqa: ANN401 - torch's hook type
        try:
            super().__call__(module, args, rest)
        except (TypeError, IndexError, KeyError) as error:
            self.problem = f"cannot carry a gate: {error}"

    def passed(self, x: Tensor, *signal: Tensor) -> Tensor:
        self.channels.append(tuple(map_.shape[1] for map_ in (x, *signal)))
        return x

    def reason(self) -> str:
        """Say why the site cannot be used, or nothing."""
        if self.problem or len(self.channels) == 1:
            return self.problem
        return f"is passed {len(self.channels)} times in a forward pass, but a gate needs exactly one"


def _measure(model: nn.Module, sites: Sequence[Site], example: Tensor) -> list[tuple[int, ...]]:
    """Return each site's channel count, and that of its signal, seen in one forward pass."""
    hooks = [_Measure(site) for site in sites]
    handles = [hook.register(model) for hook in hooks]
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


def _built(gate: Callable[..., nn.Module], site: Site, channels: tuple[int, ...]) -> nn.Module:
    """Build the gate of one site; an error says which."""
    try:
        built = gate(*channels)
        if not isinstance(built, nn.Module):
            raise ConfigError(f"`gate` returned a {type(built).__name__} and no module.")
    except ConfigError as error:
        raise ConfigError(f"site `{site.name}` ({channels[0]} channels): {error}") from error
    return built


def _probed(site: Site, probe: Tensor) -> Callable[..., Tensor]:
    """Return a hook for the gate of a site that adds a probe to its output and refuses one of another shape."""

    def hook(_gate: nn.Module, args: tuple[Tensor, ...], y: object) -> Tensor:
        x = args[0]
        if not isinstance(y, Tensor) or y.shape != x.shape:
            result = f"one of {tuple(y.shape)}" if isinstance(y, Tensor) else f"a {type(y).__name__}"
            raise ConfigError(
                f"site `{site.name}` ({site.where} of `{site.module}`): its gate turns a map of shape "
                f"{tuple(x.shape)} into {result}, but a gate must keep the shape."
            )
        return y + probe.to(y)

    return hook


def _without_influence(model: nn.Module, gates: GateSet, example: Tensor) -> list[str]:
    """Return the keys of gates whose output, or one of whose trainable parameters, the network's output ignores."""
    probes = {key: torch.zeros((), device=example.device, requires_grad=True) for key in gates}
    targets = [(key, probe) for key, probe in probes.items()]
    targets += [(key, p) for key, gate in gates.items() for p in gate.parameters() if p.requires_grad]
    with ExitStack() as stack:
        for key, gate in gates.items():
            # Not the parameters alone: some gates have none.
            stack.callback(gate.register_forward_hook(_probed(gates.sites[key], probes[key])).remove)
        stack.enter_context(undisturbed(model))
        stack.enter_context(torch.enable_grad())
        answers = reached(total(model(example)), [target for _, target in targets])
    return [key for (key, _), answer in zip(targets, answers, strict=True) if not answer]


def _check_names(sites: Sequence[Site], gates: GateSet) -> None:
    """Refuse names that cannot be told apart in the state dict, or that a `GateSet` has another use for."""
    count = Counter(site.key for site in sites)
    if len(count) < len(sites):
        same = ", ".join(f"`{site.name}`" for site in sites if count[site.key] > 1)
        raise ConfigError(
            f"two sites share a name, whose dots become `_` in the state dict: {same}. Attach one of them only."
        )
    taken = "has the name of an attribute of `GateSet`: use `attach_gates` with a `Site` of another name"
    _refuse(sites, {site.name: taken for site in sites if hasattr(gates, site.key)})


def attach_gates(model: nn.Module, sites: Sequence[Site], gate: Callable[..., nn.Module], example: Tensor) -> GateSet:
    """Put a new gate on each site of `model`, in place.

    The host's modules, parameters and state-dict keys stay as they are; keys under `gates.` are added. Channel counts
    are taken from a forward pass on `example`. Afterwards a forward and backward pass in evaluation mode proves that
    every gate's parameters get a gradient; if not, the gates are taken off again.

    Args:
        model: any network.
        sites: places with different names; each must be passed exactly once in a forward pass.
        gate: builds a gate for a number of channels, for instance `functools.partial(build_gate, config)`; at sites
            with a signal it is called with the channels of both maps, and the gate with both maps. The gate must keep
            the shape of its (first) map.
        example: an input that `model` accepts, such as (1, 3, 64, 64) float32; tokens may be integers. The gates get
            its device and dtype, or, where it holds no floats, those of the model's parameters.

    Returns:
        The gates, which are also `model.gates`.

    Raises:
        ConfigError: a site does not exist, carries no feature map, is not passed exactly once, or does not influence
            the output; `gate` is a module and no function; a gate cannot be built for its channels or changes the
            shape of its map; the output holds no float tensor; `model` already has a child named `gates`; two sites
            share a name, or one has that of an attribute of `GateSet`.
    """
    if isinstance(gate, nn.Module):
        raise ConfigError(
            f"`gate` is a module, {type(gate).__name__}, but each site needs one of its own: give a function from "
            "channels to a module."
        )
    if hasattr(model, PREFIX):
        raise ConfigError(f"the network already has an attribute `{PREFIX}`: gates can be attached once.")
    gates = GateSet()
    _check_names(sites, gates)
    paths = dict(model.named_modules())
    _refuse(sites, {site.name: "does not exist in this network" for site in sites if site.module not in paths})
    for site, channels in zip(sites, _measure(model, sites, example), strict=True):
        gates[site.key] = _built(gate, site, channels)
        gates.sites[site.key] = site
    like = example if example.is_floating_point() else next(model.parameters())
    model.add_module(PREFIX, gates.to(like))
    handles = [_GateHook(site, gates).register(model) for site in sites]
    try:
        dead = _without_influence(model, gates, example)
        _refuse(sites, {gates.sites[key].name: "does not influence the network's output" for key in dead})
    except Exception:
        for handle in handles:
            handle.remove()
        delattr(model, PREFIX)
        raise
    return gates
