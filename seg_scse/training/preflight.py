"""Before the first step: room for the checkpoints, and one batch forward and backward without a trace."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from seg_scse.config.schema import Config
from seg_scse.data.dataset import Batch
from seg_scse.data.sampler import Key
from seg_scse.errors import ConfigError, DataError, WriteError, is_out_of_memory
from seg_scse.inference.predictor import autocast
from seg_scse.training.memory import out_of_memory

if TYPE_CHECKING:
    from seg_scse.training.loop import Trainer

MIB = 2**20


def preflight(trainer: "Trainer", samples: int) -> str:
    """Find what would make the first step, or a checkpoint, fail; nothing of the trainer is changed.

    Args:
        trainer: about to `fit`, with its state loaded where the run is resumed.
        samples: samples per forward pass of this process.

    Returns:
        a line on the room that the checkpoints take.

    Raises:
        WriteError: the disk has no room for the checkpoints.
        ConfigError: a batch that BatchNorm cannot normalise, or parameters that the loss does not reach.
        SegScseError: out of memory.
        DataError: a sample of the first batch cannot be read.
    """
    room = require_room(trainer.folder, checkpoint_bytes(trainer), trainer.config.trainer.save_top_k)
    batch = first_batch(trainer, samples)
    try:
        missing = try_step(trainer, batch)
    except ValueError as error:
        raise _too_few(error, trainer.config, samples) from error
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise out_of_memory(
            trainer.config, samples, "before the first step", trainer.precision, trainer.folder
        ) from error
    if missing:
        raise ConfigError(
            f"{len(missing)} trainable parameters have no influence on the loss, so that they would never be trained "
            f"(first: {missing[0]}). Leave out the part of the network that they belong to, or freeze it: "
            f"finetune.freeze."
        )
    return room


def first_batch(trainer: "Trainer", samples: int) -> Batch:
    """Draw the first `samples` samples of the first epoch, without the loader.

    Raises:
        DataError: one cannot be read.
    """
    trainer.sampler.position(0, 0)
    keys: list[Key] = []
    for part in trainer.sampler:
        keys += part
        if len(keys) >= samples:
            break
    drawn: Any = trainer.loader.dataset.__getitems__(keys[:samples])  # type: ignore[attr-defined]
    batch = trainer.loader.collate_fn(drawn)
    if isinstance(batch, DataError):
        raise batch
    drawn_batch: Batch = batch
    return drawn_batch


def try_step(trainer: "Trainer", batch: Batch) -> list[str]:
    """Take a batch forward and backward as a training step does, and forget all of it.

    Returns:
        names of trainable parameters without a gradient.
    """
    learner = trainer.learner
    learner.freezing.apply(trainer.progress.epoch)
    named = {name: value for name, value in learner.model.named_parameters() if value.requires_grad}
    with putting_back(learner.model, learner.device):
        learner.freezing.train(learner.model)
        images, target = learner.images(batch), batch["mask"].to(learner.device)
        with autocast(learner.device, learner.precision):
            logits = learner.model(images)
        total: Tensor = learner.loss(logits, target)[0]
        # not .backward(): nothing is added to .grad, and hooks of several processes are not called
        gradients = torch.autograd.grad(total, list(named.values()), allow_unused=True)
    return [name for name, gradient in zip(named, gradients, strict=True) if gradient is None]


@contextmanager
def putting_back(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Put random numbers, buffers and the training mode of a network back as they were."""
    modes = {module: module.training for module in model.modules()}
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)
            for module, mode in modes.items():
                module.training = mode


def _too_few(error: ValueError, config: Config, samples: int) -> Exception:
    """Explain the refusal of BatchNorm to normalise one value, or return the error as it is."""
    if "Expected more than 1" not in str(error):
        return error
    settings = config.trainer
    return ConfigError(
        f"trainer.batch_size={samples} with trainer.crop={settings.crop}: a normalisation layer of the network has one "
        f"value per channel ({samples} x 1 x 1 px at its lowest resolution) and cannot normalise it. Choose "
        f"trainer.batch_size=2 or more, or trainer.crop={2 * settings.crop}."
    )


def checkpoint_bytes(trainer: "Trainer") -> int:
    """Estimate the size of a checkpoint: weights, their average, and what the optimizer keeps for each of them."""
    learner = trainer.learner
    weights = _bytes(learner.model.state_dict())
    averaged = 0 if learner.scored is learner.model else _bytes(learner.scored.state_dict())
    return weights + averaged + optimizer_bytes(learner.optimizer)


def optimizer_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Return the bytes that an optimizer keeps once it has done a step: two copies for Adam, one for momentum."""
    total = 0
    for group in optimizer.param_groups:
        copies = 2 if "betas" in group else int(group.get("momentum", 0) > 0)
        total += copies * sum(value.nbytes for value in group["params"])
    return total


def require_room(folder: Path, size: int, best: int) -> str:
    """Refuse a disk without room for the checkpoints, and say how large they are.

    One more is counted than is kept, because a file is removed only after the next one is complete.

    Args:
        folder: the run folder.
        size: bytes of a checkpoint.
        best: how many of the best ones are kept beside the last.

    Raises:
        WriteError: with the bytes needed and free.
    """
    present = sum(file.stat().st_size for file in folder.glob("checkpoints/*.ckpt"))
    needed, free = (best + 2) * size - present, shutil.disk_usage(folder).free
    if free < needed:
        raise WriteError(
            f"{folder}: {needed:,} bytes are needed for the checkpoints ({best + 1} of {size:,} bytes and one being "
            f"written), {free:,} bytes are free. Free some room, choose another --out, or lower trainer.save_top_k."
        )
    return f"{best + 1} checkpoints of {size / MIB:.0f} MiB"


def _bytes(state: Mapping[str, Any] | Sequence[Tensor]) -> int:
    values = state.values() if isinstance(state, Mapping) else state
    return sum(value.nbytes for value in values if isinstance(value, Tensor))
