"""The convolutions of a network that see the image, for other channels."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seg_scse.attention.trace import undisturbed
from seg_scse.models.attach import example_for


def image_weights(model: nn.Module) -> frozenset[str]:
    """Name the weights of the convolutions that are given the image itself; some encoders have several.

    Args:
        model: a network with a child `encoder`, as those of `build_model`.

    Raises:
        ConfigError: the encoder accepts no image that could be made.
    """
    encoder = model.get_submodule("encoder")
    example = example_for(encoder)
    found: list[str] = []

    def noting(path: str) -> Any:  # noqa: ANN401 - torch's hook type
        def hook(_module: nn.Module, args: tuple[Any, ...]) -> None:
            if args and isinstance(args[0], Tensor) and args[0].data_ptr() == example.data_ptr():
                found.append(f"encoder.{path}.weight")

        return hook

    handles = [
        module.register_forward_pre_hook(noting(path))
        for path, module in encoder.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    try:
        with undisturbed(encoder), torch.no_grad():
            encoder(example)
    finally:
        for handle in handles:
            handle.remove()
    return frozenset(found)


def adapt_bands(found: Tensor, own: Tensor, old: Sequence[str] | None, new: Sequence[str]) -> tuple[Tensor | None, str]:
    """Make the filters for `new` bands from those of `old` ones.

    A band that the source knows by name keeps its filter. Another one, at position k of N, takes that of the source's
    band k mod M, of M, times M / N; a single one takes the sum of all. Without a common name this is the rule of
    `weights.adapt_colours`.

    Args:
        found: weight (O, M, h, w) of the source.
        own: weight (O, N, h, w) of the network.
        old: names of the source's bands; None: not known, and where there are as many as here, they are the same.
        new: names of the network's bands.

    Returns:
        the weight (O, N, h, w) and how it came about (empty: it is `found`); or None and why there is none.
    """
    if found.ndim != own.ndim or (found.shape[0], found.shape[2:]) != (own.shape[0], own.shape[2:]):
        return None, f"shape {tuple(own.shape)}, but {tuple(found.shape)} in the source"
    if own.shape[1] != len(new) or (old is not None and found.shape[1] != len(old)):
        fits = found.shape == own.shape
        return (found, "") if fits else (None, f"shape {tuple(own.shape)}, but {tuple(found.shape)} in the source")
    known = _names(found.shape[1], old, new)
    if tuple(known) == tuple(new):
        return found, ""
    kept = [band for band in new if band in known]
    fresh = [band for band in new if band not in known]
    planes = [_plane(found, known, new, k) for k in range(len(new))]
    parts = [f"filters of {', '.join(kept)} kept"] if kept else []
    if fresh:
        parts.append(f"{', '.join(fresh)}: {_rule(len(known), len(new))}")
    return torch.stack(planes, dim=1), "; ".join(parts)


def _names(count: int, old: Sequence[str] | None, new: Sequence[str]) -> Sequence[str]:
    """Return the names of the source's bands; of unknown ones none is in common, but as many are the same."""
    if old is not None:
        return old
    return new if count == len(new) else [""] * count


def _plane(found: Tensor, old: Sequence[str], new: Sequence[str], position: int) -> Tensor:
    if new[position] in old:
        return found[:, list(old).index(new[position])]
    if len(new) == 1:
        return found.sum(1)
    return found[:, position % len(old)] * (len(old) / len(new))


def _rule(old: int, new: int) -> str:
    if new == 1:
        return f"the sum of the source's {old} filters"
    return f"the source's filters in turn, times {old}/{new}"
