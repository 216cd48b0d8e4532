"""Checkpoints: one writer, one safe reader.

A checkpoint is a `torch.save` file of plain values and tensors, read with `weights_only=True`, so that no code in a
file can run. Its SHA-256 lies beside it in `<name>.sha256`.
"""

import hashlib
import os
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, cast

import torch
from pydantic import ValidationError
from safetensors.torch import save as as_safetensors
from torch import Tensor

from seg_scse.config.schema import Config
from seg_scse.errors import CheckpointError
from seg_scse.files import atomic_stream, write_bytes, write_text

FORMAT = 2
"""Version of the layout; a newer one is refused. 2: `training`, `kept` and `progress.in_epoch`."""

REQUIRED = ("config", "data_digest", "mean", "model", "progress", "splits", "std")
"""Keys that a checkpoint must hold to be evaluated or resumed."""

BEST, LAST = "checkpoints/best.ckpt", "checkpoints/last.ckpt"

_STATES = ("state_dict", "model_state_dict", "model")  # where training programs keep the state dict in their files
_WRAPPERS = re.compile(r"^((module|_orig_mod)\.)+")  # what DistributedDataParallel and torch.compile put before names
_DAMAGE = (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, ValueError, TypeError, AttributeError, OSError)


def hash_file(path: Path) -> Path:
    """Return the file beside a checkpoint that lists its SHA-256."""
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
    hashes = hash_file(path)
    with atomic_stream(path) as stream:
        torch.save({"format": FORMAT, **state}, cast(IO[bytes], stream))
        digest = stream.digest()
        write_text(hashes, "\n".join([digest, *_listed(hashes)]) + "\n")
    write_text(hashes, digest + "\n")


def _listed(hashes: Path) -> list[str]:
    return hashes.read_text(encoding="ascii", errors="replace").split() if hashes.exists() else []


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


@contextmanager
def _opened(path: Path, cure: str) -> Iterator[BufferedReader]:
    """Open a file that is not empty; one that is replaced meanwhile is read to its end as it was."""
    try:
        stream = path.open("rb")
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}). {cure}") from error
    with stream:
        if os.fstat(stream.fileno()).st_size == 0:
            raise CheckpointError(f"{path}: the file is empty.")
        yield stream


def _read(path: Path) -> tuple[dict[str, Any], str]:
    try:
        return _read_once(path)
    except CheckpointError:
        if not hash_file(path).exists():
            raise
    return _read_once(path)  # a run that saves at this moment replaced both files between the two reads


def _read_once(path: Path) -> tuple[dict[str, Any], str]:
    hashes = hash_file(path)
    with _opened(path, "Name a run folder or a checkpoint file.") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if not zipfile.is_zipfile(stream):
            raise CheckpointError(f"{path}: not a checkpoint, or cut short ({stream.seek(0, 2)} bytes).")
        if hashes.exists() and digest not in _listed(hashes):
            raise CheckpointError(
                f"{path}: its SHA-256 is {digest[:12]}..., not the one in {hashes.name}: it is damaged."
            )
        try:
            state = _unpickled(stream)
        except (*_DAMAGE, zipfile.BadZipFile) as error:
            raise CheckpointError(f"{path}: damaged, or holds more than plain values and tensors.") from error
    _require_ours(path, state)
    return state, digest


def _unpickled(source: IO[bytes] | Path) -> Any:  # noqa: ANN401 - whatever the file holds
    """Read what `torch.save` wrote, to the CPU. The one place where a pickle is read; it cannot run code.

    Of a path, tensors are read when they are used.
    """
    if not isinstance(source, Path):
        source.seek(0)
    return torch.load(source, map_location="cpu", weights_only=True, mmap=isinstance(source, Path))  # noqa: TID251 - the one safe loader


def _require_ours(path: Path, state: object) -> None:
    if not isinstance(state, dict) or not isinstance(state.get("format"), int):
        raise CheckpointError(f"{path}: not a checkpoint of seg_scse.")
    if state["format"] > FORMAT:
        raise CheckpointError(f"{path}: format {state['format']} is newer than {FORMAT}. Upgrade seg-scse.")
    missing = [key for key in REQUIRED if key not in state]
    if missing:
        raise CheckpointError(f"{path}: not a complete checkpoint: {', '.join(missing)} missing.")


def epoch_of(path: Path) -> int | None:
    """Return how many epochs the network of a checkpoint was trained; None where it is missing or damaged.

    Reads no tensor.
    """
    try:
        epoch = _unpickled(path)["progress"]["epoch"]
    except _DAMAGE:
        return None
    return epoch if isinstance(epoch, int) else None


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read the state dict in a file that any program wrote with `torch.save`, to the CPU.

    It may be the whole content, or lie under `state_dict`, `model_state_dict` or `model`. What
    `DistributedDataParallel` and `torch.compile` put before every name is removed.

    Returns:
        tensors by name; entries of a state dict that are not tensors are left out.

    Raises:
        CheckpointError: missing, damaged, without a state dict, or it holds objects that only code could restore.
    """
    with _opened(path, "Name a file that torch.save wrote.") as stream:
        try:
            content = _unpickled(stream)
        except pickle.UnpicklingError as error:
            raise CheckpointError(
                f"{path}: not a file of torch.save, damaged, or it holds objects besides tensors, which could run code "
                "and are not read. Where it was made, save the weights alone: torch.save(model.state_dict(), "
                "'weights.pt'), or a .safetensors file."
            ) from error
        except _DAMAGE as error:
            raise CheckpointError(f"{path}: damaged or cut short, or not a file of torch.save.") from error
    tensors = _state_dict(content)
    if not tensors:
        keys = f"its keys are {', '.join(map(str, list(content)[:5]))}" if isinstance(content, Mapping) else "no names"
        raise CheckpointError(
            f"{path}: holds no state dict ({keys}). Save one with torch.save(model.state_dict(), 'weights.pt')."
        )
    return tensors


def _state_dict(content: object) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        return {}
    for key in _STATES:
        if isinstance(content.get(key), Mapping):
            return _state_dict(content[key])
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    return {_WRAPPERS.sub("", name): value for name, value in tensors.items()}


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
