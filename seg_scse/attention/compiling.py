"""Compiling the gates of a network and nothing else.

On a CPU, `torch.compile` of a whole U-Net trains no faster than eager mode, because convolutions take the time there
and stay what they were; compiling the gates alone saves most of what they cost. On a GPU, compile the whole network:
its graph contains the gates.
"""

import inspect
from typing import Any

import torch
from torch import nn

from seg_scse.attention.attach import PREFIX, GateSet
from seg_scse.errors import ConfigError

SHAPES = 64
"""Shapes, memory formats and modes that a gate is compiled for; further ones run in eager mode, and torch warns."""


def compile_gates(model: nn.Module, **options: Any) -> nn.Module:  # noqa: ANN401 - the options of torch.compile
    """Compile each gate of a network by itself, in place.

    Parameters, their names in the state dict, and the results (to rounding) stay as they are. Compilation happens when
    a gate first sees a map of a new shape, memory format or dtype, takes seconds for each, and needs a C++ compiler on
    a CPU. Copies made by `copy.deepcopy` or `pickle` are not compiled. A gate replaced later is not compiled either.

    Args:
        model: a network with gates, from `build_model` or `attach_attention`.
        options: passed to `torch.nn.Module.compile`. `dynamic` is False unless given: a kernel for one shape is faster.

    Returns:
        `model`.

    Raises:
        ConfigError: the network has no gates.
    """
    gates = getattr(model, PREFIX, None)
    if not isinstance(gates, GateSet) or not gates:
        raise ConfigError(
            f"the network has no gates to compile (`{PREFIX}` is {type(gates).__name__}): attach some first, "
            "by attach_attention or `model.attention.type`."
        )
    for gate in gates.values():
        gate.compile(**(_own_graphs(len(gates)) | options))
    return model


def _own_graphs(gates: int) -> dict[str, Any]:
    """Return options by which each gate has graphs of its own for its shapes, and allow that many.

    All gates run the same code, for which torch by default keeps 8 graphs in all: every further shape would silently
    run in eager mode.
    """
    if "isolate_recompiles" in inspect.signature(torch.compile).parameters:
        return {"dynamic": False, "isolate_recompiles": True, "recompile_limit": SHAPES}
    dynamo = torch._dynamo.config
    dynamo.recompile_limit = max(dynamo.recompile_limit, gates * SHAPES)
    return {"dynamic": False}
