"""The names of a state dict from elsewhere, in the words of our network."""

import re
from collections.abc import Collection, Iterable
from itertools import product

_WRAPPERS = ("", "model.", "module.", "network.", "net.", "backbone.", "_orig_mod.")
"""What training programs put before the names of a network's tensors."""

_NESTED = (*_WRAPPERS, *(f"{outer}{inner}" for outer in _WRAPPERS[1:] for inner in _WRAPPERS[1:] if outer != inner))
"""All of them, and one inside of another, as of a compiled network in a training module."""

_PLACES = ("", "encoder.", "encoder.model.")
"""Where the tensors of an encoder by itself belong: one of smp, and the timm model inside of smp's."""

_STAGE = re.compile(r"^([a-z]+)\.(\d+)\.")
"""timm joins the first two parts of a name where it cuts a model into stages: `stages.0.` becomes `stages_0.`."""


def aligned(names: Collection[str], own: Collection[str]) -> dict[str, str]:
    """Return the name in our words for each name of a state dict, of tensors without a counterpart too.

    Of the few ways in which the names of a whole network or of an encoder are changed, that with the most common names
    is taken, and the plainest of those that have as many. All names are changed in this way, so that what is known by
    other names, as the blocks of segmentation-models-pytorch, is found behind a wrapper too.

    Args:
        names: of the state dict.
        own: of our network.
    """
    ways = product(_PLACES, _NESTED, (False, True))
    known = set(own)
    return max((_renamed(names, *way) for way in ways), key=lambda way: len(known.intersection(way.values())))


def _renamed(names: Iterable[str], place: str, wrapper: str, joined: bool) -> dict[str, str]:
    bare = {name: name.removeprefix(wrapper) for name in names}
    return {name: place + (_STAGE.sub(r"\1_\2.", rest) if joined else rest) for name, rest in bare.items()}
