"""`seg-scse export`: a trained network in a format that other programs run."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg_scse.cli.options import Result, add_command, positive
from seg_scse.errors import ConfigError

if TYPE_CHECKING:
    from seg_scse.cli.options import Commands

_EXAMPLES = """examples:
  seg-scse export runs/nuclei --format onnx                             into runs/nuclei/export/NAME.onnx
  seg-scse export runs/nuclei --format onnx --precision int8 --split test      and the Dice it costs there
  seg-scse export runs/nuclei --format torch-export --images scans/*.png       compared on these, without the data set
  seg-scse export runs/nuclei --format smp --out nuclei.pth             for segmentation_models_pytorch alone
  seg-scse export runs/nuclei/checkpoints/last.ckpt --format safetensors

the exported network is compared with the checkpoint on real images before the file is written; FILE.json says how
they differ. Input, output and what to do before and after are in the metadata of the file: docs/export.md
"""
_FORMATS = ("onnx", "torchscript", "torch-export", "safetensors", "smp")
_PRECISIONS = ("fp32", "fp16", "int8")


def register_export(actions: "Commands") -> None:
    """Add the command and its options."""
    text = "Write a trained network in a format that other programs run, and compare it with the checkpoint."
    command = add_command(actions, "export", export_network, text, _EXAMPLES)
    command.add_argument("run", type=Path, metavar="RUN", help="run folder or checkpoint file")
    command.add_argument("--format", choices=_FORMATS, required=True)
    command.add_argument("--out", type=Path, metavar="FILE", help="file to write; default: RUN/export/NAME.SUFFIX")
    text = "numbers in which the network computes, of onnx; fp16 and int8 print the Dice they cost; default: fp32"
    command.add_argument("--precision", choices=_PRECISIONS, default="fp32", help=text)
    text = "image files to compare on instead of a split; FILE:12 for slice 12 (from 0) of a volume"
    command.add_argument("--images", nargs="+", metavar="FILE", help=text)
    text = "split of the run's data to compare on; default: val"
    command.add_argument("--split", choices=("train", "val", "test"), help=text)
    text = "most images of the split; default: 16, of fp16 and int8 all"
    command.add_argument("--limit", type=positive, metavar="N", help=text)
    command.add_argument("--checkpoint", choices=("best", "last"), help="of a run folder; default: best")


def export_network(options: argparse.Namespace) -> Result:
    """Export, compare, and say how far the answers are apart."""
    _check(options)
    from seg_scse.export.exporting import Request, export

    request = Request(
        format=options.format,
        precision=options.precision,
        out=options.out,
        images=options.images or (),
        split=options.split or "val",
        limit=options.limit,
    )
    report = export(options.run, options.checkpoint or "best", options.overrides, request)
    print("\n".join(_lines(report)))
    return report


def _check(options: argparse.Namespace) -> None:
    if options.run.is_file() and options.checkpoint:
        raise ConfigError(f"{options.run} is a checkpoint file: --checkpoint chooses one of a run folder.")
    if options.images and (options.split or options.limit):
        raise ConfigError("--images names the images to compare on: leave out --split and --limit.")
    if options.out is not None and options.out.is_dir():
        raise ConfigError(f"--out {options.out} is a folder: name the file to write.")
    from seg_scse.cli import cross_validation

    if cross_validation.is_one(options.run):
        raise ConfigError(f"{options.run} is a cross-validation: name one of its runs, such as {options.run}/fold0.")


def _lines(report: dict[str, Any]) -> list[str]:
    """The report in words."""
    parity, cost = report["parity"], report["cost"]
    images = f"{parity['images']} image{'' if parity['images'] == 1 else 's'} ({parity['source']})"
    lines = [
        f"written: {report['file']} ({report['bytes'] / 1e6:.1f} MB)",
        f"sizes of images: {report['metadata']['sizes']}",
        f"against the checkpoint on {images}: logits differ by up to {parity['largest_logit_difference']:.2g}, "
        f"probabilities by up to {parity['largest_probability_difference']:.2g}; {parity['different_pixels']:,} pixels "
        f"({1 - parity['equal_labels']:.2%}) have another label",
    ]
    if cost is not None:
        lines.append(_cost_line(cost, report["metadata"]["precision"]))
    return lines + [f"note: {note}" for note in report["notes"]]


def _cost_line(cost: dict[str, Any], precision: str) -> str:
    where = f"{cost['metric']} on {cost['images']} images ({cost['source']})"
    if cost["cost"] is None:
        return f"{where}: nothing to score"
    return f"{where}: {cost['fp32']:.4f} in fp32, {cost['quantised']:.4f} in {precision}, a cost of {cost['cost']:.4f}"
