"""`evaluate`: its options, and which of the ways to score was asked for. Nothing heavy is imported too early."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg_scse.cli import cross_validation
from seg_scse.cli.options import Result, add_command
from seg_scse.cli.pages import report
from seg_scse.cli.tables import aligned
from seg_scse.errors import ConfigError

if TYPE_CHECKING:
    from seg_scse.cli.options import Commands
    from seg_scse.evaluation.evaluate import Options
    from seg_scse.evaluation.prediction_files import Encoding

_EXAMPLES = """examples:
  evaluate.py runs/quickstart
  evaluate.py runs/quickstart --split val --checkpoint last
  evaluate.py runs/nuclei data.root=/data/dsb2018 evaluation.empty=one evaluation.surface=false
  evaluate.py runs/nuclei --tta flips --threshold tune:val
  evaluate.py runs/seed0 runs/seed1 runs/seed2          each by itself, then mean, spread and interval over the runs
  evaluate.py runs/seed0 runs/seed1 --ensemble          the mean of their probabilities
  evaluate.py runs/five_folds --ensemble --data configs/other.yaml data.root=/data/other
  evaluate.py runs/nuclei --data other_card data.root=/data/other      another data set than that of the training
  evaluate.py runs/nuclei --save-predictions predictions               label maps as PNG, one value per class
  evaluate.py predictions --data configs/nuclei.yaml data.root=/data/dsb2018 --split test
  evaluate.py --masks-only truth predictions data.mask.encoding=binary 'data.classes=[background, cell]'
  evaluate.py runs/nuclei_scse --frozen-gates                          each gate at its mean over training images
  torchrun --nproc-per-node 4 evaluate.py runs/nuclei                  each image by one of the processes

results:
  RUN/evaluation/SPLIT                    one run; SPLIT-last, SPLIT-on-NAME, SPLIT-frozen: another checkpoint, data
                                          set, frozen gates
  A+B-SPLIT, beside A                     the table over several runs
  A+B-ensemble/evaluation/SPLIT, beside A
  PREDICTIONS-evaluation/SPLIT            beside a folder of predictions; PREDICTION-evaluation/all for --masks-only
