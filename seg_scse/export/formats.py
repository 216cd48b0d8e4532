"""The formats by name: how each is made, and read again to be checked."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from torch import nn

from seg_scse.data.files.raster import Array
from seg_scse.data.prepare import PreparedData
from seg_scse.errors import ConfigError, DataError, SegScseError
from seg_scse.evaluation.loaded import Loaded
from seg_scse.export import graphs, quantise, smp_weights, weights
from seg_scse.export.calibration import calibration_tiles
from seg_scse.export.facts import export_facts
from seg_scse.export.networks import plain_network
from seg_scse.export.parity import LIMIT, sizes_apart
from seg_scse.export.sizes import Sizes
from seg_scse.inference.onnx_backend import load_onnx, require_extra
from seg_scse.inference.predictor import Predictor

Format = Literal["onnx", "torchscript", "torch-export", "safetensors", "smp"]
Precision = Literal["fp32", "fp16", "int8"]

SUFFIXES: dict[Format, str] = {
    "onnx": ".onnx",
    "torchscript": ".torchscript",
    "torch-export": ".pt2",
    "safetensors": ".safetensors",
    "smp": ".pth",
}
EXTRA = ("onnx", "onnxscript", "onnxruntime")


class Job(NamedTuple):
    """What is exported, and what with.

    Attributes:
        loaded: the checkpoint.
        format: of the file.
        precision: in which the exported network computes.
        reference: the checkpoint's network and how it is applied.
        image: to check other sizes with, (H, W, C).
        data: what int8 is calibrated on.
    """

    loaded: Loaded
    format: Format
    precision: Precision
    reference: Predictor
    image: Array
    data: PreparedData | None = None


@dataclass(frozen=True)
class Made:
    """An exported network.

    Attributes:
        content: of its file.
        network: that file, read again.
        facts: its metadata.
        notes: what the user should know.
    """

    content: bytes
    network: nn.Module
    facts: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def require_for(format_: Format, loaded: Loaded) -> None:
    """Refuse what is known not to work, before any work.

    Raises:
        ConfigError: something is not installed, or smp has no such network.
    """
    if format_ == "onnx":
        for library in EXTRA:
            require_extra(library)
    if format_ == "smp":
        smp_weights.smp_file(loaded)


def make(job: Job) -> Made:
    """Export a network for images of any size; a graph that cannot have that, for tiles alone.

    Raises:
        ConfigError: the network cannot be exported in this format.
    """
    sizes = Sizes.of(len(job.loaded.state["mean"]), job.loaded.config.trainer.crop)
    if job.format in ("safetensors", "smp"):
        return _attempt(job, sizes)
    try:
        return _attempt(job, sizes)
    except DataError:
        raise
    except Exception as error:  # of torch, onnx and onnxruntime, which have no common class
        reason = _first_line(error)
    try:
        made = _attempt(job, sizes.as_fixed())
    except Exception as error:
        raise ConfigError(
            f"{job.loaded.config.model.label} cannot be exported as {job.format} ({_first_line(error)}). Choose "
            "another --format; safetensors holds any network."
        ) from error
    note = (
        f"takes images of {sizes.tile} x {sizes.tile} alone, the tile of the training, since a graph for any size "
        f"failed: {reason}"
    )
    return Made(made.content, made.network, made.facts, [note])


def _attempt(job: Job, sizes: Sizes) -> Made:
    """Export, read what was written, and see that it answers at several sizes."""
    facts = export_facts(job.loaded, sizes, job.precision)
    content = _written(job, sizes, facts)
    made = Made(content, _read(job, content), facts)
    apart = sizes_apart(job.reference, made.network, job.image, sizes)
    if not (apart <= LIMIT or (job.precision != "fp32" and math.isfinite(apart))):
        raise SegScseError(
            f"the exported network is another one than the checkpoint: on images of several sizes logits differ by up "
            f"to {apart:.3g}, more than {LIMIT:g}. Nothing was written. Try another --format."
        )
    return made


def _written(job: Job, sizes: Sizes, facts: dict[str, Any]) -> bytes:
    if job.format == "safetensors":
        return weights.safetensors_file(job.loaded, facts)
    if job.format == "smp":
        return smp_weights.smp_file(job.loaded)
    network = plain_network(job.loaded)
    if job.format == "torchscript":
        return graphs.torchscript_file(network, sizes, facts)
    if job.format == "torch-export":
        return graphs.torch_export_file(network, sizes, facts)
    proto = graphs.onnx_model(quantise.Half(network) if job.precision == "fp16" else network, sizes)
    if job.precision == "int8":
        assert job.data is not None
        proto = quantise.as_int8(proto, calibration_tiles(job.reference, job.data))
    return graphs.onnx_bytes(proto, facts)


def _read(job: Job, content: bytes) -> nn.Module:
    if job.format == "safetensors":
        return weights.read_safetensors(content, job.loaded)
    if job.format == "smp":
        return smp_weights.read_smp(content, job.loaded)
    if job.format == "torchscript":
        return graphs.read_torchscript(content)
    if job.format == "torch-export":
        return graphs.read_torch_export(content)
    return load_onnx(content, job.reference.device)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
