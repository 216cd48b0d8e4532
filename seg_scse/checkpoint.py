"""Checkpoints: one writer, one safe reader.

A checkpoint is a `torch.save` file of plain values and tensors, read with `weights_only=True`, so that no code in a
file can run. Its SHA-256 lies beside it in `<name>.sha256`.
"""

import hashlib
import io
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors.torch import save as as_safetensors

from seg_scse.config.schema import Config
from seg_scse.errors import CheckpointError
from seg_scse.files import write_bytes, write_text

FORMAT = 1
"""Version of the layout; a newer one is refused."""

REQUIRED = ("config", "data_digest", "mean", "model", "progress", "splits", "std")
"""Keys that a checkpoint must hold to be evaluated or resumed."""

BEST, LAST = "checkpoints/best.ckpt", "checkpoints/last.ckpt"


def _hash_file(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically; the previous one at `path` survives any failure.

    Two files cannot be replaced at once. So the hash file first lists the new hash beside those it has, and is cut to
    the new one when the checkpoint is in place: however often a kill comes in between, the hash of the file there is
    listed.

    Args:
        path: file to write.
        state: plain values (str, int, float, bool, None, list, dict) and tensors, with the keys of `REQUIRED`.

    Raises:
        WriteError: disk full or folder not writable.
    """
    stream = io.BytesIO()
    torch.save({"format": FORMAT, **state}, stream)
    data = stream.getvalue()
    digest = hashlib.sha256(data).hexdigest()
    hashes = _hash_file(path)
    previous = hashes.read_text(encoding="ascii").split() if hashes.exists() else []
    write_text(hashes, "\n".join([digest, *previous]) + "\n")
    write_bytes(path, data)
    write_text(hashes, digest + "\n")


def load(path: Path) -> tuple[dict[str, Any], str]:
    """Read a checkpoint to the CPU.

    Returns:
        the state as given to `save`, and the SHA-256 of the file.

    Raises:
        CheckpointError: missing, damaged, unsafe, not ours, or of a newer format; names the newest usable file.
    """
    try:
        state, digest = _read(path)
    except CheckpointError as error:
        raise CheckpointError(f"{error}{_usable_neighbour(path)}") from error
    return state, digest


def _read(path: Path) -> tuple[dict[str, Any], str]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error.strerror}). Name a run folder or a checkpoint file."
        ) from error
    digest = hashlib.sha256(data).hexdigest()
    hashes = _hash_file(path)
    if hashes.exists() and digest not in hashes.read_text(encoding="ascii").split():
        data = path.read_bytes()  # a run that saves at this moment replaced both files between the two reads
        digest = hashlib.sha256(data).hexdigest()
    if not data:
        raise CheckpointError(f"{path}: the file is empty.")
    if not zipfile.is_zipfile(io.BytesIO(data)):
        raise CheckpointError(f"{path}: not a checkpoint, or cut short ({len(data)} bytes).")
    if hashes.exists() and digest not in hashes.read_text(encoding="ascii").split():
        raise CheckpointError(f"{path}: its SHA-256 is {digest[:12]}..., not the one in {hashes.name}: it is damaged.")
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)  # noqa: TID251 - the one safe loader
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path}: damaged, or holds more than plain values and tensors.") from error
    if not isinstance(state, dict) or not isinstance(state.get("format"), int):
        raise CheckpointError(f"{path}: not a checkpoint of seg_scse.")
    if state["format"] > FORMAT:
        raise CheckpointError(f"{path}: format {state['format']} is newer than {FORMAT}. Upgrade seg-scse.")
    missing = [key for key in REQUIRED if key not in state]
    if missing:
        raise CheckpointError(f"{path}: not a complete checkpoint: {', '.join(missing)} missing.")
    return state, digest


def _usable_neighbour(path: Path) -> str:
    candidates = [file for file in path.parent.glob("*.ckpt") if file != path] if path.parent.is_dir() else []
    for file in sorted(candidates, key=lambda file: file.stat().st_mtime, reverse=True):
        try:
            _read(file)
        except CheckpointError:
            continue
        return f" Usable: {file}."
    return " No other usable checkpoint lies beside it."


def config_of(state: Mapping[str, Any], path: Path) -> Config:
    """Return the configuration stored in a checkpoint.

    Raises:
        CheckpointError: it was written by a version with other keys.
    """
    try:
        return Config.model_validate(state["config"])
    except ValidationError as error:
        keys = ", ".join(".".join(map(str, details["loc"])) for details in error.errors())
        raise CheckpointError(
            f"{path}: its configuration is that of another version of seg_scse (differs in {keys}). "
            "Use the version in the run's run.json."
        ) from error


def load_weights(model: torch.nn.Module, state: Mapping[str, Any], path: Path) -> None:
    """Load the weights of a checkpoint into the network its configuration describes.

    Raises:
        CheckpointError: names or shapes differ, that is, it was made by another model.
    """
    weights, own = state["model"], model.state_dict()
    missing, extra = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    shapes = [key for key in own.keys() & weights.keys() if own[key].shape != weights[key].shape]
    if missing or extra or shapes:
        first = (missing + extra + sorted(shapes))[0]
        raise CheckpointError(
            f"{path}: made by another model: {len(missing)} tensors missing, {len(extra)} unknown, {len(shapes)} of "
            f"another shape (first: {first}). Use the configuration it was trained with."
        )
    model.load_state_dict(weights)


def weights_file(state: Mapping[str, Any]) -> bytes:
    """Return the weights of a checkpoint's state as the content of a .safetensors file."""
    # Copied, because safetensors refuses other memory formats than the default, and tensors that share memory.
    weights = {key: value.clone(memory_format=torch.contiguous_format) for key, value in state["model"].items()}
    return bytes(as_safetensors(weights))


def export_weights(source: Path, target: Path) -> None:
    """Write the weights in a checkpoint to a .safetensors file, under the names of the network's state dict.

    Those of a network without gates load with `load_state_dict` into the plain network of segmentation-models-pytorch;
    any of them can be the `model.weights` of a new run.

    Raises:
        CheckpointError: as `load`.
        WriteError: disk full or folder not writable.
    """
    state, _ = load(source)
    write_bytes(target, weights_file(state))
