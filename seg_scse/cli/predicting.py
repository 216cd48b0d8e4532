"""`predict`: its options, and what the person at the terminal gets to see. Nothing heavy is imported too early."""

import argparse
import datetime
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from seg_scse.cli.options import Result, add_command, positive, shard
from seg_scse.errors import ConfigError
from seg_scse.prediction.settings import KINDS, Choices, Resample, Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from seg_scse.cli.options import Commands
    from seg_scse.evaluation.loaded import Loaded
    from seg_scse.inference.predictor import Network
    from seg_scse.prediction.run import Build

_PATIENCE = datetime.timedelta(days=30)
"""For which processes wait for each other at the end: their parts may differ by hours."""

_EXAMPLES = """examples:
  seg-scse predict runs/nuclei --input scans --output predictions
  seg-scse predict runs/nuclei --input scan.png --output labels.png
  seg-scse predict runs/mangrove --input 'scenes/*.tif' --output out --save labels polygons overlays
  seg-scse predict runs/mangrove --input scene.tif --output out --save labels probabilities --probabilities uint8
  seg-scse predict runs/seed0 runs/seed1 --input scans --output out --tta d4 --save labels uncertainty
  seg-scse predict runs/spleen --input scans --output out --plane mean --resample training
  seg-scse predict runs/nuclei --input list.csv --output out evaluation.batch_size=8 trainer.device=cpu
  torchrun --nproc-per-node 4 -m seg_scse predict runs/mangrove --input scenes --output out
  seg-scse predict runs/mangrove --input scenes --output /shared/out --shard 3/16       in a job array

results, below OUTPUT:
  labels/ID.png|tif|nii.gz  class indices (multilabel: bits); 255 where an image has no data
  probabilities/  overlays/  polygons/  uncertainty/      as --save asks
  summary.csv     pixels and area of each class, seconds, errors; predict.json: settings, checkpoints, versions

The same command goes on where it was stopped. Exit code 3: some items failed, and are listed.
"""


def register_predict(actions: "Commands") -> None:
    """Add `predict`."""
    text = "Predict images, scenes and volumes of any size, into standard formats."
    command = add_command(actions, "predict", predict, text, _EXAMPLES)
    text = "run folder, checkpoint file or cross-validation; several predict together, by their mean probabilities"
    command.add_argument("runs", nargs="*", metavar="RUN", help=text)
    text = "files, folders, quoted patterns, or CSV tables (column image or one per band, perhaps id)"
    command.add_argument("--input", nargs="+", metavar="PATH", required=True, help=text)
    text = "folder of the results; with one input perhaps a label map, such as map.tif"
    command.add_argument("--output", type=Path, metavar="PATH", required=True, help=text)
    command.add_argument("--checkpoint", choices=("best", "last"), help="of a run folder; default: best")
    _register_results(command)
    _register_network(command)
    _register_volumes(command)
    text = "the I-th of N calls that share the work, such as the tasks of a job array"
    command.add_argument("--shard", type=shard, metavar="I/N", default=(1, 1), help=text)
    text = "predict again, and replace what the folder holds of an earlier prediction"
    command.add_argument("--overwrite", action="store_true", help=text)
    command.add_argument("--limit", type=positive, metavar="N", help="predict the first N items only")


def _register_results(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("results")
    text = f"what to write: {', '.join(KINDS)}; default: labels"
    group.add_argument("--save", nargs="+", metavar="KIND", default=["labels"], help=text)
    text = "of label maps; auto: tif for what has a georeference or more than 16 million pixels, else png"
    group.add_argument("--format", choices=("auto", "png", "tif"), default="auto", help=text)
    text = "type of probabilities: steps of 1/254 or 1/65534 need less room; default: float32"
    group.add_argument("--probabilities", choices=("float32", "uint8", "uint16"), default="float32", help=text)
    text = "format of polygons; default: geojson"
    group.add_argument("--polygons", choices=("geojson", "gpkg"), default="geojson", help=text)
    text = "how far a simplified outline may be from the true one, in pixels; 0: not simplified; default: 0.75"
    group.add_argument("--simplify", type=_length, metavar="PX", default=0.75, help=text)
    text = "regions of fewer pixels become no polygon; default: 0"
    group.add_argument("--min-area", type=_length, metavar="PX", default=0.0, help=text)


def _register_network(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("network")
    text = "average over mirrored (flips: 4) or mirrored and turned (d4: 8) copies"
    group.add_argument("--tta", choices=("none", "flips", "d4"), help=text)
    text = "average over each tile at these sizes too, such as 0.75 1 1.25"
    group.add_argument("--scales", type=float, nargs="+", metavar="S", help=text)
    text = "two classes, and each class of multilabel: present above this probability"
    group.add_argument("--threshold", type=float, metavar="T", help=text)
    group.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), help="in which the network computes")
    group.add_argument("--compile", action="store_true", help="compile the network first: pays for many images")
    text = "onnxruntime: run the exported network, which is made where it is missing"
    group.add_argument("--backend", choices=("torch", "onnxruntime"), default="torch", help=text)


