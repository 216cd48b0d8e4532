"""Looking at the gates of a network while it runs, and putting other gates in their place.

Everything here is a context: hooks on the gates' modules are there while it is open, and gone afterwards. The network
keeps its modules, parameters and state-dict keys throughout. Only `forward` runs with other gates; a network under
`torch.compile` runs eagerly meanwhile, because compiled code does not notice new hooks.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from seg_scse.attention.attach import PREFIX, GateSet
from seg_scse.attention.functional import Gates, recalibrate
from seg_scse.attention.trace import undisturbed
from seg_scse.errors import ConfigError


@runtime_checkable
class Separable(Protocol):
    """A block that can compute its gates without applying them: scSE, its halves, the additive attention gate."""

    channels: int

    def gates(self, x: Tensor, *others: Tensor) -> Gates:
        """Compute the gates of x (N, C, *spatial); some blocks look at another feature map too."""


def apply_gates(block: Separable, x: Tensor, gates: Gates) -> Tensor:
    """Recalibrate x (N, C, *spatial) by given gates as the block does by its own.

    A block with both gates has a method `apply_gates` for it; one gate alone can only multiply.
    """
    own: Callable[[Tensor, Gates], Tensor] | None = getattr(block, "apply_gates", None)
    return own(x, gates) if own else recalibrate(x, gates.channel, gates.spatial, "mul")


Change = Callable[[Gates, Tensor], Gates]
"""From a block's own gates, and the feature map x (N, C, *spatial) they were computed from, to gates of equal shapes
that are applied in their place."""

Replacement = Change | Literal["identity"]
"""What stands in for a block: other gates, or nothing at all (`identity`, y = x)."""


@dataclass(frozen=True)
class Recording:
    """One passage of a gate: its feature map, its gates and its output.

    `x` and `y` are (N, C, *spatial) copies without gradient; `gates` is None for a block whose effect is not a channel
    gate, a spatial gate or both (CBAM, for instance).
    """

    x: Tensor
    gates: Gates | None
    y: Tensor


def kind_of(gate: nn.Module) -> str:
    """Return the name of a gate's kind; for one that is not of this package, that of its class."""
    return str(getattr(gate, "kind", type(gate).__name__))


def gates_by_site(model: nn.Module) -> dict[str, nn.Module]:
    """Return the gates of a network by the names of their sites, such as `decoder.1`, in the order of attachment.

    Raises:
        ConfigError: the network has no gates.
    """
    gates = getattr(model, PREFIX, None)
    if not isinstance(gates, GateSet) or not len(gates):
        raise ConfigError("the network has no gates to look at: attach some with `attach_attention`.")
    return {gates.sites[key].name: gate for key, gate in gates.items()}


def _eager(model: nn.Module) -> AbstractContextManager[object]:
    """Switch `torch.compile` off where it is used."""
    compiled = any(hasattr(module, "_orig_mod") or module._compiled_call_impl for module in model.modules())
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()


@contextmanager
def _hooked(model: nn.Module, hooks: Mapping[str, Callable[..., Any]]) -> Iterator[None]:
    """Keep a forward hook (gate, args, output) on the gates of some sites."""
    gates = gates_by_site(model)
    with ExitStack() as stack:
        stack.enter_context(_eager(model))
        for site, hook in hooks.items():
            stack.callback(gates[site].register_forward_hook(hook).remove)
        yield


@contextmanager
def record(model: nn.Module) -> Iterator[dict[str, Recording]]:
    """Record what passes the gates.

    While the context is open, each forward pass leaves the latest `Recording` of every site under the site's name.
    The recorded output is the one that the network went on with, also inside `replaced`; the gates are the block's own.

    Args:
        model: a network with attached gates.

    Raises:
        ConfigError: it has none.

    Example:
        >>> with record(model) as seen:
        ...     model(images)
        >>> seen["decoder.1"].gates.channel.shape
        torch.Size([4, 256, 1, 1])
    """
    seen: dict[str, Recording] = {}

    def hook(site: str) -> Callable[..., None]:
        def note(gate: nn.Module, args: tuple[Tensor, ...], y: Tensor) -> None:
            with torch.no_grad():
                gates = gate.gates(*args) if isinstance(gate, Separable) else None
            # Copies: the network may go on by changing x or y in place, as residual blocks do.
            seen[site] = Recording(args[0].detach().clone(), gates, y.detach().clone())

        return note

    with _hooked(model, {site: hook(site) for site in gates_by_site(model)}):
        yield seen


