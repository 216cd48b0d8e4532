"""`trainer.batch_size=auto`: the largest batch that the memory holds, found before training."""

import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from seg_scse import distributed
from seg_scse.config.schema import Config, FineTuneConfig
from seg_scse.data.dataset import Batch
from seg_scse.data.prepare import PreparedData
from seg_scse.errors import ConfigError, is_out_of_memory
from seg_scse.inference.predictor import autocast
from seg_scse.training.building import build_trainer
from seg_scse.training.kept import counting_kept
from seg_scse.training.preflight import MIB, first_batch, optimizer_bytes, putting_back, try_step

if TYPE_CHECKING:
    from seg_scse.training.loop import Trainer

STEPS = 10
"""Steps that an epoch should have at least: a larger batch would train less, not faster."""

SPARE = 0.9
"""Share of a GPU's free memory that is used: blocks of other sizes follow, and memory falls to pieces."""

CPU_SHARE, CPU_PEAK = 0.5, 2.0
"""Share of a machine's free memory that is used, and the peak of a step over what is kept for its backward pass."""

KEY = "trainer.batch_size"


def resolve_batch_size(config: Config, data: PreparedData, device: torch.device) -> tuple[Config, dict[str, str]]:
    """Replace `auto` by a number, which is the same for all processes.

    Returns:
        the configuration, and the reason for the number by dotted key; nothing where a number was given.

    Raises:
        ConfigError: not even one sample fits.
        DataError: a split is empty, or a sample cannot be read.
    """
    if config.trainer.batch_size != "auto":
        return config, {}
    # The weights to start from are not needed to measure, and are looked up once.
    plain = with_batch(config, 1).model_copy(update={"finetune": FineTuneConfig()})
    trainer = build_trainer(plain, data, device, Path(), lambda _: {}, config.model.without_weights())
    sizes = powers_of_two(len(trainer.sampler) // config.trainer.accumulate // STEPS)
    found, why = _by_trial(trainer, sizes) if device.type == "cuda" else _by_bytes(trainer, sizes)
    least = min(distributed.gather(found))
    del trainer
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    if least == 0:
        raise ConfigError(
            f"trainer.batch_size=auto: not even one crop of {config.trainer.crop} x {config.trainer.crop} px fits "
            f"({why}). Lower trainer.crop, or set trainer.gradient_checkpointing=true."
        )
    if least == sizes[0]:
        why = f"more would leave an epoch fewer than {STEPS} steps"
    return with_batch(config, least), {KEY: f"auto: {least} crops per process; {why}"}


def with_batch(config: Config, samples: int) -> Config:
    """Return the configuration with a number for `trainer.batch_size`."""
    trainer = config.trainer.model_copy(update={"batch_size": samples})
    return config.model_copy(update={"trainer": trainer})


def powers_of_two(most: int) -> list[int]:
    """Return the powers of two up to `most`, the largest first; at least 2, which BatchNorm needs, and 1."""
    return [2**power for power in range(max(1, most.bit_length() - 1), -1, -1)]


def largest(sizes: list[int], fits: Callable[[int], bool]) -> int:
    """Return the first size that fits, 0 where none does; running out of memory means that it does not."""
    for size in sizes:
        try:
            if fits(size):
                return size
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        except ValueError as error:  # one value per channel: a size that cannot be trained fits in a sense
            if "Expected more than 1" not in str(error):
                raise
            return size
    return 0


def _by_trial(trainer: "Trainer", sizes: list[int]) -> tuple[int, str]:
    """Try batches on the GPU, each half as large as the one before."""
    one, device = first_batch(trainer, 1), trainer.device
    state = optimizer_bytes(trainer.optimizer)
    free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)

    def fits(size: int) -> bool:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        try_step(trainer, repeated(one, size))
        return torch.cuda.max_memory_reserved(device) + state <= SPARE * free

    return largest(sizes, fits), f"twice as many need more than {SPARE:.0%} of the {free / MIB:.0f} MiB of this GPU"


def _by_bytes(trainer: "Trainer", sizes: list[int]) -> tuple[int, str]:
    """Compare what a crop keeps for the backward pass with the memory that the machine has left."""
    kept = kept_bytes(trainer, first_batch(trainer, 2 if len(trainer.sampler) > 1 else 1))
    free = free_memory() // distributed.local_world_size() - optimizer_bytes(trainer.optimizer)
    found = largest(sizes, lambda size: CPU_PEAK * kept * size <= CPU_SHARE * free)
    return found, (
        f"{kept / MIB:.1f} MiB of each crop are kept for the backward pass, {CPU_PEAK:g} times that is needed, and "
        f"{CPU_SHARE:.0%} of {free / MIB:.0f} MiB may be used"
    )


def repeated(batch: Batch, size: int) -> Batch:
    """Return a batch of `size` copies of the first sample, in the same memory format."""
    images = batch["image"][:1].expand(size, -1, -1, -1).contiguous(memory_format=torch.channels_last)
    return {"image": images, "mask": batch["mask"][:1].repeat(size, 1, 1), "index": batch["index"][:1].repeat(size)}


def kept_bytes(trainer: "Trainer", batch: Batch) -> float:
    """Measure the bytes that the graph of a batch keeps for its backward pass, per sample; weights do not count."""
    learner = trainer.learner
    with putting_back(learner.model, learner.device):
        learner.model.train()
        images, target = learner.images(batch), batch["mask"].to(learner.device)
        with counting_kept(learner.model) as kept:
            with autocast(learner.device, learner.precision):
                logits: Any = learner.model(images)
            learner.loss(logits, target)
    return kept.nbytes / len(batch["index"])


def free_memory() -> int:
    """Return the bytes that this process may still use: of the machine, and of the container it may run in."""
    found = [os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for line in _read(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            found = [int(line.split()[1]) * 1024]
    limit, used = (_read(Path("/sys/fs/cgroup") / name).strip() for name in ("memory.max", "memory.current"))
    if limit.isdecimal() and used.isdecimal():
        found.append(max(0, int(limit) - int(used)))
    return min(found)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""
