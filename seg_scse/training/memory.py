"""What to do about memory that ran out."""

from pathlib import Path

from seg_scse.config.schema import Config
from seg_scse.errors import SegScseError
from seg_scse.training.journal import kept


def out_of_memory(config: Config, samples: int, where: str, precision: str, folder: Path) -> SegScseError:
    """Return the error that says how to halve the memory and go on.

    Args:
        config: the configuration.
        samples: samples per forward pass of this process.
        where: what was being done, such as `step 12`.
        precision: fp32, bf16 or fp16.
        folder: the run folder.
    """
    trainer = config.trainer
    cures = [] if samples == 1 else [_halved(samples, trainer.accumulate)]
    if precision == "fp32":
        cures.append("trainer.precision=bf16 halves what the network keeps")
    if not trainer.gradient_checkpointing:
        cures.append("trainer.gradient_checkpointing=true keeps less of it and is slower")
    cures.append(f"trainer.crop={max(32, trainer.crop // 64 * 32)}")
    saved = kept(folder)
    again = (
        f" Go on from it with: python train.py --resume {folder} --allow-change ..."
        if saved.startswith("Kept:")
        else ""
    )
    return SegScseError(
        f"{where}: out of memory with batches of {samples} crops of {trainer.crop} x {trainer.crop} px in {precision}. "
        f"Any of these needs less: {'; '.join(cures)}.\n{saved}{again}"
    )


def _halved(samples: int, accumulate: int) -> str:
    if samples % 2:
        return f"trainer.batch_size={samples // 2 or 1}"
    return (
        f"`trainer.batch_size={samples // 2} trainer.accumulate={2 * accumulate}` halves it and keeps the step the same"
    )
