"""Networks to share: a folder of weights, facts and a model card, and a network made from such a folder."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from seg_scse import checkpoint, provenance
from seg_scse.api.trained import Pretrained
from seg_scse.errors import CheckpointError, ConfigError
from seg_scse.evaluation.loaded import Loaded, build_predictor, checkpoint_facts, load_run, result_folder
from seg_scse.evaluation.shared import load_shared
from seg_scse.files import require_writable, write_bytes, write_text
from seg_scse.network_folder import CONFIG, LIBRARY, WEIGHTS, facts_of, found_folder, network_facts, read_facts

CARD = "README.md"


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
    if folder.is_dir() and any(folder.iterdir()) and facts_of(folder / CONFIG).get("library_name") != LIBRARY:
        raise ConfigError(f"{folder}: holds other files, which are not overwritten. Name a new folder with --out.")


def _facts(loaded: Loaded, weights: str) -> dict[str, Any]:
    """Put together what `config.json` holds."""
    made = checkpoint_facts(loaded)
    return {
        **network_facts(loaded.config, loaded.state),
        "weights": {"file": WEIGHTS, "sha256": weights},
        "checkpoint": {key: made[key] for key in ("epoch", "step", "sha256")},
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
    folder = found_folder(source, revision, local_files_only)
    loaded = load_shared(folder)
    try:
        predictor = build_predictor(loaded, torch.device("cpu"))
    except ConfigError as error:
        raise CheckpointError(f"{folder / CONFIG}: describes a network that cannot be built here: {error}") from error
    predictor.model.eval()
    return Pretrained(loaded.config, predictor, read_facts(folder))
