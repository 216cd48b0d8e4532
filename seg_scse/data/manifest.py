"""From the `data` section of a configuration to the list of samples with their splits."""

from collections.abc import Sequence
from pathlib import Path

from seg_scse.config.schema import DataConfig
from seg_scse.data.cards import Card, card_path, load_card, resolve_card
from seg_scse.data.folders import SPLIT_FOLDERS, list_object_folders, list_pairs, require_folder
from seg_scse.data.locate import locate
from seg_scse.data.names import some
from seg_scse.data.samples import Manifest, Sample
from seg_scse.data.splits import (
    apply_splits,
    assign_groups,
    count_splits,
    crossing_groups,
    divide,
    read_lists,
    read_splits,
)
from seg_scse.errors import DataError

__all__ = ["Manifest", "Sample", "build_manifest"]


def _list_own(config: DataConfig, notes: list[str]) -> list[Sample]:
    root = Path(config.root or ".").expanduser()
    if config.root is not None:
        require_folder(root, "data.root")
    return list_pairs(root, config, SPLIT_FOLDERS, notes)


def _listed_splits(card: Card, config: DataConfig, root: Path) -> dict[str, str] | None:
    """The split table of a card, without excluded ids."""
    if card.split.lists is not None:
        folder = card_path(str(config.card)).parent
        table = read_lists({split: folder / name for split, name in card.split.lists.items()})
    elif card.split.table is not None:
        table = read_splits(root / card.split.table)
    else:
        return None
    return {id_: split for id_, split in table.items() if id_ not in config.exclude}


def _list_card(card: Card, config: DataConfig, notes: list[str]) -> list[Sample]:
    root = locate(card, config, notes)
    if card.layout == "object_folders":
        samples = list_object_folders(root, config, notes)
    else:
        samples = list_pairs(root, config, card.split.folders or SPLIT_FOLDERS, notes)
    table = _listed_splits(card, config, root)
    if table is None:
        return samples
    samples, unnamed = apply_splits(samples, table, f"data.card={config.card}")
    if unnamed:
        notes.append(f"{len(unnamed)} samples are in no split of card {config.card}, left out: {some(unnamed)}")
    return samples


def _leaks(samples: Sequence[Sample]) -> list[str]:
    crossing = crossing_groups(samples)
    if not crossing:
        return []
    return [f"possible leak: {len(crossing)} names or groups are in more than one split: {some(crossing)}"]


def build_manifest(config: DataConfig) -> Manifest:
    """List all samples that the configuration describes, with their splits. No image is opened.

    Args:
        config: the `data` section; a card named in it is resolved first.

    Returns:
        samples sorted by id, each with a split, and notes: exclusions, files not read, how samples were divided.

    Raises:
        ConfigError: unknown card, wrong group expression.
        DataError: a folder is missing, files do not pair, or a split is empty. The message lists all of them.
        WriteError: an archive cannot be unpacked into the cache.
    """
    config = resolve_card(config)
    notes: list[str] = []
    card = load_card(config.card) if config.card else None
    samples = _list_card(card, config, notes) if card else _list_own(config, notes)
    if not samples:
        raise DataError(f"no samples are left in {config.root} after {len(config.exclude)} exclusions (data.exclude).")
    missed = [id_ for id_ in config.exclude if not any(note.startswith(f"excluded {id_}:") for note in notes)]
    notes += [f"data.exclude names {id_}, but there is no such sample" for id_ in missed]
    samples, method = divide(assign_groups(samples, config.split.group), config.split)
    notes.append(f"{len(samples)} samples: {count_splits(samples)}; {method}")
    return Manifest(tuple(sorted(samples, key=lambda sample: sample.id)), (*notes, *_leaks(samples)))