def _register_volumes(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("volumes")
    text = "in which volumes are cut into slices; mean: of all three; default: as in training"
    group.add_argument("--plane", choices=("axial", "coronal", "sagittal", "mean"), help=text)
    text = "size of a pixel, height and width in mm, that slices are brought to; training: as in training"
    group.add_argument("--resample", nargs="+", metavar="none|training|H W", default=["none"], help=text)
    text = "DICOM files of one series are the slices of one volume (default), or an image each"
    group.add_argument("--series", choices=("volume", "files"), default="volume", help=text)


def _length(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"`{text}` is not a number from 0")
    return value


def predict(options: argparse.Namespace) -> Result:
    """Predict what is not predicted yet."""
    settings = _settings(options)
    from seg_scse import distributed
    from seg_scse.prediction.run import predict as run

    with distributed.process_group(_PATIENCE):
        outcome = run(settings, _builder(options))
    if outcome is None:
        return None
    for note in outcome.notes:
        print(f"note: {note}")
    print(outcome.text())
    if outcome.done or outcome.skipped:
        print(f"written: {outcome.output}")
    if outcome.failed:
        print(f"error: {outcome.failures()}", file=sys.stderr)
    return outcome.as_dict()


def _settings(options: argparse.Namespace) -> Settings:
    if not options.runs:
        raise ConfigError("nothing to predict with: name a run before --input. See --help.")
    for run in options.runs:
        if run.is_file() and options.checkpoint:
            raise ConfigError(f"{run} is a checkpoint file: --checkpoint chooses one of a run folder.")
    if options.overwrite and options.shard[1] > 1:
        raise ConfigError("--overwrite with --shard: the calls would remove each other's results. Remove the folder.")
    if options.backend == "onnxruntime" and (options.compile or options.precision in ("bf16", "fp16")):
        raise ConfigError("--compile and --precision have no meaning with --backend onnxruntime: leave them out.")
    return Settings(
        runs=tuple(options.runs),
        inputs=tuple(options.input),
        output=options.output,
        checkpoint=options.checkpoint or "best",
        overrides=tuple(_overrides(options)),
        choices=_choices(options),
        shard=options.shard,
        overwrite=options.overwrite,
        limit=options.limit,
        debug=options.debug,
    )


def _overrides(options: argparse.Namespace) -> list[str]:
    scales = None if options.scales is None else str(options.scales)
    named = {
        "evaluation.tta": options.tta,
        "evaluation.scales": scales,
        "evaluation.threshold": options.threshold,
        "trainer.precision": options.precision,
    }
    return [*options.overrides, *(f"{key}={value}" for key, value in named.items() if value is not None)]


def _choices(options: argparse.Namespace) -> Choices:
    unknown = [kind for kind in options.save if kind not in KINDS]
    if unknown:
        raise ConfigError(f"--save {unknown[0]}: is not known. Known: {', '.join(KINDS)}.")
    return Choices(
        save=tuple(kind for kind in KINDS if kind in options.save),
        format=options.format,
        probabilities=options.probabilities,
        polygons=options.polygons,
        simplify=options.simplify,
        min_area=options.min_area,
        plane=options.plane,
        resample=_resample(options.resample),
        series=options.series,
        backend=options.backend,
    )


def _resample(words: "Sequence[str]") -> Resample:
    if list(words) == ["training"]:
        return "training"
    if list(words) == ["none"]:
        return "none"
    try:
        height, width = (float(word) for word in words)
    except ValueError:
        height = width = 0.0
    if not (0 < height < math.inf and 0 < width < math.inf):
        raise ConfigError(f"--resample {' '.join(words)}: give none, training, or height and width in mm: 0.8 0.8.")
    return height, width


def _builder(options: argparse.Namespace) -> "Build":
    """Return what builds the network that the options describe."""

    def build(members: "Sequence[Loaded]", device: "torch.device") -> "Network":
        from seg_scse.evaluation.members import build_network
        from seg_scse.prediction.networks import compiled_network

        network = build_network(members, device)
        if options.backend == "onnxruntime":
            from seg_scse.export.exporting import onnx_file
            from seg_scse.inference.onnx_backend import with_onnx

            return with_onnx(network, [onnx_file(member) for member in members])
        return compiled_network(network) if options.compile else network

    return build
