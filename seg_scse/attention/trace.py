"""Looking at a network by running it once on a tiny input, without leaving a trace in it."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seg_scse.errors import ConfigError


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


def differentiable(example: Tensor) -> Tensor:
    """Return a copy of an input that gradients flow to, so that also a network with frozen weights leaves a graph.

    Gradients flow to floats only: of an input of integers, such as tokens, a plain copy is returned.
    """
    if not example.is_floating_point():
        return example.clone()
    return example.detach().requires_grad_() * 1  # not a leaf: the network may change it in place


def total(value: object) -> Tensor:
    """Add up all float elements of a forward pass's result, as the start of a backward pass.

    Raises:
        ConfigError: there is no float tensor in it.
    """
    sums = [tensor.float().sum() for tensor in tensors_in(value) if tensor.is_floating_point()]
    if not sums:
        raise ConfigError(
            f"the network returns a {type(value).__name__} without a float tensor, from which no gradient can start: "
            "let its forward return a float tensor, such as logits, or a list, tuple or dict that holds one."
        )
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


@dataclass(frozen=True)
class Call:
    """One call of a module that returned one tensor, in the state in which the call left it."""

    path: str
    arguments: dict[int | str, Any]
    """By position, or by name where they were passed so."""
    output: Tensor
    version: int
    made: bool
    """Whether the call made or changed the output; False where an input was passed through as it was."""

    @property
    def inputs(self) -> list[Tensor]:
        """All tensors that the module was given, also those inside of lists."""
        return list(tensors_in(self.arguments))


@contextmanager
def recorded(model: nn.Module) -> Iterator[list[Call]]:
    """Record the calls of the modules while the context is open, in the order of completion.

    Yields:
        The list that grows. Its tensors stay alive with it, and with their graph where gradients are on.
    """
    calls: list[Call] = []
    entered: list[dict[int, int]] = []

    def before(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        entered.append({id(x): x._version for x in tensors_in((args, kwargs))})

    def after(path: str, args: tuple[Any, ...], kwargs: dict[str, Any], output: object) -> None:
        versions = entered.pop()
        if isinstance(output, Tensor):
            made = versions.get(id(output)) != output._version
            arguments: dict[int | str, Any] = dict([*enumerate(args), *kwargs.items()])
            calls.append(Call(path, arguments, output, output._version, made))

    def named(path: str) -> Any:  # noqa: ANN401 - torch's hook type
        return lambda _module, args, kwargs, output: after(path, args, kwargs, output)

    with ExitStack() as stack:
        for path, module in model.named_modules():
            stack.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(named(path), with_kwargs=True).remove)
        yield calls
