"""The options of `seg-scse data`, and their help."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from seg_scse.cli import data_commands
from seg_scse.cli.options import add_command, positive

if TYPE_CHECKING:
    from seg_scse.cli.options import Commands

_DATA_EXAMPLES = """examples:
  seg-scse data list
  seg-scse data prepare dsb2018 --root /data --archive ~/Downloads/stage1_train.zip
  seg-scse data check --images scans/images --masks scans/masks
  seg-scse data split --config my.yaml data.split.group='^(patient\\d+)_'
"""
_LIST_EXAMPLES = """examples:
  seg-scse data list
  seg-scse data list --root /data        and which of them are there
  seg-scse data list --json
"""
_PREPARE_EXAMPLES = """What is in DIR is verified, else unpacked from its archives, else downloaded; else you are told
what to fetch by hand. Downloads that were cut go on where they were.

examples:
  seg-scse data prepare kvasir_seg --root /data
  seg-scse data prepare dsb2018 --root /data --archive ~/Downloads/stage1_train.zip
  seg-scse data prepare path/to/card.yaml --root /data --no-download
"""
_CHECK_EXAMPLES = """Lists everything that is wrong, writes a page with pictures, and ends with exit code 3 if training
would refuse the data. Nothing is changed.

examples:
  seg-scse data check --config my.yaml
  seg-scse data check --images scans/images --masks scans/masks --out check
  seg-scse data check data.card=dsb2018 data.root=/data/dsb2018
"""
_SPLIT_EXAMPLES = """Divides the samples as a training would and says what each split holds. The table serves as
data.split.file.

examples:
  seg-scse data split --config my.yaml
  seg-scse data split --config my.yaml --out splits.csv data.split.stratify=true
  seg-scse data split --config my.yaml --out splits.csv data.split.folds=5     splits-fold0.csv ... splits-fold4.csv
"""


def register_data(actions: "Commands") -> None:
    """Add `data` and its commands."""
    text = "List public data sets, get one ready, check data, divide them."
    data = actions.add_parser(
        "data",
        help=text,
        description=text,
        epilog=_DATA_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    steps = data.add_subparsers(title="commands", required=True, metavar="ACTION")

    listing = add_command(steps, "list", data_commands.list_cards, "List the data sets with a card.", _LIST_EXAMPLES)
    listing.add_argument("--root", type=Path, metavar="DIR", help="folder of data sets: say which are there")

    text = "Get a public data set ready."
    prepare = add_command(steps, "prepare", data_commands.prepare, text, _PREPARE_EXAMPLES)
    prepare.add_argument("name", metavar="NAME", help="name of a card (see `seg-scse data list`), or its file")
    text = "folder that holds the data or their archives, or is to; the data come into DIR/NAME"
    prepare.add_argument("--root", type=Path, metavar="DIR", help=text)
    prepare.add_argument("--archive", nargs="+", metavar="FILE", help="archives that lie elsewhere")
    prepare.add_argument("--no-download", action="store_true", help="do not use the network")
    text = "seconds without a byte after which a connection counts as broken; default: 60"
    prepare.add_argument("--timeout", type=positive, metavar="S", default=60, help=text)

    text = "List everything that is wrong with data, before training."
    check = add_command(steps, "check", data_commands.check, text, _CHECK_EXAMPLES)
    _add_config(check)
    check.add_argument("--images", type=Path, metavar="DIR", help="folder of images, to check without a configuration")
    check.add_argument("--masks", type=Path, metavar="DIR", help="folder of masks with the same file stems")
    text = "folder for the page, the table and the splits; default: data-check/<name>"
    check.add_argument("--out", type=Path, metavar="DIR", help=text)

    text = "Divide data into train, val and test, and say what each holds."
    split = add_command(steps, "split", data_commands.split, text, _SPLIT_EXAMPLES)
    _add_config(split)
    split.add_argument("--out", type=Path, metavar="FILE", help="table to write (CSV: id, split, group)")


def _add_config(command: argparse.ArgumentParser) -> None:
    text = "YAML configuration; not needed where data.card or data.images says all"
    command.add_argument("--config", type=Path, metavar="FILE", help=text)
