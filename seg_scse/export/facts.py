"""What must be known to use an exported network: how images become its input, and its output a label map."""

from collections.abc import Mapping
from typing import Any

from seg_scse import provenance
from seg_scse.config.schema import DataConfig
from seg_scse.data.standardize import MIN_STD
from seg_scse.evaluation.loaded import Loaded, checkpoint_facts, has_threshold
from seg_scse.export.sizes import Sizes
from seg_scse.inference.onnx_backend import INPUT, OUTPUT
from seg_scse.models.build import output_channels
from seg_scse.network_folder import network_facts

INDEPENDENT, EXCLUSIVE = "sigmoid", "softmax"

_INPUT = (
    "float32 (N, C, H, W): the channels of `bands` in this order (R, G, B for colours), each scaled to [0, 1] as "
    "`units` says, minus `mean`, divided by `std`; pixels without data are first filled with the mean of their band"
)
_PADDING = (
    "images smaller than a tile are padded at the bottom and the right by reflection (`reflect` of numpy.pad: the "
    "border is not repeated)"
)
_BLENDING = {
    "linear": "weights of a tile are the outer product of min(1, (d + 1) / (r + 1)) along both axes, d the distance of "
    "a pixel from the nearer border, r = max(1, round(`tile` x `overlap`))",
    "gaussian": "weights of a tile are the outer product of max(0.001, exp(-d^2 / (2 s^2))) along both axes, d the "
    "distance of a pixel from the middle, s = `tile` / 8",
}
_ANSWERS = {
    "two": "sigmoid gives the probability of the second class, which is present where it is above `threshold`",
    "labels": "sigmoid gives the probability of each class after the first, present where it is above `threshold`; "
    "bit k - 1 of a label map is class k",
    "classes": "softmax over the channels gives probabilities; the most probable class is the label, of equal ones the "
    "first",
}


def export_facts(loaded: Loaded, sizes: Sizes, precision: str) -> dict[str, Any]:
    """Describe an exported network in plain JSON types; docs/export.md explains each key.

    The keys that the `config.json` of a shared network has mean the same there (`seg_scse.hub`).

    Args:
        loaded: the checkpoint.
        sizes: of images that the exported network takes.
        precision: `fp32`, `fp16` or `int8`, in which it computes.
    """
    config, state = loaded.config, loaded.state
    made = checkpoint_facts(loaded)
    answer = "labels" if config.data.task == "multilabel" else "two" if has_threshold(config.data) else "classes"
    return {
        **network_facts(config, state),
        "task": config.data.task,
        "classes": list(config.data.classes),
        "bands": list(config.data.band_names),
        "std": [max(float(value), MIN_STD) for value in state["std"]],
        "input": f"{INPUT}: {_INPUT}",
        "units": _units(config.data, state.get("scale")),
        "sizes": sizes.text(),
        "multiple": sizes.multiple,
        "fixed": sizes.fixed,
        "output": f"{OUTPUT}: float32 (N, {output_channels(len(config.data.classes), config.data.task)}, H, W)",
        "activation": EXCLUSIVE if answer == "classes" else INDEPENDENT,
        "answer": _ANSWERS[answer],
        "blending": _BLENDING[config.evaluation.blend],
        "padding": _PADDING,
        "precision": precision,
        "checkpoint": {key: made[key] for key in ("epoch", "step", "sha256")},
        "versions": provenance.versions(),
    }


def _units(data: DataConfig, scale: Mapping[str, Any] | None) -> str:
    """Say how values of a file become numbers in [0, 1]."""
    if scale is not None:
        return "(value - `scale.low`) / (`scale.high` - `scale.low`) of each band, cut to [0, 1]"
    if data.scale.method == "dtype":
        return "uint8: value / 255; uint16: value / 65535; uint32: value / 4294967295; float32: in [0, 1] as it is"
    return f"each file by its own values: `data.scale` ({data.scale.method})"