@contextmanager
def replaced(model: nn.Module, replacements: Mapping[str, Replacement]) -> Iterator[None]:
    """Run a network with other gates on some sites.

    Args:
        model: a network with attached gates.
        replacements: by the name of the site: `identity`, `constant(means)`, `shuffled(seed)`, `from_partner`, or any
            function of the kind `Change`.

    Raises:
        ConfigError: a site has no gate, or a gate that can only be replaced by `identity`.
    """
    gates = gates_by_site(model)
    for site, replacement in replacements.items():
        if site not in gates:
            raise ConfigError(f"there is no gate on site `{site}`. Sites with gates: {', '.join(gates)}.")
        if replacement != "identity" and not isinstance(gates[site], Separable):
            raise ConfigError(
                f"the gate on site `{site}` ({kind_of(gates[site])}) has no channel or spatial gate by itself that "
                "could be replaced: only `identity` is possible there."
            )

    def hook(replacement: Replacement) -> Callable[..., Tensor]:
        def replace(gate: Separable, args: tuple[Tensor, ...], _y: Tensor) -> Tensor:
            if replacement == "identity":
                return args[0]
            return apply_gates(gate, args[0], replacement(gate.gates(*args), args[0]))

        return replace

    with _hooked(model, {site: hook(replacement) for site, replacement in replacements.items()}):
        yield


def _mapped(gates: Gates, function: Callable[[Tensor], Tensor]) -> Gates:
    return Gates(*(None if gate is None else function(gate) for gate in gates))


def constant(means: Gates) -> Change:
    """Freeze gates at given values, such as those of `gate_means`: (1, C, 1, ...) and (1, 1, 1, ...)."""

    def change(own: Gates, _x: Tensor) -> Gates:
        return Gates(*(_filled(value, gate) for value, gate in zip(means, own, strict=True)))

    return change


def _filled(value: Tensor | None, like: Tensor | None) -> Tensor | None:
    if value is None or like is None:
        if value is not like:
            raise ValueError("the means are not those of this gate: one has a channel or spatial gate, the other not.")
        return None
    # Written out at full size, as the block's own gates are: a kernel may count on their layout.
    return value.to(like).expand_as(like).contiguous()


def shuffled(seed: int = 0) -> Change:
    """Permute the channels of the channel gate and the pixels of the spatial gate, alike in all images.

    The values of a gate stay, so that their mean and spread do; what each value belongs to is lost.
    """

    def permute(gate: Tensor) -> Tensor:
        flat = gate.flatten(1)
        order = torch.randperm(flat.shape[1], generator=torch.Generator().manual_seed(seed))
        return flat[:, order.to(gate.device)].view_as(gate)

    return lambda own, _x: _mapped(own, permute)


def from_partner(own: Gates, x: Tensor) -> Gates:
    """Give each image the gates of its partner; the partners keep their own.

    The batch holds n images followed by their n partners.

    Raises:
        ValueError: the batch cannot be halved.
    """
    if len(x) % 2:
        raise ValueError(f"a batch of {len(x)} cannot be images and as many partners.")
    return _mapped(own, lambda gate: gate[len(x) // 2 :].repeat(2, *(1 for _ in gate.shape[1:])))


@dataclass
class _Mean:
    """Running sums in float64: of each channel's gate (C,), of the spatial gate, and of the pixels they scaled."""

    pixels: int = 0
    channel: Tensor | None = None
    spatial: Tensor | None = None
    shape: tuple[int, ...] = field(default=())

    def add(self, gates: Gates, x: Tensor) -> None:
        pixels = x[0, 0].numel()
        self.pixels += len(x) * pixels
        self.shape = (1,) * (x.dim() - 2)
        if gates.channel is not None:
            self.channel = gates.channel.double().flatten(1).sum(0).mul(pixels).add(_or_zero(self.channel))
        if gates.spatial is not None:
            self.spatial = gates.spatial.double().sum().add(_or_zero(self.spatial))

    def gates(self) -> Gates:
        sums = Gates(self.channel, self.spatial)
        return _mapped(sums, lambda total: (total / self.pixels).float().view(1, -1, *self.shape))


def _or_zero(value: Tensor | None) -> Tensor | float:
    return 0.0 if value is None else value


@contextmanager
def averaged(model: nn.Module) -> Iterator[Callable[[], dict[str, Gates]]]:
    """Average the gates over all forward passes while the context is open; see `gate_means`.

    Yields:
        A function that returns the means so far.
    """
    means = {site: _Mean() for site, gate in gates_by_site(model).items() if isinstance(gate, Separable)}

    def hook(mean: _Mean) -> Callable[..., None]:
        def add(gate: Separable, args: tuple[Tensor, ...], _y: Tensor) -> None:
            with torch.no_grad():
                mean.add(gate.gates(*args), args[0])

        return add

    with _hooked(model, {site: hook(mean) for site, mean in means.items()}):
        yield lambda: {site: mean.gates() for site, mean in means.items() if mean.pixels}


def gate_means(model: nn.Module, batches: Iterable[Tensor]) -> dict[str, Gates]:
    """Average the gates over a data set.

    A mean is taken over the pixels that a gate scales: images and batches of different sizes weigh as much as they are
    large. The sums are float64.

    Args:
        model: a network with attached gates; it runs in evaluation mode.
        batches: inputs of the network, on its device, of any sizes.

    Returns:
        By the name of the site, the channel gate's mean of each channel (1, C, 1, ...) and the spatial gate's mean, one
        number (1, 1, 1, ...), both float32. Sites whose gates cannot be separated are left out.

    Raises:
        ConfigError: the network has no gates.
    """
    with averaged(model) as means, undisturbed(model), torch.no_grad():
        for batch in batches:
            model(batch)
    return means()
