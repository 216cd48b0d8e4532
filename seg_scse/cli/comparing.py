"""`seg-scse compare`: its options, and what it does. Nothing heavy is imported before it is needed."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from seg_scse.cli.options import Result, add_command, natural
from seg_scse.errors import ConfigError

if TYPE_CHECKING:
    from seg_scse.cli.options import Commands

_EXAMPLES = """The first run is the baseline; all have been evaluated. Writes compare.html, compare.md, table.csv,
table.tex, differences.csv and compare.json into `compare-<A>-<B>/<split>` beside the second run.

examples:
  seg-scse compare runs/unet runs/unet_scse
  seg-scse compare runs/unet runs/unet_scse runs/unet_cbam --split val --metric hd95
  seg-scse compare runs/unet/evaluation/test runs/unet/evaluation/test-last --out comparison
"""


def register_compare(actions: "Commands") -> None:
    """Add `compare`."""
    text = "Compare evaluated runs with a baseline, image by image."
    command = add_command(actions, "compare", compare, text, _EXAMPLES)
    text = "run folders, or evaluation folders with results.json; the baseline first"
    command.add_argument("runs", nargs="+", metavar="RUN", help=text)
    text = "evaluation of the run folders; default: test"
    command.add_argument("--split", choices=("train", "val", "test"), default="test", help=text)
    text = "score to compare: dice, iou, precision, recall, hd95, assd, nsd, ...; default: dice"
    command.add_argument("--metric", default="dice", metavar="NAME", help=text)
    text = "images drawn that became better, and as many that became worse; 0: no pictures; default: 3"
    command.add_argument("--cases", type=natural, default=3, metavar="N", help=text)
    text = "folder to write; default: compare-<A>-<B>/<split> beside the second run"
    command.add_argument("--out", type=Path, metavar="DIR", help=text)


def compare(options: argparse.Namespace) -> Result:
    """Compare evaluated runs with the first of them."""
    if options.overrides:
        raise ConfigError(f"`{options.overrides[0]}`: compare takes no overrides; scores are those of the evaluations.")
    from seg_scse.evaluation.compare import Options, compare
    from seg_scse.report.comparison import comparison_text, verdicts, write_comparison

    chosen = Options(options.split, options.metric, options.cases, options.out)
    folder, content = compare([Path(run) for run in options.runs], chosen)
    written = write_comparison(folder)
    print(comparison_text(content))
    print(f"report: {written[0]}")
    return {**content, "verdicts": verdicts(content), "written": [str(path) for path in written]}
