"""The options of the commands, and their help."""

import argparse
from pathlib import Path

from seg_scse.cli import commands
from seg_scse.cli.ablating import register_ablate
from seg_scse.cli.card import register_card
from seg_scse.cli.comparing import register_compare
from seg_scse.cli.data_arguments import register_data
from seg_scse.cli.evaluating import register_evaluate
from seg_scse.cli.exporting import register_export
from seg_scse.cli.finding import register_find_lr
from seg_scse.cli.options import add_command, natural, positive
from seg_scse.cli.predicting import register_predict
from seg_scse.cli.training import register_train

_EXPLAIN_EXAMPLES = """examples:
  seg-scse explain runs/quickstart
  seg-scse explain runs/nuclei --images 0a7d30b2 scans/new.png --limit 50 data.root=/data/dsb2018
  seg-scse explain runs/nuclei --images scans/new.png --limit 0     the data set is not needed
  seg-scse explain runs/spleen --images scans/new.nii.gz:40         slice 40 of a volume, from 0
  seg-scse explain runs/nuclei --intervene                          replace gates and score the change
  seg-scse explain runs/nuclei --intervene --sites decoder.5 --limit 40
"""
_CONFIG_EXAMPLES = """examples:
  seg-scse config check configs/nuclei_unet_scse.yaml trainer.crop=128
  seg-scse config schema > seg_scse.schema.json
"""


def build_parser() -> argparse.ArgumentParser:
    """Describe all commands and their options."""
    parser = argparse.ArgumentParser(
        prog="seg-scse",
        description="Train and score segmentation networks with squeeze-and-excitation attention.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    register_train(actions)
    register_find_lr(actions)
    register_evaluate(actions)
    register_predict(actions)

    text = "Show what the gates of a run do: pictures of images, statistics over a split."
    explain = add_command(actions, "explain", commands.explain, text, _EXPLAIN_EXAMPLES)
    explain.add_argument("run", type=Path, metavar="RUN", help="run folder or checkpoint file")
    text = "sample ids of the run or image files, FILE:12 for slice 12 (from 0) of a volume; default: from the split"
    explain.add_argument("--images", nargs="+", metavar="ID", help=text)
    explain.add_argument("--split", choices=("train", "val", "test"), default="test", help="default: test")
    explain.add_argument("--checkpoint", choices=("best", "last"), help="of a run folder; default: best")
    text = "images to choose: the worst, median and best of an evaluated split, else the first; default: 6"
    explain.add_argument("--count", type=positive, metavar="N", help=text)
    text = "most images of the split to study; default: 200, all with --intervene; 0: no study, pictures only"
    explain.add_argument("--limit", type=natural, metavar="N", help=text)
    explain.add_argument("--out", type=Path, metavar="DIR", help="folder to write; default: RUN/explain/<split>")
    explain.add_argument("--intervene", action="store_true", help="replace gates instead, and score the change of Dice")
    text = "with --intervene: the gates to replace, such as `decoder.1`; default: all, one by one and together"
    explain.add_argument("--sites", nargs="+", metavar="SITE", help=text)

    register_compare(actions)
    register_ablate(actions)
    register_card(actions)
    register_export(actions)
    register_data(actions)

    config = actions.add_parser("config", help="Check a configuration or print the schema.", epilog=_CONFIG_EXAMPLES)
    steps = config.add_subparsers(required=True, metavar="ACTION")
    text = "Check a configuration, its card, loss and network, and print it resolved."
    check = add_command(steps, "check", commands.check_config, text, _CONFIG_EXAMPLES)
    check.add_argument("file", type=Path, metavar="FILE")
    add_command(steps, "schema", commands.print_schema, "Print the JSON schema of a configuration.", _CONFIG_EXAMPLES)
    return parser
