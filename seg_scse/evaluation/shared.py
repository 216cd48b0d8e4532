"""A network that was shared as a folder, in the form of a checkpoint by itself."""

from collections.abc import Sequence
from pathlib import Path

from seg_scse.config.loading import override, refuse_overrides
from seg_scse.evaluation.loaded import MAY_CHANGE, Loaded
from seg_scse.network_folder import CONFIG, WEIGHTS, config_of, found_folder, read_facts, read_weights


def load_shared(
    source: str | Path,
    revision: str | None = None,
    local_files_only: bool = False,
    overrides: Sequence[str] = (),
) -> Loaded:
    """Read a folder that `save_pretrained` wrote, or such a repository of the Hugging Face Hub.

    Args:
        source: the folder, or `owner/name` on the Hub.
        revision: branch, tag or commit of the repository; None: its newest.
        local_files_only: take the repository from the Hub's cache, without asking the Hub.
        overrides: `section.key=value` texts, as for `load_run`.

    Raises:
        CheckpointError: it is not there, damaged, of a newer format, or of another library.
        ConfigError: as `load_run`.
    """
    refuse_overrides(overrides, MAY_CHANGE, "It would describe another network.")
    folder = found_folder(source, revision, local_files_only)
    facts = read_facts(folder)
    config = config_of(facts, folder / CONFIG)
    state = {
        "model": read_weights(folder / WEIGHTS, facts),
        "mean": facts["mean"],
        "std": facts["std"],
        "scale": facts["scale"],
        "spacing": facts.get("spacing"),
        "data_digest": facts["data_digest"],
        "progress": facts["checkpoint"],
        "splits": {},
    }
    return Loaded(Path(source), facts["checkpoint"]["sha256"], state, override(config, overrides), None)
