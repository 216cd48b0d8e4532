"""`train`: its options, and which of the ways to train was asked for. Nothing heavy is imported too early."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from seg_scse.cli import cross_validation
from seg_scse.cli.evaluating import evaluate_run
from seg_scse.cli.options import Result, add_command
from seg_scse.config.loading import MAY_MOVE, load_config
from seg_scse.config.printing import to_yaml
from seg_scse.errors import ConfigError, Stopped

if TYPE_CHECKING:
    from seg_scse.cli.options import Commands
    from seg_scse.config.schema import Config
    from seg_scse.training.run import Outcome

_EXAMPLES = """examples:
  train.py --config configs/quickstart.yaml
  train.py --config configs/nuclei_unet_scse.yaml data.root=/data/dsb2018 trainer.max_epochs=20
  train.py --images scans/images --masks scans/masks --out runs/scans    no configuration needed
  train.py --config my.yaml trainer.batch_size=auto                      the largest batch that the memory holds

  train.py --resume runs/scans                                           add data.root=DIR if the data moved
  train.py --resume runs/scans --allow-change trainer.max_epochs=100     longer than it was to be

  train.py --config my.yaml --from runs/nuclei                           fine-tune a run; or a .ckpt, a .safetensors
  train.py --config my.yaml --from owner/name finetune.freeze='[encoder]'    a network of the Hugging Face Hub

  torchrun --nproc-per-node 4 train.py --config my.yaml
  torchrun --nproc-per-node 2 train.py --resume runs/scans               the batch of all processes stays as it was
  torchrun --nproc-per-node 4 --max-restarts 3 train.py --config my.yaml --out runs/my
"""


def register_train(actions: "Commands") -> None:
    """Add `train`."""
    command = add_command(actions, "train", train, "Train a network.", _EXAMPLES)
    command.add_argument("--config", type=Path, metavar="FILE", help="YAML configuration")
    text = "folder of images, to train without a configuration"
    command.add_argument("--images", type=Path, metavar="DIR", help=text)
    command.add_argument("--masks", type=Path, metavar="DIR", help="folder of masks with the same file stems")
    text = "run folder (default: runs/<name>, numbered if taken)"
    command.add_argument("--out", type=Path, metavar="DIR", help=text)
    text = "start from a trained network, as finetune.source=SOURCE: what fits is loaded, and listed"
    command.add_argument("--from", dest="source", metavar="SOURCE", help=text)
    command.add_argument("--resume", type=Path, metavar="RUN", help="continue an interrupted run")
    text = "with --resume: go on although settings or data are not those of the checkpoint; says what follows"
    command.add_argument("--allow-change", action="store_true", help=text)
    text = "score the best checkpoint afterwards"
    command.add_argument("--evaluate", choices=("train", "val", "test"), help=text)
    command.add_argument("--print-config", action="store_true", help="print the resolved configuration and stop")


def train(options: argparse.Namespace) -> Result:
    """Train a network, and score it if asked."""
    _check(options)
    if options.source is not None:
        options.overrides = [*options.overrides, f"finetune.source={options.source}"]
    if options.config and options.print_config:
        print(to_yaml(load_config(options.config, options.overrides)), end="")
        return None

    from seg_scse import distributed
    from seg_scse.training.signals import ending_on_sigterm

    with distributed.process_group(), ending_on_sigterm():
        try:
            return _train_and_evaluate(options)
        except Stopped as stop:
            if stop.folder is not None:
                _print_summary(stop.folder)
            raise


def _check(options: argparse.Namespace) -> None:
    others = (options.config, options.images, options.masks, options.out, options.print_config, options.source)
    if options.resume and any(others):
        raise ConfigError(
            "--resume continues a run as it was started: give no configuration, folders, --from or --out."
        )
    if options.resume and options.resume.is_file():
        run = options.resume.parent.parent if options.resume.suffix == ".ckpt" else "RUN"
        raise ConfigError(
            f"--resume {options.resume}: is a file, and a run is continued by its folder, from its last checkpoint: "
            f"--resume {run}. To start anew from these weights: --from {options.resume}."
        )
    if options.allow_change and not options.resume:
        raise ConfigError("--allow-change goes with --resume: a new run takes any settings.")
    if bool(options.images) != bool(options.masks):
        raise ConfigError("--images and --masks go together: name both folders, or use --config.")
    if options.images and options.config:
        raise ConfigError("--config and --images exclude each other: set data.images and data.masks instead.")
    if not (options.resume or options.config or options.images):
        raise ConfigError("nothing to train on: give --config FILE, or --images DIR --masks DIR, or --resume RUN.")
    if options.source is not None and any(text.startswith("finetune.source=") for text in options.overrides):
        raise ConfigError("--from and finetune.source say the same: give one of them.")


def _train_and_evaluate(options: argparse.Namespace) -> Result:
    from seg_scse.report.curves import plot_epoch
    from seg_scse.training import run

    if options.resume and cross_validation.is_one(options.resume):
        return cross_validation.resume(options.resume, options.overrides, options.allow_change)
    if options.resume:
        outcome = run.resume(options.resume, plot_epoch, options.overrides, options.allow_change)
        return _report_outcome(outcome, options)
    config, reasons = _chosen_config(options)
    if options.print_config:
        print(to_yaml(config, reasons), end="")
        return None
    if cross_validation.is_wanted(config):
        return cross_validation.train(config, options.out, reasons, options.evaluate)
    return _report_outcome(run.start(config, options.out, plot_epoch, reasons, options.evaluate), options)


def _chosen_config(options: argparse.Namespace) -> "tuple[Config, dict[str, str]]":
    """Return the configuration and, where it was chosen by looking at folders, the reasons."""
    if not options.images:
        return load_config(options.config, options.overrides), {}
    from seg_scse.training.autoconfig import choose_config

    return choose_config(options.images, options.masks, options.overrides)


def _report_outcome(outcome: "Outcome", options: argparse.Namespace) -> Result:
    from seg_scse import distributed

    _print_summary(outcome.folder)
    if options.evaluate:
        moved = [text for text in options.overrides if text.partition("=")[0] in MAY_MOVE] if options.resume else []
        return evaluate_run(outcome.folder, options.evaluate, moved)
    return outcome.as_dict() if distributed.is_main() else None


def _print_summary(folder: Path) -> None:
    from seg_scse import distributed
    from seg_scse.report.summary import summary

    if distributed.is_main():
        print(summary(folder))
