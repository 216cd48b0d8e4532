"""Starting a network from another one: what fits is loaded, what can be adapted is, and nothing happens in silence."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from seg_scse.attention.attach import PREFIX, GateSet
from seg_scse.attention.constant import ConstantGate
from seg_scse.attention.gates import SCSE
from seg_scse.attention.registry import build_gate
from seg_scse.config.attention import AttentionConfig
from seg_scse.errors import ConfigError
from seg_scse.models.aligning import aligned
from seg_scse.models.bands import adapt_bands, image_weights
from seg_scse.models.classes import adapt_rows, class_tensors, new_classes
from seg_scse.models.foreign import smp_scse_names
from seg_scse.models.parts import part_of
from seg_scse.models.source import Source
from seg_scse.models.transferred import Moved, Transfer

__all__ = ["Source", "Transfer", "transfer"]

_SUPERVISION = "supervision."
_Decision = tuple[Tensor | None, Moved]


def transfer(model: nn.Module, source: Source, classes: tuple[str, ...], bands: tuple[str, ...]) -> Transfer:
    """Load into a network what fits of another one, in place.

    Tensors are matched by name, those of an encoder by itself and of a network inside of a wrapper too. Rows of classes
    follow the names of the classes (`classes.adapt_rows`), filters of bands those of the bands (`bands.adapt_bands`).
    A gate is loaded as a whole, if the source's is of the same kind; smp's scse blocks are translated where the gate
    here computes the same. A normalisation whose convolution was not loaded stays new, because its statistics would
    be those of other maps.

    Args:
        model: a network of `build_model`, before it is compiled or wrapped.
        source: the other network.
        classes: names of the network's classes with the background.
        bands: names of the channels that it sees.

    Returns:
        what became of each tensor.

    Raises:
        ConfigError: no weight of the source has a place in the network. Nothing was changed.
    """
    own = model.state_dict()
    found, original = _found(model, source, own)
    heads = class_tensors(model)
    decided = _decide(model, own, found, heads, source, classes, bands)
    decided |= {name: (None, Moved("skipped", why)) for name, why in _orphans(model, decided).items()}
    used = {name: value for name, (value, _) in decided.items() if value is not None}
    if not any(value.ndim > 1 for value in used.values()):
        raise _nothing_fits(source, own)
    # Encoders of smp have versions of their own that drop or rename keys; these fit already.
    nn.Module.load_state_dict(model, used, strict=False)
    rows = len(new_classes(source.classes or classes, classes))
    moved = {name: _counted(entry, own[name], rows * (name in heads)) for name, (_, entry) in decided.items()}
    unused = {first: _why_unused(name, model) for name, first in original.items() if name not in own}
    return Transfer(source, label_of(model), moved, unused, _is_identical(model, source, moved, unused))


def label_of(model: nn.Module) -> str:
    """Return the name of a network of `build_model` in the form of `ModelConfig.label`."""
    name = getattr(model, "name", None)  # smp: architecture-encoder, with the architecture shortened
    if not isinstance(name, str):
        return "classic_unet" if type(model).__name__ == "ClassicUNet" else type(model).__name__
    architecture, encoder = type(model).__name__.lower(), name.partition("-")[2]
    return f"{architecture}-{'tu-' if architecture == 'dpt' else ''}{encoder}"  # smp's DPT drops the `tu-` of its name


def _found(model: nn.Module, source: Source, own: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the source's tensors by their name here, and its own name for each of them."""
    names = aligned(source.state, own)
    translated = smp_scse_names(model, names.values())
    found: dict[str, Tensor] = {}
    original: dict[str, str] = {}
    for first, there in names.items():
        name, value = translated.get(there, there), source.state[first]
        if name != there and value.ndim == 4:
            value = value.flatten(1)  # a 1x1 convolution of smp is a matrix here
        found[name], original[name] = value, first
    return found, original


def _decide(
    model: nn.Module,
    own: Mapping[str, Tensor],
    found: Mapping[str, Tensor],
    heads: Collection[str],
    source: Source,
    classes: tuple[str, ...],
    bands: tuple[str, ...],
) -> dict[str, _Decision]:
    """Return for each tensor of the network its new value, where it gets one, and what to say about it."""
    images, refused = image_weights(model), _refused_gates(model, own, found, source)
    decided: dict[str, _Decision] = {}
    for name, value in own.items():
        theirs = found.get(name)
        if name in refused:
            decided[name] = (None, refused[name])
        elif theirs is None:
            decided[name] = (None, Moved("new", "not in the source"))
        elif name in heads:
            decided[name] = _adapted(*adapt_rows(theirs, value.cpu(), source.classes, classes))
        elif name in images:
            decided[name] = _adapted(*adapt_bands(theirs, value.cpu(), source.bands, bands))
        elif theirs.shape == value.shape:
            decided[name] = (theirs, Moved("loaded"))
        else:
            detail = f"{tuple(value.shape)}, there {tuple(theirs.shape)}"
            decided[name] = (None, Moved("skipped", "another shape", detail))
    return decided


def _adapted(value: Tensor | None, how: str) -> _Decision:
    if value is None:
        return None, Moved("skipped", how)
    return value, Moved("adapted", how) if how else Moved("loaded")


def _counted(entry: Moved, own: Tensor, rows: int) -> Moved:
    """Add the number of elements, and of those left as initialised: all, or `rows` of an adapted tensor."""
    elements = own.numel()
    fresh = elements if entry.action in ("skipped", "new") else 0
    if entry.action == "adapted" and rows:
        fresh = elements // len(own) * rows
    return replace(entry, elements=elements, fresh=fresh)


