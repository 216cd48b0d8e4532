"""Exporting a checkpoint: made, compared with the checkpoint on real images, and only then written."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from seg_scse import distributed, provenance
from seg_scse.config.loading import override
from seg_scse.errors import ConfigError, SegScseError
from seg_scse.evaluation.loaded import Loaded, build_predictor, load_run, same_data
from seg_scse.export import evidence, formats
from seg_scse.export.cost import dice_cost
from seg_scse.export.evidence import Evidence
from seg_scse.export.formats import Format, Job, Precision
from seg_scse.export.graphs import checkpoint_of_onnx
from seg_scse.export.parity import LIMIT, Parity, compare
from seg_scse.export.weights import shared_config
from seg_scse.files import require_writable, write_bytes, write_text
from seg_scse.inference.device import choose_device
from seg_scse.network_folder import CONFIG, WEIGHTS

IMAGES = 16
"""Images that networks are compared on; one of smaller numbers is scored on the whole split besides."""


@dataclass(frozen=True)
class Request:
    """What to export, and what to compare it on.

    Attributes:
        format: of the file.
        precision: `fp32`; for ONNX also `fp16` and `int8`.
        out: file to write; None: `RUN/export/<name>.<suffix>`.
        images: files to compare on instead of a split.
        split: of the checkpoint's data to compare on.
        limit: most images; None: 16, or of fp16 and int8 all.
    """

    format: Format = "onnx"
    precision: Precision = "fp32"
    out: Path | None = None
    images: Sequence[str] = ()
    split: str = "val"
    limit: int | None = None

    def __post_init__(self) -> None:
        suffix = formats.SUFFIXES[self.format]
        if self.out is not None and self.out.suffix.lower() != suffix:
            raise ConfigError(f"--out {self.out}: a file of --format {self.format} ends in {suffix}. Name it so.")
        if self.precision == "fp32":
            return
        if self.format != "onnx":
            raise ConfigError(f"--precision {self.precision} is there for --format onnx, not for {self.format}.")
        if self.images:
            raise ConfigError(
                f"--precision {self.precision} is judged by the Dice it costs, for which images need a truth: leave "
                "out --images, and say where the data are (data.root=DIR)."
            )


def export(run: Path, which: str, overrides: Sequence[str], request: Request) -> dict[str, Any]:
    """Export a checkpoint, compare it, and write it with its facts; a report lies beside it as `<file>.json`.

    Args:
        run: run folder or checkpoint file.
        which: `best` or `last`, of a run folder.
        overrides: `section.key=value` texts, as for an evaluation.
        request: what to export.

    Returns:
        the report: `file`, `sha256`, `bytes`, `metadata`, `parity` and, of fp16 and int8, `cost`.

    Raises:
        CheckpointError: no usable checkpoint.
        ConfigError: the format does not hold this network, or something is not installed.
        DataError: there are no images to compare on.
        SegScseError: the exported network answers differently.
        WriteError: it cannot be written.
    """
    loaded = on_cpu(load_run(run, which, overrides))
    formats.require_for(request.format, loaded)
    target = request.out or default_file(loaded, request.format, request.precision)
    if request.images:
        found = evidence.of_files(loaded, request.images)
    else:
        limit = request.limit or (IMAGES if request.precision == "fp32" else None)
        found = evidence.of_split(loaded, request.split, limit)
    require_writable(target.parent)
    return _write(loaded, request, target, found)


def on_cpu(loaded: Loaded) -> Loaded:
    """The same checkpoint, to be used on the CPU in float32, whatever it was trained on."""
    return replace(loaded, config=override(loaded.config, ["trainer.device=cpu", "trainer.precision=fp32"]))


def default_file(loaded: Loaded, format_: Format, precision: Precision = "fp32") -> Path:
    """`RUN/export/<name>.<suffix>`, or beside a checkpoint file by itself; named differently for each kind."""
    if loaded.run is None:
        folder, name = loaded.file.with_name(f"{loaded.file.stem}-export"), loaded.config.name
    else:
        folder = loaded.run / "export"
        name = loaded.config.name + ("" if loaded.file.stem == "best" else f"-{loaded.file.stem}")
    if format_ == "safetensors":  # the name by which `from_pretrained` finds it
        return folder / ("safetensors" if name == loaded.config.name else name) / WEIGHTS
    return folder / f"{name}{'' if precision == 'fp32' else f'-{precision}'}{formats.SUFFIXES[format_]}"


def _write(loaded: Loaded, request: Request, target: Path, images: Evidence) -> dict[str, Any]:
    """Make, compare and write; nothing is written of a network that answers differently."""
    reference = build_predictor(loaded, choose_device(loaded.config.trainer))
    first = next(images.images())
    made = formats.make(Job(loaded, request.format, request.precision, reference, first, images.data))
    compared = images if request.precision == "fp32" else images.at_most(IMAGES)  # scored on all of them
    parity = compare(reference, made.network, compared.images())
    if request.precision == "fp32":
        _require_parity(parity, images)
    report = {
        "file": target.name,
        "sha256": hashlib.sha256(made.content).hexdigest(),
        "bytes": len(made.content),
        "format": request.format,
        "created": provenance.now(),
        "parity": {"source": images.source, **parity.as_json(), "names": list(compared.names)},
        "cost": dice_cost(reference, made.network, images, loaded) if request.precision != "fp32" else None,
        "notes": [*made.notes, *_other_data(loaded, images)],
        "metadata": made.facts,
    }
    write_bytes(target, made.content)
    if request.format == "safetensors" and target.name == WEIGHTS:
        write_text(target.with_name(CONFIG), shared_config(WEIGHTS, made.content, loaded, made.facts))
    write_text(target.with_name(f"{target.name}.json"), json.dumps(report, indent=2) + "\n")
    return {**report, "file": str(target)}


def _other_data(loaded: Loaded, images: Evidence) -> list[str]:
    """What to say where scores are not of the data that the checkpoint's own evaluation has."""
    if images.data is None or same_data(loaded, images.data):
        return []
    return ["the images or masks are not those that the network was trained with: they changed since, or are others"]


