"""Reading a network that was shared as a folder, here or on the Hugging Face Hub; nothing in it can run."""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as from_safetensors
from torch import Tensor

from seg_scse.config.schema import Config
from seg_scse.data.names import shown
from seg_scse.data.scaling import from_state
from seg_scse.errors import CheckpointError
from seg_scse.models.weights import quick_hub

FORMAT = 1
"""Version of `config.json`; a newer one is refused."""

LIBRARY = "seg-scse"
CONFIG, WEIGHTS = "config.json", "model.safetensors"

READING = ("task", "classes", "channels", "bands", "use", "alpha", "nodata", "scale", "volume", "max_pixels")
"""Keys of `data` that say what the network sees and answers. The others say where somebody's files are."""

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def facts_of(path: Path) -> dict[str, Any]:
    """Return the content of any program's `config.json`, which is empty where it cannot be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def is_repository(name: str) -> bool:
    """Tell whether a text has the form `owner/name` of the Hub."""
    return _REPOSITORY.fullmatch(name) is not None


def downloaded(name: str, revision: str | None = None, local_files_only: bool = False) -> Path:
    """Return the folder with a repository's `config.json` and `model.safetensors`, from the Hub or its cache.

    Raises:
        CheckpointError: the name is none of a repository, or it is not to be had.
    """
    if not is_repository(name):
        raise CheckpointError(f"{shown(name)}: no such folder, and no `owner/name` of the Hugging Face Hub.")
    from huggingface_hub import snapshot_download

    try:
        with nullcontext() if local_files_only else quick_hub():
            return Path(
                snapshot_download(
                    name, revision=revision, local_files_only=local_files_only, allow_patterns=[CONFIG, WEIGHTS]
                )
            )
    except (OSError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{shown(name)}: no such folder here, and not to be had from the Hugging Face Hub ({reason}). Check the "
            f"name; without a network, copy the folder from a machine that has one (`hf download {shown(name)} "
            "--local-dir DIR`) and give its path."
        ) from error


def found_folder(source: str | Path, revision: str | None = None, local_files_only: bool = False) -> Path:
    """Return a folder here, or else that of a repository of the Hub.

    Raises:
        CheckpointError: as `downloaded`.
    """
    folder = Path(source)
    return folder if folder.is_dir() else downloaded(str(source), revision, local_files_only)


def network_facts(config: Config, state: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the network of a checkpoint in plain JSON types: what shared folders and exported files both say.

    Args:
        config: of its training.
        state: of the checkpoint.
    """
    settings = config.evaluation
    return {
        "library_name": LIBRARY,
        "format": FORMAT,
        "name": config.name,
        "model": config.model.without_weights().model_dump(mode="json"),
        "data": config.data.model_dump(mode="json", include=set(READING)),
        "mean": list(state["mean"]),
        "std": list(state["std"]),
        "scale": state.get("scale"),
        "spacing": state.get("spacing"),
        "tile": config.trainer.crop,
        "overlap": settings.overlap,
        "blend": settings.blend,
        "margin": settings.margin,
        "threshold": settings.threshold,
        "data_digest": state["data_digest"],
    }


def read_facts(folder: Path) -> dict[str, Any]:
    """Read the `config.json` of a folder that `save_pretrained` wrote.

    Raises:
        CheckpointError: it is missing, damaged, of a newer format, or of another library.
    """
    path = folder / CONFIG
    if not path.is_file():
        cure = f"`seg-scse card {folder}` makes one of a run" if (folder / "checkpoints").is_dir() else "check the path"
        raise CheckpointError(f"{folder}: holds no {CONFIG}, so it is no network to load: {cure}.")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: is damaged ({error}). Copy or download it again.") from error
    if not isinstance(facts, dict) or facts.get("library_name") != LIBRARY:
        raise CheckpointError(f"{path}: describes no network of {LIBRARY}. Load it with the library that wrote it.")
    version = facts.get("format")
    if type(version) is not int or version < 1:
        raise CheckpointError(f"{path}: is damaged (format {version!r}). Copy or download it again.")
    if version > FORMAT:
        raise CheckpointError(f"{path}: format {version} is newer than {FORMAT}. Upgrade {LIBRARY}.")
    return facts


def config_of(facts: Mapping[str, Any], path: Path) -> Config:
    """Return the sections that describe network, images and tiles; where files are is left at its defaults.

    Args:
        facts: content of a `config.json`.
        path: where it was read, for messages.

    Raises:
        CheckpointError: a key is missing, unknown or out of its range.
    """
    try:
        data = dict(facts["data"])
        if not data.keys() <= set(READING):
            raise ValueError(f"data: {', '.join(sorted(data.keys() - set(READING)))}")
        # How masks were encoded is no longer of interest, but labels must be able to overlap.
        data["mask"] = {"encoding": "bands"} if data.get("task") == "multilabel" else {}
        config = Config.model_validate(
            {
                "name": facts["name"],
                "model": facts["model"],
                "data": data,
                "trainer": {"crop": facts["tile"]},
                "evaluation": {
                    "threshold": facts["threshold"],
                    "overlap": facts["overlap"],
                    "blend": facts.get("blend", "linear"),  # folders of earlier versions do not say
                    "margin": facts.get("margin", 0),
                },
            }
        )
        _check_statistics(facts["mean"], facts["std"], len(config.data.band_names))
        from_state(facts["scale"])
        if not isinstance(facts["weights"]["sha256"], str):
            raise TypeError("weights.sha256 is no text")
    except ValidationError as error:
        keys = ", ".join(".".join(map(str, details["loc"])) for details in error.errors())
        raise CheckpointError(f"{path}: differs from what this version of {LIBRARY} reads in {keys}.") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: is damaged ({error}). Copy or download it again.") from error
    return config


def _check_statistics(mean: Sequence[float], std: Sequence[float], bands: int) -> None:
    """Raise ValueError or TypeError where images cannot be standardised."""
    if not len(mean) == len(std) == bands:
        raise ValueError(f"{bands} bands, but {len(mean)} means and {len(std)} deviations")
    if not all(map(math.isfinite, [*mean, *std])) or min(std) <= 0:
        raise ValueError("mean and std must be finite, std above 0")


def read_weights(path: Path, facts: Mapping[str, Any]) -> dict[str, Tensor]:
    """Read the weights that belong to a `config.json`.

    Raises:
        CheckpointError: they are missing or damaged, or other ones than it says.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}). Copy or download it again.") from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != facts["weights"]["sha256"]:
        raise CheckpointError(
            f"{path}: its SHA-256 is {digest[:12]}..., not the one in {CONFIG}: it is damaged, or of another network. "
            "Copy or download the folder again."
        )
    try:
        state: dict[str, Tensor] = from_safetensors(data)
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as safetensors ({error}).") from error
    return state
