"""Gradient checkpointing: stages of a network whose feature maps are computed again in the backward pass.

Between the passes only what enters and leaves a stage is kept (Chen et al. 2016, arXiv 1604.06174), for about one more
forward pass of time. Gradients, running statistics and random numbers are those of the plain network: the second pass
draws the numbers of the first again, runs under its autocast, and leaves the statistics of normalisation layers alone.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from seg_scse.attention.trace import differentiable, reached, recorded, total, undisturbed
from seg_scse.errors import ConfigError
from seg_scse.models.attach import example_for

KEY = "`trainer.gradient_checkpointing` = true"
CURE = "Set trainer.gradient_checkpointing=false; a smaller trainer.batch_size or trainer.crop saves memory too."


def recompute_stages(model: nn.Module) -> tuple[str, ...]:
    """Let the stages of encoder and decoder be computed again in the backward pass, in place.

    A stage is the outermost module below `encoder` or `decoder` that has children and parameters and returns one
    tensor: a block of a U-Net, a layer of a ResNet, a block of a transformer. Modules and state-dict keys stay. Gates
    inside of a stage are computed again too; what follows a stage, such as a gate on its output, keeps its own maps.
    Copies made by `copy.deepcopy` recompute as well. Without gradients, as in validation, nothing changes.

    Call it when gates and everything else is attached, before `torch.compile` and `DistributedDataParallel`.

    Args:
        model: a network with the children `encoder` and `decoder`, as `build_model` makes it.

    Returns:
        the paths of the stages.

    Raises:
        ConfigError: there is no such stage, or one changes its own input, so that it cannot be computed again.
    """
    example = example_for(model)
    paths = _stages(model, example)
    normalisations = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._NormBase)]
    stages = [model.get_submodule(path) for path in paths]
    for stage in stages:
        stage.forward = _Recomputed(stage.forward, normalisations)
    try:
        with undisturbed(model), torch.enable_grad():
            reached(total(model(differentiable(example))), [p for p in model.parameters() if p.requires_grad])
    except RuntimeError as error:  # torch's, at the second pass: it keeps the version of what enters a stage
        for stage in stages:
            del stage.forward  # that of the class is seen again
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"{KEY}: a stage of {type(model).__name__} changes its input ({reason}). {CURE}") from error
    return paths


class _Recomputed:
    """Stands in for the method `forward` of a stage.

    An object and not a closure: `copy.deepcopy` follows its references, so that a copied stage runs its own layers.
    """

    def __init__(self, forward: Callable[..., Any], normalisations: Sequence[nn.modules.batchnorm._NormBase]) -> None:
        self.forward, self.normalisations = forward, normalisations

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - any forward
        if not torch.is_grad_enabled():
            return self.forward(*args, **kwargs)
        if torch.compiler.is_compiling():  # compiled code writes no statistic twice, and cannot enter our contexts
            return checkpoint(lambda: self.forward(*args, **kwargs), use_reentrant=False)
        return checkpoint(self.forward, *args, use_reentrant=False, context_fn=self._contexts, **kwargs)

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """Return what surrounds the first and the second pass."""
        return nullcontext(), self._without_updates()

    @contextmanager
    def _without_updates(self) -> Iterator[None]:
        """Let normalisation layers use the statistics of the batch, but not update the running ones once more."""
        updating = [layer for layer in self.normalisations if layer.training and layer.track_running_stats]
        kept = [(layer.momentum, layer.num_batches_tracked) for layer in updating]
        try:
            # r <- 1 r + 0 x, and no count. Without running statistics torch would save other tensors than before.
            for layer in updating:
                layer.momentum, layer.num_batches_tracked = 0.0, None
            yield
        finally:
            for layer, (momentum, count) in zip(updating, kept, strict=True):
                layer.momentum, layer.num_batches_tracked = momentum, count


def _stages(model: nn.Module, example: Tensor) -> tuple[str, ...]:
    """Return the paths of the stages, in the order of definition."""
    roots = [name for name in ("encoder", "decoder") if isinstance(getattr(model, name, None), nn.Module)]
    with recorded(model) as calls, undisturbed(model), torch.no_grad():
        model(example)
    answered = {call.path for call in calls}
    paths = [path for root in roots for path in _outermost(model.get_submodule(root), root, answered)]
    if not paths:
        reason = "no module in them has layers of its own and returns one tensor" if roots else "it has neither of them"
        raise ConfigError(
            f"{KEY}: {type(model).__name__} has no stages in `encoder` and `decoder` that could be computed again "
            f"({reason}). {CURE}"
        )
    return tuple(paths)


def _outermost(module: nn.Module, path: str, answered: set[str]) -> Iterator[str]:
    for name, child in module.named_children():
        below = f"{path}.{name}"
        if not any(child.children()) or next(child.parameters(), None) is None:
            continue  # a single layer, or nothing that is trained
        if below in answered:
            yield below
        else:
            yield from _outermost(child, below, answered)