def _require_parity(parity: Parity, images: Evidence) -> None:
    if parity.holds:
        return
    raise SegScseError(
        f"the exported network is another one than the checkpoint: on {parity.images} images ({images.source}) logits "
        f"differ by up to {parity.logits:.3g} and probabilities by up to {parity.probabilities:.3g}, more than "
        f"{LIMIT:g}, in {parity.different} pixels the label. Nothing was written. "
        f"Try another --format, or another version of torch than {torch.__version__}."
    )


def onnx_file(loaded: Loaded) -> Path:
    """Return the ONNX file of a checkpoint in float32, for ONNX Runtime; it is made where it is not there yet.

    A file of another checkpoint is replaced. One that is made here is compared on drawn images, since those that will
    be predicted are not known. In a run of several processes the main one makes it.

    Args:
        loaded: the checkpoint.

    Raises:
        ConfigError: the network cannot be exported, or the extra `export` is not installed.
        SegScseError: the exported network answers differently.
        WriteError: it cannot be written.
    """
    target = default_file(loaded, "onnx")
    failure: SegScseError | None = None
    if distributed.is_main():
        try:
            _ensure(loaded, target)
        except SegScseError as error:
            failure = error
    failure = distributed.from_main(failure)
    if failure is None:
        return target
    if not distributed.is_main():
        raise SystemExit(failure.exit_code)  # the main process says why
    raise failure


def _ensure(loaded: Loaded, target: Path) -> None:
    formats.require_for("onnx", loaded)
    if checkpoint_of_onnx(target) == loaded.digest:
        return
    require_writable(target.parent)
    loaded, threads = on_cpu(loaded), torch.get_num_threads()
    try:
        _write(loaded, Request(), target, evidence.drawn(loaded))
    finally:
        torch.set_num_threads(threads)