"""


def register_evaluate(actions: "Commands") -> None:
    """Add `evaluate`."""
    text = "Score runs, ensembles of runs, or folders of predictions."
    command = add_command(actions, "evaluate", evaluate, text, _EXAMPLES)
    text = "run folder or checkpoint file, or several; or, with --data, a folder of predictions named by sample id"
    command.add_argument("runs", nargs="*", metavar="RUN", help=text)
    command.add_argument("--split", choices=("train", "val", "test"), help="default: test")
    command.add_argument("--checkpoint", choices=("best", "last"), help="of a run folder; default: best")
    text = "score on another data set: a configuration (its data section) or a card; data.* overrides describe it"
    command.add_argument("--data", metavar="FILE|CARD", help=text)
    text = "average over mirrored (flips: 4) or mirrored and turned (d4: 8) copies"
    command.add_argument("--tta", choices=("none", "flips", "d4"), help=text)
    text = "probability above which a class is predicted; tune:val: the best one on the validation split"
    command.add_argument("--threshold", type=_threshold, metavar="T", help=text)
    command.add_argument("--ensemble", action="store_true", help="score the mean of the probabilities of all RUNs")
    text = "with the mean of each gate over training images in its place: what is lost, looking at the image was worth"
    command.add_argument("--frozen-gates", action="store_true", help=text)
    text = "score two folders of masks against each other, without a network or images"
    command.add_argument("--masks-only", nargs=2, metavar=("TRUTH", "PREDICTION"), help=text)
    text = "what the values of predicted files are; default: index, with --masks-only as data.mask.encoding"
    command.add_argument("--encoding", choices=("index", "palette", "binary"), help=text)
    text = "also write the predicted label maps, DIR/<id>.png"
    command.add_argument("--save-predictions", type=Path, metavar="DIR", help=text)
    command.add_argument("--out", type=Path, metavar="DIR", help="folder for the results; default: see below")


def _threshold(text: str) -> float | str:
    if text == "tune:val":
        return text
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"`{text}` is neither a number between 0 and 1 nor tune:val")
    return value


def evaluate(options: argparse.Namespace) -> Result:
    """Score what was asked for."""
    way = _way(options, options.runs)
    from seg_scse import distributed

    with distributed.process_group():
        return way(options, options.runs)


def _way(options: argparse.Namespace, runs: Sequence[Path]) -> Callable[[argparse.Namespace, Sequence[Path]], Result]:
    """Return what scores, after refusing options that it would ignore."""
    if options.masks_only:
        _refuse(options, "--masks-only", "runs", "split", "checkpoint", "data", *_OF_NETWORKS, "save_predictions")
        return _masks_only
    if not runs:
        raise ConfigError("nothing to score: name a run, or --masks-only TRUTH PREDICTION. See --help.")
    for run in runs:
        _require_scorable(run, options, alone=len(runs) == 1)
    if options.data and _is_predictions(runs[0]):
        _refuse(
            options, f"{runs[0]} is a folder of predictions, no run", "checkpoint", *_OF_NETWORKS, "save_predictions"
        )
        return _predictions
    if options.encoding:
        raise ConfigError("--encoding says how files of predictions are read: it has no meaning for a network.")
    if options.frozen_gates:
        _require_frozen(options, runs)
        return _frozen
    if options.ensemble:
        return _ensemble
    if len(runs) > 1:
        return _several
    return _crossed if cross_validation.is_one(runs[0]) else _one


def _require_frozen(options: argparse.Namespace, runs: Sequence[Path]) -> None:
    """Refuse what does not go with frozen gates."""
    if len(runs) > 1 or cross_validation.is_one(runs[0]):
        raise ConfigError("--frozen-gates scores one network: name one run, or one fold of a cross-validation.")
    _refuse(options, "--frozen-gates", "checkpoint", "data", "threshold", "ensemble", "save_predictions", "out")


def _require_scorable(run: Path, options: argparse.Namespace, alone: bool) -> None:
    """Refuse what is neither a run nor, by itself and with its data, a folder of predictions."""
    if run.is_file() and options.checkpoint:
        raise ConfigError(f"{run} is a checkpoint file: --checkpoint chooses one of a run folder.")
    if _is_predictions(run) and not options.data:
        raise ConfigError(
            f"{run}: is no run, for it has neither config.yaml nor checkpoints. If it holds predictions, say with "
            "--data of which data; two folders of masks are scored with --masks-only."
        )
    if _is_predictions(run) and not alone:
        raise ConfigError(f"{run} is a folder of predictions, no run: score one such folder at a time.")


_OF_NETWORKS = ("tta", "threshold", "ensemble", "frozen_gates")


def _refuse(options: argparse.Namespace, what: str, *names: str) -> None:
    given = [name for name in names if getattr(options, name)]
    if given:
        name = "RUN" if given[0] == "runs" else f"--{given[0].replace('_', '-')}"
        raise ConfigError(f"{what}: {name} has no meaning here, leave it out.")


def _is_predictions(folder: Path) -> bool:
    """Tell a folder of files from a run, which has a configuration or checkpoints."""
    return folder.is_dir() and not (folder / "config.yaml").exists() and not (folder / "checkpoints").exists()


def _overrides(options: argparse.Namespace) -> list[str]:
    tta = [] if options.tta is None else [f"evaluation.tta={options.tta}"]
    return [*options.overrides, *tta]


def _options(options: argparse.Namespace, **changes: Any) -> "Options":  # noqa: ANN401
    from seg_scse.evaluation.evaluate import Options

    given = {"data": options.data, "threshold": options.threshold, "out": options.out, "save": options.save_predictions}
    return Options(**{**given, **changes})


def evaluate_run(run: Path, split: str, overrides: Sequence[str]) -> Result:
    """Score the best checkpoint of a run that was just trained, and report."""
    from seg_scse.evaluation import evaluate as scoring

    return report(scoring.evaluate(run, split, "best", overrides, notes=False))


def _one(options: argparse.Namespace, runs: Sequence[Path]) -> Result:
    from seg_scse.evaluation import evaluate as scoring

    split, which = options.split or "test", options.checkpoint or "best"
    return report(scoring.evaluate(runs[0], split, which, _overrides(options), options=_options(options)))


def _frozen(options: argparse.Namespace, runs: Sequence[Path]) -> Result:
    from seg_scse.evaluation.frozen import evaluate_frozen

    return report(evaluate_frozen(runs[0], options.split or "test", _overrides(options)))


def _ensemble(options: argparse.Namespace, runs: Sequence[Path]) -> Result:
    from seg_scse.evaluation import evaluate as scoring

    split, which = options.split or "test", options.checkpoint or "best"
    return report(scoring.evaluate_ensemble(runs, split, which, _overrides(options), _options(options)))


def _crossed(options: argparse.Namespace, runs: Sequence[Path]) -> Result:
    what = f"{runs[0]} is a cross-validation, whose folds are scored on their own test images"
    if options.data:
        raise ConfigError(f"{what}: give --ensemble to score the mean of its folds on another data set.")
    if options.threshold == "tune:val":
        raise ConfigError(f"{what}: each would have a threshold of its own. Give a number, or score the folds by name.")
    _refuse(options, what, "out")
    choices = _options(options)
    return cross_validation.evaluate(runs[0], options.split, options.checkpoint, _overrides(options), choices)


def _predictions(options: argparse.Namespace, runs: Sequence[Path]) -> Result:
    from seg_scse.evaluation.predictions import score_predictions

    encoding: Encoding = options.encoding or "index"
    split = options.split or "test"
    return report(score_predictions(runs[0], options.data, split, options.overrides, encoding, options.out))


def _masks_only(options: argparse.Namespace, _: Sequence[Path]) -> Result:
    from seg_scse.evaluation.predictions import score_masks

    truth, prediction = map(Path, options.masks_only)
    return report(score_masks(truth, prediction, options.overrides, options.encoding, options.out))


def _several(options: argparse.Namespace, runs: Sequence[Path]) -> Result:
    from seg_scse import distributed
    from seg_scse.evaluation import evaluate as scoring
    from seg_scse.evaluation import several
    from seg_scse.evaluation.members import beside, names_of

    for run in runs:
        if cross_validation.is_one(run):
            raise ConfigError(f"{run} is a cross-validation: score it by itself, or all together with --ensemble.")
    split, which = options.split or "test", options.checkpoint or "best"
    several.require_comparable(runs, which, options.data is None)
    names, folders = names_of(runs), []
    for name, run in zip(names, runs, strict=True):
        own = options.save_predictions and options.save_predictions / name
        chosen = _options(options, out=None, notes=run == runs[0], save=own)
        evaluated = scoring.evaluate(run, split, which, _overrides(options), options=chosen)
        if distributed.is_main():
            print(f"run: {run}")
            report(evaluated)
        if evaluated is not None:
            folders.append(evaluated[0])
    if not distributed.is_main():
        return None
    folder = options.out or beside(runs, folders[0].name)
    summary = several.summarise(names, folders, folder)
    print(runs_table(summary))
    print(f"written: {folder / several.TABLE}")
    return {**summary, "folder": str(folder)}


def runs_table(summary: dict[str, Any]) -> str:
    """Lay out mean, standard deviation and interval over the runs of the scores that are most asked for."""
    shown = ("dice_per_image", "dice_pooled", "iou_per_image", "iou_pooled", "hd95_per_image", "nsd_per_image")
    rows: list[list[object]] = [["score", "class", "mean", "sd", f"{summary['bootstrap']['level']:.0%} interval"]]
    for name in shown:
        for label, mean in summary["mean"].get(name, {}).items():
            if mean is None:  # such as the distances of the background, which are not measured
                continue
            spread, ends = summary["sd"][name][label], (summary["intervals"].get(name) or {}).get(label)
            interval = "n/a" if ends is None else f"{ends[0]:.4f} to {ends[1]:.4f}"
            rows.append([name, label, f"{mean:.4f}", "n/a" if spread is None else f"{spread:.4f}", interval])
    heading = f"{len(summary['runs'])} runs, {summary['split']} split, {summary['images']} images"
    return f"{heading}\n{aligned(rows)}"
