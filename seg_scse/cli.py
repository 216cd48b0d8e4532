"""The command line: arguments to calls, errors to exit codes.

Nothing heavy is imported before it is needed, so that `--help` answers at once.
"""

import argparse
import contextlib
import json
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg_scse.config.loading import load_config
from seg_scse.config.printing import json_schema, to_yaml
from seg_scse.errors import ConfigError, SegScseError

_TRAIN_EXAMPLES = """examples:
  train.py --config configs/quickstart.yaml
  train.py --config configs/nuclei_unet_scse.yaml data.root=/data/dsb2018 trainer.max_epochs=20
  train.py --images scans/images --masks scans/masks --out runs/scans     no configuration needed
  train.py --resume runs/scans                  add data.root=DIR if the data moved
  torchrun --nproc-per-node 4 train.py --config configs/nuclei_unet_scse.yaml
"""
_EVALUATE_EXAMPLES = """examples:
  evaluate.py runs/quickstart
  evaluate.py runs/quickstart --split val --checkpoint last
  evaluate.py runs/nuclei data.root=/data/dsb2018 evaluation.empty=one
"""
_CONFIG_EXAMPLES = """examples:
  seg-scse config check configs/nuclei_unet_scse.yaml trainer.crop=128
  seg-scse config schema > seg_scse.schema.json
"""

Result = dict[str, Any] | None

if TYPE_CHECKING:
    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def _check_train(options: argparse.Namespace) -> None:
    others = (options.config, options.images, options.masks, options.out, options.print_config)
    if options.resume and any(others):
        raise ConfigError("--resume continues a run as it was started: give no configuration, folders or --out.")
    if bool(options.images) != bool(options.masks):
        raise ConfigError("--images and --masks go together: name both folders, or use --config.")
    if options.images and options.config:
        raise ConfigError("--config and --images exclude each other: set data.images and data.masks instead.")
    if not (options.resume or options.config or options.images):
        raise ConfigError("nothing to train on: give --config FILE, or --images DIR --masks DIR, or --resume RUN.")


def _train(options: argparse.Namespace) -> Result:
    _check_train(options)
    if options.config and options.print_config:
        print(to_yaml(load_config(options.config, options.overrides)), end="")
        return None

    from seg_scse import distributed

    with distributed.process_group():
        return _train_and_evaluate(options)


def _train_and_evaluate(options: argparse.Namespace) -> Result:
    from seg_scse import distributed
    from seg_scse.report.curves import plot_curves
    from seg_scse.training import run

    if options.resume:
        outcome = run.resume(options.resume, plot_curves, options.overrides)
    elif options.images:
        from seg_scse.training.autoconfig import choose_config

        config, reasons = choose_config(options.images, options.masks, options.overrides)
        if options.print_config:
            print(to_yaml(config, reasons), end="")
            return None
        outcome = run.start(config, options.out, plot_curves, reasons, options.evaluate)
    else:
        config = load_config(options.config, options.overrides)
        outcome = run.start(config, options.out, plot_curves, evaluate=options.evaluate)
    if distributed.is_main():
        print(f"run: {outcome.folder}")
    if options.evaluate:
        moved = options.overrides if options.resume else []
        return _evaluate_run(outcome.folder, options.evaluate, "best", moved)
    if not distributed.is_main():
        return None
    print(f"next: python evaluate.py {shlex.quote(str(outcome.folder))}")
    return outcome.as_dict()


def _evaluate(options: argparse.Namespace) -> Result:
    if options.run.is_file() and options.checkpoint:
        raise ConfigError(f"{options.run} is a checkpoint file: --checkpoint chooses one of a run folder.")
    from seg_scse import distributed

    with distributed.process_group():
        return _evaluate_run(options.run, options.split, options.checkpoint or "best", options.overrides)


def _evaluate_run(run: Path, split: str, which: str, overrides: Sequence[str]) -> Result:
    from seg_scse.evaluation.evaluate import evaluate
    from seg_scse.report import results_table, write_report

    evaluated = evaluate(run, split, which, overrides)
    if evaluated is None:  # another process writes and reports
        return None
    folder, results = evaluated
    report = write_report(folder)
    print(results_table(results))
    print(f"report: {report}")
    return {**results, "report": str(report)}


