"""`find-lr`: its options, and what it prints. Nothing heavy is imported too early."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from seg_scse.cli import cross_validation
from seg_scse.cli.options import Result, add_command, positive
from seg_scse.config.loading import load_config, override
from seg_scse.errors import ConfigError

if TYPE_CHECKING:
    from seg_scse.cli.options import Commands
    from seg_scse.config.schema import Config
    from seg_scse.training.lr_finder import Finding

_EXAMPLES = """Trains with a learning rate that rises from 1e-7 to 10 and looks where the loss falls: some minutes at
most. What is trained is forgotten. Overrides that change the loss, the batch or the network change the answer.

examples:
  seg-scse find-lr --config configs/nuclei_unet_scse.yaml data.root=/data/dsb2018
  seg-scse find-lr --config my.yaml --steps 200 --out lr optimizer.name=sgd
"""
_STEPS = 100


def register_find_lr(actions: "Commands") -> None:
    """Add `find-lr`."""
    command = add_command(actions, "find-lr", find_lr, "Suggest a learning rate.", _EXAMPLES)
    command.add_argument("--config", type=Path, metavar="FILE", required=True, help="YAML configuration")
    command.add_argument(
        "--steps", type=positive, metavar="N", default=_STEPS, help="optimizer steps, from 20; default: %(default)s"
    )
    text = "folder for table and picture; default: lr_finder/<name>"
    command.add_argument("--out", type=Path, metavar="DIR", help=text)


def find_lr(options: argparse.Namespace) -> Result:
    """Search for a learning rate, write what was seen, and print one line to copy."""
    config = _one_fold(load_config(options.config, options.overrides))
    from seg_scse import distributed
    from seg_scse.report.lr_curve import write_finding
    from seg_scse.training.folder import claim
    from seg_scse.training.lr_finder import FEWEST, find_rate

    if options.steps < FEWEST:
        raise ConfigError(f"--steps {options.steps}: too few to see a loss fall and rise. Give {FEWEST} or more.")
    with distributed.process_group():
        if distributed.world_size() > 1:
            rule = f"find-lr works in one process, not in {distributed.world_size()}"
            raise ConfigError(f"{rule}: start it without torchrun, with the batch of all processes together.")
        folder, created = claim(config.name, options.out or Path("lr_finder") / config.name)
        try:
            finding = find_rate(config, options.steps)
        except BaseException:
            _remove(folder, created)
            raise
    written = [str(path) for path in write_finding(finding, folder)]
    _print(finding, options, written)
    rates = {"lr": _short(finding.valley), "lowest_tenth": _short(finding.tenth)}
    return {**rates, "steps": len(finding.points), "ended": finding.reason, "written": written}


def _one_fold(config: "Config") -> "Config":
    """Return the configuration of one training: of a cross-validation, that of its first fold."""
    return override(config, ["data.split.fold=0"]) if cross_validation.is_wanted(config) else config


def _remove(folder: Path, created: bool) -> None:
    """Remove a folder that was made for nothing, and those above it that hold nothing else."""
    if not created:
        return
    folder.rmdir()
    if folder.parent.name == "lr_finder" and not any(folder.parent.iterdir()):
        folder.parent.rmdir()


def _print(finding: "Finding", options: argparse.Namespace, written: list[str]) -> None:
    early = len(finding.points) < finding.steps
    print(f"ended after {len(finding.points)} of {finding.steps} steps: {finding.reason}" if early else finding.reason)
    for path in written:
        print(f"written: {path}")
    if finding.valley is None or finding.tenth is None:
        print("no suggestion: the loss did not fall. Try more --steps, and check the data with `seg-scse data check`.")
        return
    print(f"lowest loss / 10: {_short(finding.tenth):g}")
    print(f"suggested, halfway down the longest fall of the loss:\noptimizer.lr={_short(finding.valley):g}")
    words = ["python", "train.py", "--config", str(options.config), *options.overrides]
    print(f"next: {shlex.join([*words, f'optimizer.lr={_short(finding.valley):g}'])}")


def _short(rate: float | None) -> float | None:
    """Return a rate with two digits: more would mean nothing."""
    return None if rate is None else float(f"{rate:.1e}")
