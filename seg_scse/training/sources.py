"""What a new training can start from, by whatever name: runs, files of weights, shared networks."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from seg_scse import checkpoint
from seg_scse.config.schema import Config, ModelConfig
from seg_scse.data.names import shown
from seg_scse.errors import CheckpointError, ConfigError
from seg_scse.models.source import Source
from seg_scse.models.weights import PICKLES, read_state
from seg_scse.network_folder import (
    CONFIG,
    LIBRARY,
    WEIGHTS,
    config_of,
    downloaded,
    facts_of,
    is_repository,
    read_facts,
    read_weights,
)

__all__ = ["Source", "open_source"]

KINDS = (
    "a run folder, a checkpoint (.ckpt), a .safetensors file, a state dict that torch.save wrote (.pt, .pth, .bin), "
    "a folder that `save_pretrained` of this package or of segmentation-models-pytorch wrote, or `owner/name` of the "
    "Hugging Face Hub"
)
"""What can be named."""


def open_source(text: str) -> Source:
    """Read the network that a training shall start from; a path that exists is never looked for on the Hub.

    No code in a file can run: pickles are read for tensors and plain values only.

    Args:
        text: as `finetune.source` and `--from` name it; of a run folder its best checkpoint is taken.

    Raises:
        ConfigError: there is nothing of this name, or it is of no kind that can be read.
        CheckpointError: it is damaged, of a newer format, or the Hub does not give it.
    """
    path = Path(text).expanduser()
    if path.is_dir():
        return _of_folder(path, text)
    if path.is_file():
        return _of_file(path, text)
    if path.exists() or not is_repository(text) or path.suffix in (".safetensors", *PICKLES):
        raise ConfigError(f"`finetune.source` = {shown(text)!r}: no such file or folder. It can be {KINDS}.")
    return _of_folder(downloaded(text), text)


def _of_folder(folder: Path, name: str) -> Source:
    if (folder / checkpoint.BEST).exists():
        return _of_checkpoint(folder / checkpoint.BEST, name)
    if (folder / checkpoint.LAST).exists():
        raise ConfigError(
            f"`finetune.source` = {shown(name)!r}: the run was not validated yet, so that it has no best checkpoint. "
            f"Name {folder / checkpoint.LAST}."
        )
    if not (folder / WEIGHTS).is_file():
        raise ConfigError(
            f"`finetune.source` = {shown(name)!r}: the folder holds neither {checkpoint.BEST} nor {WEIGHTS}. "
            f"It can be {KINDS}."
        )
    if facts_of(folder / CONFIG).get("library_name") == LIBRARY:
        facts = read_facts(folder)
        weights, config = read_weights(folder / WEIGHTS, facts), config_of(facts, folder / CONFIG)
        return _described(name, folder / WEIGHTS, facts["weights"]["sha256"], weights, config, facts)
    return _bare(name, folder / WEIGHTS, _safetensors(folder / WEIGHTS), _smp_model(folder / CONFIG))


def _of_file(path: Path, name: str) -> Source:
    if path.suffix == ".safetensors":
        return _bare(name, path, _safetensors(path))
    if path.suffix not in PICKLES:
        raise ConfigError(f"`finetune.source` = {shown(name)!r}: files of this kind are not read. It can be {KINDS}.")
    if path.suffix != ".ckpt":
        return _bare(name, path, checkpoint.load_tensors(path))
    try:
        return _of_checkpoint(path, name)
    except CheckpointError:
        if checkpoint.hash_file(path).exists():
            raise  # one of ours, which is damaged
        tensors = checkpoint.load_tensors(path)  # of another program that gives its files this ending
    return _bare(name, path, tensors)


def _of_checkpoint(path: Path, name: str) -> Source:
    state, digest = checkpoint.load(path)
    config = checkpoint.config_of(state, path)
    return _described(name, path, digest, state["model"], config, state)


def _described(
    name: str, path: Path, digest: str, weights: Mapping[str, Tensor], config: Config, facts: Mapping[str, Any]
) -> Source:
    data = config.data
    return Source(
        name,
        weights,
        config.model.without_weights(),
        data.classes,
        data.band_names,
        mean=tuple(facts["mean"]),
        std=tuple(facts["std"]),
        scale=data.scale,
        limits=facts.get("scale"),
        crop=config.trainer.crop,
        file=str(path),
        sha256=digest,
    )


def _bare(name: str, path: Path, weights: Mapping[str, Tensor], model: ModelConfig | None = None) -> Source:
    """Return weights that say nothing about the images they were trained on."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Source(name, weights, model, file=str(path), sha256=digest)


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return read_state(path)
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error} Copy or download it again.") from error


def _smp_model(path: Path) -> ModelConfig | None:
    """Return the network that smp's `save_pretrained` described, None where the file is of another program."""
    facts = facts_of(path)
    if "_model_class" not in facts:
        return None
    try:
        return ModelConfig.model_validate(
            {"architecture": str(facts["_model_class"]).lower(), "encoder": facts.get("encoder_name")}
        )
    except ValidationError:
        return None
