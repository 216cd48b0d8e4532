"""Looking at a network by running it once on a tiny input, without leaving a trace in it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Run `model` in evaluation mode and restore each module's mode and torch's CPU random state afterwards.

    In evaluation mode, normalisation layers do not update their statistics.
    """
    modes = {module: module.training for module in model.modules()}
    try:
        with torch.random.fork_rng(devices=[]):
            for module in modes:
                module.training = False
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def tensors_in(value: object) -> Iterator[Tensor]:
    """Yield the tensors of a forward pass's arguments or result, which may be nested lists, tuples and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)


def total(value: object) -> Tensor:
    """Add up all float elements of a forward pass's result, as the start of a backward pass."""
    sums = [tensor.float().sum() for tensor in tensors_in(value) if tensor.is_floating_point()]
    return torch.stack(sums).sum()


def reached(start: Tensor, targets: Iterable[Tensor]) -> list[bool]:
    """Say for each tensor whether `start` depends on it. No `.grad` is written, and the graph is kept."""
    targets = list(targets)
    if not targets or not start.requires_grad:
        return [False] * len(targets)
    gradients = torch.autograd.grad(start, targets, retain_graph=True, allow_unused=True)
    return [gradient is not None for gradient in gradients]


def unreached_parameters(model: nn.Module, example: Tensor) -> list[str]:
    """Name the trainable parameters that get no gradient when `model` runs on `example`.

    One forward and backward pass in evaluation mode. Parameters, gradients, statistics and random state are left as
    they were.

    Args:
        model: any network.
        example: an input it accepts, for instance (1, C, 64, 64) float32.
    """
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with undisturbed(model), torch.enable_grad():
        answers = reached(total(model(example)), parameters)
    return [name for name, answer in zip(names, answers, strict=True) if not answer]