def _refused_gates(
    model: nn.Module, own: Mapping[str, Tensor], found: Mapping[str, Tensor], source: Source
) -> dict[str, Moved]:
    """Return the tensors of the gates that are not loaded, and why: a gate is loaded as a whole or not at all."""
    gates = getattr(model, PREFIX, None)
    refused: dict[str, Moved] = {}
    for key, gate in gates.items() if isinstance(gates, GateSet) else ():
        prefix = f"{PREFIX}.{key}."
        here = {name: tuple(value.shape) for name, value in own.items() if name.startswith(prefix)}
        there = {name: tuple(value.shape) for name, value in found.items() if name.startswith(prefix)}
        if not there:
            entry = Moved("new", f"not in the source{_start_of(gate)}")
        elif reason := _other_kind(gate, source):
            entry = Moved("skipped", reason)
        elif here != there:
            entry = Moved("skipped", "a gate of another kind or width")
        else:
            continue
        refused |= dict.fromkeys(here, entry)
    return refused


def _other_kind(gate: nn.Module, source: Source) -> str:
    """Say how a gate of the source computes something else than the one here, or nothing, as far as that is known."""
    if source.model is None or source.model.attention.type == "none":
        return ""
    theirs, kind = source.model.attention, getattr(gate, "kind", None)
    if theirs.type != kind:
        return f"a gate of type {theirs.type} in the source, {kind} here"
    if not isinstance(gate, SCSE | ConstantGate):
        return ""
    names = {"activation": "gate"}  # as the configuration calls it
    differing = [
        f"{names.get(field, field)} = {_plain(there)} in the source, {_plain(here)} here"
        for field, there, here in zip(gate.recipe._fields, _recipe(theirs), gate.recipe, strict=True)
        if there != here
    ]
    return f"a gate of another arithmetic ({'; '.join(differing)})" if differing else ""


def _plain(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _recipe(config: AttentionConfig) -> Any:  # noqa: ANN401 - a Recipe
    """Return what the scse gates of a configuration do with their weights; the random state stays as it is."""
    with torch.random.fork_rng(devices=[]):
        return build_gate(config, config.reduction).recipe


def _start_of(gate: nn.Module) -> str:
    """Say whether a new gate leaves what the trained network computes alone, as far as there is a choice."""
    if not isinstance(gate, SCSE | ConstantGate):
        return ""
    if _is_identity(gate):
        return "; they start as the identity"
    return "; they change what the source computes, which model.attention.init=identity does not"


def _is_identity(gate: nn.Module) -> bool:
    """Try whether a gate changes nothing."""
    if not isinstance(gate, SCSE | ConstantGate):
        return False
    like = next(gate.parameters())
    x = torch.randn((2, gate.channels, 5, 5), generator=torch.Generator().manual_seed(0)).to(like)
    with torch.no_grad():
        return torch.equal(gate(x), x)


def _orphans(model: nn.Module, decided: Mapping[str, _Decision]) -> dict[str, str]:
    """Name tensors that would be loaded without what gives them their meaning, and say so.

    That is a bias without its weight, and batch normalisation behind a convolution that is not loaded.
    """
    orphans: dict[str, str] = {}
    previous = ""
    for path, module in model.named_modules():
        names = [name for own in (*module._parameters, *module._buffers) if (name := f"{path}.{own}") in decided]
        if not names:
            continue
        weight = f"{path}.weight"
        normalises = module._buffers.get("running_mean") is not None
        if weight in names and decided[weight][0] is None:
            reason = "its weight is not the source's"
        elif normalises and previous and decided[previous][0] is None and part_of(weight) == part_of(previous):
            reason = "the convolution before it is not the source's"
        else:
            reason = ""
        if reason:
            orphans |= {name: reason for name in names if decided[name][0] is not None}
        previous = weight if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) else ""
    return orphans


def _why_unused(name: str, model: nn.Module) -> str:
    if part_of(name) == "gates" or ".attention." in name:
        return "no gate here that it fits" if hasattr(model, PREFIX) else "this network has no gates"
    if name.startswith(_SUPERVISION):
        return "this network has no such deep supervision"
    return "no tensor of this name here"


def _is_identical(model: nn.Module, source: Source, moved: Mapping[str, Moved], unused: Mapping[str, str]) -> bool:
    """Tell whether the network computes what the source did: all is loaded but gates that are the identity.

    That is said only of a source that describes itself: another program's may interpolate in another way.
    """
    if source.model is None or source.classes is None or source.model.label != label_of(model):
        return False
    gates = getattr(model, PREFIX, {})
    idle = tuple(f"{PREFIX}.{key}." for key, gate in gates.items() if _is_identity(gate)) or ("-",)
    fresh = [name for name, entry in moved.items() if entry.action != "loaded" and not name.startswith(_SUPERVISION)]
    lost = [name for name in unused if not name.startswith(_SUPERVISION)]
    return all(name.startswith(idle) and moved[name].action == "new" for name in fresh) and not lost


def _nothing_fits(source: Source, own: Mapping[str, Tensor]) -> ConfigError:
    theirs = [f"{name} {tuple(value.shape)}" for name, value in source.state.items()]
    ours = [f"{name} {tuple(value.shape)}" for name, value in own.items()]
    return ConfigError(
        f"{source.name}: none of its {len(theirs)} tensors fits this network. Its first are {', '.join(theirs[:3])}; "
        f"this network's are {', '.join(ours[:3])}. Set `model` to the architecture and encoder of the source."
    )