def _check_config(options: argparse.Namespace) -> Result:
    config = load_config(options.file, options.overrides)

    from seg_scse.data.cards import resolve_card
    from seg_scse.losses import build_loss
    from seg_scse.models import build_model

    data = resolve_card(config.data)
    build_loss(config.loss, len(data.classes))
    without_download = config.model.model_copy(update={"encoder_weights": None})
    build_model(without_download, 3 if data.channels == "rgb" else 1, len(data.classes))
    print(to_yaml(config.model_copy(update={"data": data})), end="")
    return None


def _print_schema(options: argparse.Namespace) -> Result:
    if options.overrides:
        raise ConfigError(f"`{options.overrides[0]}`: the schema takes no overrides.")
    print(json_schema())
    return None


def _add(
    into: "_Commands", name: str, action: Callable[[argparse.Namespace], Result], text: str, examples: str
) -> argparse.ArgumentParser:
    """Add a command with the options that all commands have."""
    made = into.add_parser(
        name,
        help=text,
        description=text,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.set_defaults(action=action)
    made.add_argument("--debug", action="store_true", help="show the traceback of an error")
    made.add_argument("--json", action="store_true", help="print the result as JSON on stdout, all else on stderr")
    return made


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="seg-scse",
        description="Train and score segmentation networks with squeeze-and-excitation attention.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    train = _add(commands, "train", _train, "Train a network.", _TRAIN_EXAMPLES)
    train.add_argument("--config", type=Path, metavar="FILE", help="YAML configuration")
    train.add_argument("--images", type=Path, metavar="DIR", help="folder of images, to train without a configuration")
    train.add_argument("--masks", type=Path, metavar="DIR", help="folder of masks with the same file stems")
    train.add_argument("--out", type=Path, metavar="DIR", help="run folder (default: runs/<name>, numbered if taken)")
    train.add_argument("--resume", type=Path, metavar="RUN", help="continue an interrupted run")
    train.add_argument("--evaluate", choices=("train", "val", "test"), help="score the best checkpoint afterwards")
    train.add_argument("--print-config", action="store_true", help="print the resolved configuration and stop")

    evaluate = _add(commands, "evaluate", _evaluate, "Score a run on a split.", _EVALUATE_EXAMPLES)
    evaluate.add_argument("run", type=Path, metavar="RUN", help="run folder or checkpoint file")
    evaluate.add_argument("--split", choices=("train", "val", "test"), default="test", help="default: test")
    evaluate.add_argument("--checkpoint", choices=("best", "last"), help="of a run folder; default: best")

    config = commands.add_parser("config", help="Check a configuration or print the schema.", epilog=_CONFIG_EXAMPLES)
    actions = config.add_subparsers(required=True, metavar="ACTION")
    text = "Check a configuration, its card, loss and network, and print it resolved."
    check = _add(actions, "check", _check_config, text, _CONFIG_EXAMPLES)
    check.add_argument("file", type=Path, metavar="FILE")
    _add(actions, "schema", _print_schema, "Print the JSON schema of a configuration.", _CONFIG_EXAMPLES)
    return parser


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse options anywhere; what is left over must be `section.key=value` overrides."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    for text in rest:
        if text.startswith("-") or "=" not in text:
            parser.error(f"unknown argument `{text}`. Overrides are written section.key=value; see --help.")
    options.overrides = rest
    return options


def _run(options: argparse.Namespace) -> None:
    if not options.json:
        options.action(options)
        return
    with contextlib.redirect_stdout(sys.stderr):
        result = options.action(options)
    if result is not None:
        print(json.dumps(result))


def _out_of_memory(error: BaseException) -> bool:
    return type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 internal, 2 usage, 3 data, 4 diverged, 5 write, 6 checkpoint.

    Args:
        arguments: the words after the program's name; default: those of the process.
    """
    options = _parse(sys.argv[1:] if arguments is None else arguments)
    try:
        _run(options)
    except SegScseError as error:
        if options.debug:
            traceback.print_exc()
        print(f"error: {error}" if error.exit_code < 128 else error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if options.debug:
            traceback.print_exc()
        if _out_of_memory(error):
            print("error: out of memory. Halve trainer.batch_size or trainer.crop, or use bf16.", file=sys.stderr)
        else:
            text = f"{type(error).__name__}: {error}"
            print(f"internal error: {text}\nThis is a defect: run again with --debug and report it.", file=sys.stderr)
        return 1
    return 0
