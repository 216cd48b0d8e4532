"""All samples that a configuration describes, and all that is wrong with their files, at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from seg_scse.config.schema import DataConfig
from seg_scse.config.wording import counted
from seg_scse.data.listing.folders import SPLIT_FOLDERS, require_folder
from seg_scse.data.listing.pairs import list_object_folders, list_pairs
from seg_scse.data.listing.remarks import Remarks
from seg_scse.data.listing.slices import expand_volumes
from seg_scse.data.listing.splits import apply_splits, read_splits
from seg_scse.data.names import shown, some
from seg_scse.data.samples import Sample
from seg_scse.data.sets.card_splits import split_table
from seg_scse.data.sets.cards import Card, card_path, load_card, resolve_card
from seg_scse.data.sets.locate import locate
from seg_scse.errors import DataError


@dataclass(frozen=True)
class Listing:
    """The samples whose files are there and fit together by name.

    Attributes:
        samples: sorted by id, with the split that the data set or data.split.file gives them, or None.
        problems: why the data cannot be used as declared, each with its cure; none of them was raised.
        notes: what was left out or decided.
    """

    samples: tuple[Sample, ...]
    problems: list[str]
    notes: list[str]


def list_samples(config: DataConfig) -> Listing:
    """List all samples that the configuration describes. No image is opened; of volumes, the header is read.

    Args:
        config: the `data` section; a card named in it is resolved first.

    Raises:
        ConfigError: unknown card, or a pattern that is no regular expression.
        WriteError: an archive cannot be unpacked into the cache.
    """
    config = resolve_card(config)
    card = load_card(config.card) if config.card else None
    remarks = Remarks.on(config.exclude)
    samples: list[Sample] = []
    try:
        samples, table, source = _list(config, card, remarks)
        if table is not None:
            samples = _divided(samples, table, source, remarks)
    except DataError as error:
        remarks.problems.append(str(error))
    if not samples and not remarks.problems:
        remarks.problems.append(
            f"no samples are left in {config.root} after {counted(len(config.exclude), 'exclusion')} (data.exclude)."
        )
    return Listing(tuple(sorted(samples, key=lambda sample: sample.id)), remarks.problems, remarks.notes)


def _list(
    config: DataConfig, card: Card | None, remarks: Remarks
) -> tuple[list[Sample], Mapping[str, str] | None, str]:
    """List the samples; return them with the table of their splits, if any, and where that is from."""
    root = _root(config, card, remarks)
    if card and card.layout == "object_folders":
        samples = list_object_folders(root, remarks)
    else:
        folder_names = card.split.folders if card and card.split.folders else SPLIT_FOLDERS
        samples = list_pairs(root, config, folder_names, remarks)
    samples = expand_volumes(samples, config, remarks)
    of_card = card.data.get("exclude", {}) if card else {}
    remarks.problems.extend(remarks.out.unknown([sample.id for sample in samples], of_card))
    if config.split.file is not None:
        return samples, read_splits(Path(config.split.file).expanduser()), f"data.split.file={config.split.file}"
    if card is None:
        return samples, None, ""
    table = split_table(card, card_path(str(config.card)).parent, root, [sample.id for sample in samples])
    return samples, table, f"data.card={config.card}"


def _root(config: DataConfig, card: Card | None, remarks: Remarks) -> Path:
    if card is not None:
        return locate(card, config, remarks.notes)
    root = Path(config.root or ".").expanduser()
    return root if config.root is None else require_folder(root, "data.root")


def _divided(samples: list[Sample], table: Mapping[str, str], source: str, remarks: Remarks) -> list[Sample]:
    """Give samples the splits of a table; without those that it does not name."""
    table = {id_: split for id_, split in table.items() if not remarks.out.has(id_)}
    if remarks.problems:  # that samples are missing was said
        there = {name for sample in samples for name in (sample.id, sample.group)}
        table = {id_: split for id_, split in table.items() if id_ in there}
    named, unnamed = apply_splits(samples, table, source)
    if unnamed:
        remarks.notes.append(
            f"{len(unnamed)} samples are in no split of {shown(source.partition('=')[2])}, left out: {some(unnamed)}"
        )
    return named
