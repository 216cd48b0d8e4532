"""Learning curves of all runs of a study in one table and one figure."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from seg_scse.config.loading import load_config
from seg_scse.config.schema import Config
from seg_scse.files import atomic_stream
from seg_scse.report.study_curves import COLUMNS, FILE, plot_study_curves
from seg_scse.study.cells import Cell, cells
from seg_scse.study.declaration import Declaration
from seg_scse.training.records import EPOCHS, STEPS, CsvLog

_NOT_FINITE = frozenset({"nan", "inf", "-inf"})


def curves(folder: Path) -> Path:
    """Write `curves.csv` of a study, finished or not, and draw `curves.png` where a run has begun.

    Args:
        folder: of the study.

    Returns:
        the path of the table.

    Raises:
        ConfigError: the study, or the configuration of a run, is damaged.
        WriteError: the folder cannot be written.
    """
    declaration = Declaration.read(folder)
    path = write_curves(folder, cells(folder, declaration))
    plot_study_curves(folder, [one.name for one in declaration.variants])
    return path


def write_curves(folder: Path, runs: Sequence[Cell]) -> Path:
    """Write `curves.csv`: a row for each batch (optimizer step) and each epoch of the runs that have begun.

    Numbers are copied from `steps.csv` and `epochs.csv` as they stand there, so epochs and batches count from 0, and
    `step` of an epoch is the number of steps done; what is not finite is left empty. A batch has `loss` and `score`,
    its soft Dice, which is 1 - `loss_dice` where `has_soft_dice`; an epoch has `loss`, the mean over its batches,
    `val_loss`, and `val_score`, the score that chooses the best checkpoint (`trainer.monitor`).

    Args:
        folder: of the study.
        runs: its runs; those without a log are left out.

    Returns:
        the path of the table.

    Raises:
        ConfigError: the configuration of a run is damaged.
        WriteError: the folder cannot be written.
    """
    path = folder / FILE
    with atomic_stream(path) as stream:
        stream.write((",".join(COLUMNS) + "\n").encode())
        for run in runs:
            if (run.folder / STEPS).exists():
                stream.write("".join(f"{','.join(row)}\n" for row in _rows(run)).encode())
    return path


def has_soft_dice(config: Config) -> bool:
    """Tell whether 1 - `loss_dice` in `steps.csv` is the soft Dice of the batch.

    That is 2 tp / (2 tp + fp + fn) of the probabilities over the batch, mean over its foreground classes. A class that
    no pixel of the batch has cannot be scored so: the mean probability given to it is taken off. Not so with deep
    supervision, whose loss is a mean over several sizes, nor with mixup, whose loss is against two masks at once; of
    several batches to a step (`trainer.accumulate`) it is the mean.
    """
    mixed = config.augmentation.mix == "mixup" and config.augmentation.mix_share > 0.0
    return "dice" in config.loss.terms and not config.model.deep_supervision and not mixed


def _rows(run: Cell) -> Iterator[tuple[str, ...]]:
    config = load_config(run.folder / "config.yaml")
    scored = has_soft_dice(config)
    of = (run.variant, str(run.seed), "" if run.fold is None else str(run.fold))
    for row in CsvLog.rows(run.folder / STEPS):
        score = _soft_dice(row["loss_dice"]) if scored else ""
        yield *of, "batch", row["epoch"], row["step"], _finite(row["loss"]), score, "", ""
    for row in CsvLog.rows(run.folder / EPOCHS):
        values = (_finite(row[name]) for name in ("val_loss", config.trainer.monitor))
        yield *of, "epoch", row["epoch"], row["step"], _finite(row["train_loss"]), "", *values


def _finite(text: str) -> str:
    return "" if text in _NOT_FINITE else text


def _soft_dice(text: str) -> str:
    return repr(1.0 - float(text)) if _finite(text) else ""
