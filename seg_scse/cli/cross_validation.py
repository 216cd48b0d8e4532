"""Cross-validation: one run for each fold, below one folder, and one report on all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from seg_scse.cli.options import Result
from seg_scse.cli.pages import write_pages
from seg_scse.config.loading import MAY_DIFFER, load_config, override, refuse_overrides
from seg_scse.config.printing import to_yaml
from seg_scse.config.schema import Config
from seg_scse.errors import ConfigError, Stopped

if TYPE_CHECKING:
    from seg_scse.evaluation.evaluate import Options

CONFIG = "config.yaml"


def is_wanted(config: Config) -> bool:
    """Tell whether a configuration asks for all folds: `data.split.folds` without `data.split.fold`."""
    from seg_scse.data.sets.cards import resolve_card

    split = resolve_card(config.data).split
    return split.folds is not None and split.fold is None


def is_one(run: Path) -> bool:
    """Tell whether a folder is that of a cross-validation."""
    return (run / CONFIG).is_file() and is_wanted(load_config(run / CONFIG))


def train(
    config: Config, out: Path | None, reasons: Mapping[str, str] | None = None, split: str | None = None
) -> Result:
    """Train and score every fold in `RUN/fold0`, `RUN/fold1`, ..., one after the other, and report on all.

    Args:
        config: with `data.split.folds`.
        out: RUN; None chooses `runs/<name>`, with a number where that is taken.
        reasons: comments for the saved configuration, by dotted key.
        split: which split was asked to be scored; only the test folds have a meaning here.

    Returns:
        the content of the common `results.json`, and where the report is; None in processes that do not write.

    Raises:
        SegScseError: see `errors`; where the first fold cannot start, nothing is left behind.
    """
    from seg_scse import distributed
    from seg_scse.data.sets.cards import resolve_card
    from seg_scse.files import write_text
    from seg_scse.training.folder import claim_together, leaving_nothing, require_out
    from seg_scse.training.lock import locked

    _require_test(split)
    require_out(out)
    config = config.model_copy(update={"data": resolve_card(config.data)})
    if out is not None and distributed.restarts() and (out / CONFIG).is_file() and is_one(out):
        _require_equal(out, config)
        return resume(out)
    folder, created = claim_together(config.name, out)
    with locked(folder), leaving_nothing(folder, created, unless=folder / "fold0" / CONFIG):
        _require_new(folder)
        if distributed.is_main():
            header = f"{config.name}: a cross-validation.\nAgain: train.py --config {folder}/{CONFIG}"
            write_text(folder / CONFIG, to_yaml(config, reasons, header))
        return _all_folds(folder, config, ())


def resume(folder: Path, overrides: Sequence[str] = (), allow_change: bool = False) -> Result:
    """Continue a cross-validation: finished folds are kept, an interrupted one goes on, the others follow.

    Args:
        folder: RUN.
        overrides: `section.key=value` texts for the keys of `MAY_DIFFER`, which make no difference to the weights.
        allow_change: is refused: the folds would not be the same experiment.

    Returns:
        as `train`.

    Raises:
        ConfigError: the configuration was changed since a fold was started.
        SegScseError: see `errors`.
    """
    from seg_scse.training.lock import locked

    if allow_change:
        raise ConfigError(
            f"{folder}: the folds of a cross-validation are trained alike, so that --allow-change has no meaning here. "
            "Start another one, or change a fold of its own: --resume RUN/fold0."
        )
    refuse_overrides(overrides, MAY_DIFFER, "The folds of a cross-validation are trained alike.")
    with locked(folder):
        config = load_config(folder / CONFIG)
        for number, fold in enumerate(_folds(folder, config)):
            _refuse_changes(folder, _of_fold(config, number, ()), fold)
        return _all_folds(folder, config, overrides)


def evaluate(
    folder: Path, split: str | None, which: str | None, overrides: Sequence[str], options: "Options"
) -> Result:
    """Score the best checkpoint of every fold again on its test fold, and report on all.

    Args:
        folder: RUN.
        split: must be `test` or None.
        which: must be None or `best`.
        overrides: `section.key=value` texts, as for the evaluation of one run.
        options: for each of the folds.

    Returns:
        as `train`.

    Raises:
        ConfigError: another split or checkpoint.
        SegScseError: see `errors`; a fold without a checkpoint is named.
    """
    from seg_scse.evaluation import evaluate as scoring

    _require_test(split)
    if which == "last":
        raise ConfigError("--checkpoint last: a cross-validation is scored with the best checkpoint of each fold.")
    folds = _folds(folder, load_config(folder / CONFIG))
    for fold in folds:
        chosen = replace(options, notes=fold == folds[0])
        evaluated = scoring.evaluate(fold, "test", "best", overrides, options=chosen)
        if evaluated is not None:
            write_pages(evaluated[0])
    return _report(folder, folds)


def _require_test(split: str | None) -> None:
    if split not in (None, "test"):
        raise ConfigError(f"{split} split: a cross-validation is scored on its test folds, which hold every image.")


def _require_new(folder: Path) -> None:
    from seg_scse import distributed

    # One process looks: for the others the configuration of this run may already be there.
    if distributed.from_main((folder / CONFIG).exists() or (folder / "checkpoints").exists()):
        raise ConfigError(f"{folder}: holds a run already. Continue it with --resume {folder}, or choose --out.")


def _folds(folder: Path, config: Config) -> list[Path]:
    return [folder / f"fold{number}" for number in range(config.data.split.folds or 0)]


def _of_fold(config: Config, number: int, overrides: Sequence[str]) -> Config:
    return override(config, [*overrides, f"data.split.fold={number}"])


def _refuse_changes(folder: Path, config: Config, fold: Path) -> None:
    """Refuse to continue with another configuration than a fold was started with."""
    from seg_scse.training.resuming import differences, refuse_changes

    if (fold / CONFIG).exists():
        changes = differences(load_config(fold / CONFIG), config)
        what = f"{folder / CONFIG} was changed since {fold.name} was started"
        refuse_changes(what, changes, "Undo the change, or start another cross-validation from it.")


def _require_equal(folder: Path, config: Config) -> None:
    """Refuse to go on, after a restart, with another configuration than that of the folder."""
    from seg_scse.training.resuming import differences, refuse_changes

    what = f"{folder}: holds a cross-validation that this command did not start"
    changes = differences(load_config(folder / CONFIG), config)
    refuse_changes(what, changes, f"Continue that one with --resume {folder}, or choose another --out.")


def _all_folds(folder: Path, config: Config, overrides: Sequence[str]) -> Result:
    from seg_scse import distributed

    folds = _folds(folder, config)
    for number, fold in enumerate(folds):
        if distributed.is_main():
            print(f"fold {number} of {len(folds)}: {fold}")
        try:
            _train_fold(fold, _of_fold(config, number, overrides), overrides)
        except Stopped as stop:
            message = f"{stop}\nTo go on with this and the other folds: python train.py --resume {folder}"
            raise Stopped(message, stop.exit_code - 128) from None
        _score_fold(fold, overrides)
    return _report(folder, folds)


def _train_fold(fold: Path, config: Config, overrides: Sequence[str]) -> None:
    from seg_scse import checkpoint
    from seg_scse.report.curves import plot_epoch
    from seg_scse.training import run

    if (fold / checkpoint.LAST).exists():
        run.resume(fold, plot_epoch, overrides)
    else:
        run.start(config, fold, plot_epoch, evaluate="test")


def _score_fold(fold: Path, overrides: Sequence[str]) -> None:
    """Score a fold, unless that was done with these weights."""
    from seg_scse import checkpoint, distributed
    from seg_scse.evaluation import evaluate as scoring
    from seg_scse.evaluation.folds import scored_weights

    is_done = distributed.is_main() and scored_weights(fold) == checkpoint.load(fold / checkpoint.BEST)[1]
    if distributed.from_main(is_done):
        return
    evaluated = scoring.evaluate(fold, "test", "best", overrides, notes=False)
    if evaluated is not None:
        write_pages(evaluated[0])


def _report(folder: Path, folds: Sequence[Path]) -> Result:
    """Put the results of all folds together, and write the common report."""
    from seg_scse import distributed
    from seg_scse.evaluation.folds import merge_folds
    from seg_scse.report import results_table
    from seg_scse.report.folds import folds_line

    if not distributed.is_main():
        return None
    evaluation, results = merge_folds(folder, folds)
    report = write_pages(evaluation)
    print(f"run: {folder}")
    print(f"{results_table(results)}\n{folds_line(evaluation)}")
    print(f"report: {report}")
    return {**results, "run": str(folder), "report": str(report)}
