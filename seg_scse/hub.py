"""Networks to share: a folder of weights, facts and a model card, and a network made from such a folder."""

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as from_safetensors
from torch import Tensor, nn

from seg_scse import checkpoint, provenance
from seg_scse.config.schema import Config
from seg_scse.data.names import shown
from seg_scse.data.scaling import from_state
from seg_scse.errors import CheckpointError, ConfigError
from seg_scse.evaluation.loaded import Loaded, checkpoint_facts, load_run, result_folder
from seg_scse.files import require_writable, write_bytes, write_text
from seg_scse.models import build_model
from seg_scse.models.weights import quick_hub
from seg_scse.pretrained import Pretrained

FORMAT = 1
"""Version of `config.json`; a newer one is refused."""

LIBRARY = "seg-scse"
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"

_READING = ("task", "classes", "channels", "bands", "use", "alpha", "nodata", "scale", "volume", "max_pixels")
"""Keys of `data` that say what the network sees and answers. The others say where somebody's files are."""

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def save_pretrained(
    run: str | Path,
    folder: str | Path,
    license: str | None = None,
    author: str | None = None,
    *,
    dataset: str | None = None,
    split: str = "test",
    which: str = "best",
) -> Path:
    """Write a network as a folder for the Hugging Face Hub: `model.safetensors`, `config.json` and `README.md`.

    The paths of the run, its machine and its data are in none of them.

    Args:
        run: run folder or checkpoint file.
        folder: folder to write; one that holds other files is refused, an earlier one of this kind is replaced.
        license: identifier of the Hub, such as `mit` or `cc-by-4.0`; None: said to be unknown.
        author: who publishes it; None: said to be unknown.
        dataset: id of the training data on the Hub, such as `owner/name`; None: named in words only.
        split: split whose evaluation the card reports, where there is one of these weights.
        which: checkpoint of a run folder, `best` or `last`.

    Returns:
        the folder.

    Raises:
        CheckpointError: no usable checkpoint.
        ConfigError: the folder holds something else.
        DataError: the evaluation of the run is damaged, or of an earlier format.
        WriteError: it cannot be written.
    """
    from seg_scse.report.model_card import About, model_card  # here: it needs packages that a network does not

    loaded, folder = load_run(Path(run), which), Path(folder)
    about = About(license, author, dataset)
    _require_ours(folder)
    weights = checkpoint.weights_file(loaded.state)
    facts = _facts(loaded, hashlib.sha256(weights).hexdigest())
    splits, evaluated = Counter(loaded.state["splits"].values()), result_folder(loaded, "evaluation", split)
    card = model_card(loaded.config, facts, splits, loaded.run, evaluated, about)
    require_writable(folder)
    (folder / CONFIG).unlink(missing_ok=True)  # written last: a folder that was cut short has none
    write_bytes(folder / WEIGHTS, weights)
    write_text(folder / CARD, card)
    write_text(folder / CONFIG, json.dumps(facts, indent=2) + "\n")
    return folder


def _require_ours(folder: Path) -> None:
    """Refuse a folder that holds anything but an earlier network of this kind."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: is a file. Name a folder with --out.")
    if folder.is_dir() and any(folder.iterdir()) and _library(folder / CONFIG) != LIBRARY:
        raise ConfigError(f"{folder}: holds other files, which are not overwritten. Name a new folder with --out.")


def _library(path: Path) -> object:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found.get("library_name") if isinstance(found, dict) else None


def _facts(loaded: Loaded, weights: str) -> dict[str, Any]:
    """Put together what `config.json` holds."""
    config, state = loaded.config, loaded.state
    made = checkpoint_facts(loaded)
    return {
        "library_name": LIBRARY,
        "format": FORMAT,
        "name": config.name,
        "model": config.model.without_weights().model_dump(mode="json"),
        "data": config.data.model_dump(mode="json", include=set(_READING)),
        "mean": list(state["mean"]),
        "std": list(state["std"]),
        "scale": state.get("scale"),
        "tile": config.trainer.crop,
        "overlap": config.evaluation.overlap,
        "threshold": config.evaluation.threshold,
        "weights": {"file": WEIGHTS, "sha256": weights},
        "checkpoint": {key: made[key] for key in ("epoch", "step", "sha256")},
        "data_digest": state["data_digest"],
        "versions": provenance.versions(),
    }


def from_pretrained(source: str | Path, revision: str | None = None, *, local_files_only: bool = False) -> Pretrained:
    """Make a network from a folder that `save_pretrained` wrote, or from such a repository of the Hugging Face Hub.

    No code in it can run: the weights are a .safetensors file, and the network is built by this package.

    Args:
        source: the folder, or `owner/name` on the Hub, which is downloaded once and then kept in the Hub's cache.
        revision: branch, tag or commit of the repository; None: its newest.
        local_files_only: take the repository from the Hub's cache, without asking the Hub.

    Raises:
        CheckpointError: the folder or repository is not there, damaged, of a newer format, or of another library.

    Example:
        >>> network = from_pretrained("runs/nuclei/pretrained")
        >>> network.predict("image.png")  # uint8 (H, W)
    """
    folder = Path(source)
    if not folder.is_dir():
        folder = _downloaded(str(source), revision, local_files_only)
    facts = _read_facts(folder)
    config, path = _config_of(facts, folder / CONFIG), folder / WEIGHTS
    model = _build(config, len(facts["mean"]), folder / CONFIG)
    checkpoint.load_weights(model, {"model": _read_weights(path, facts)}, path)
    model = model.eval().to(memory_format=torch.channels_last)
    return Pretrained(model, config, tuple(facts["mean"]), tuple(facts["std"]), facts["scale"], facts)


def _downloaded(name: str, revision: str | None, local_files_only: bool) -> Path:
    if not _REPOSITORY.fullmatch(name):
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


def _read_facts(folder: Path) -> dict[str, Any]:
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


def _config_of(facts: Mapping[str, Any], path: Path) -> Config:
    """Return the sections that describe network, images and tiles; where files are is left at its defaults."""
    try:
        data = dict(facts["data"])
        if not data.keys() <= set(_READING):
            raise ValueError(f"data: {', '.join(sorted(data.keys() - set(_READING)))}")
        # How masks were encoded is no longer of interest, but labels must be able to overlap.
        data["mask"] = {"encoding": "bands"} if data.get("task") == "multilabel" else {}
        config = Config.model_validate(
            {
                "name": facts["name"],
                "model": facts["model"],
                "data": data,
                "trainer": {"crop": facts["tile"]},
                "evaluation": {"threshold": facts["threshold"], "overlap": facts["overlap"]},
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


def _build(config: Config, bands: int, path: Path) -> nn.Module:
    """Make the network, without weights from anywhere else, whatever the file names."""
    try:
        return build_model(config.model.without_weights(), bands, len(config.data.classes), config.data.task)
    except ConfigError as error:
        raise CheckpointError(f"{path}: describes a network that cannot be built here: {error}") from error


def _read_weights(path: Path, facts: Mapping[str, Any]) -> dict[str, Tensor]:
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
