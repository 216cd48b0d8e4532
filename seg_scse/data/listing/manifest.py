"""From the `data` section of a configuration to the list of samples with their splits."""

from collections.abc import Mapping, Sequence

from seg_scse.config.schema import DataConfig
from seg_scse.config.wording import counted
from seg_scse.data.listing.blocks import assign_blocks
from seg_scse.data.listing.listing import Listing, list_samples
from seg_scse.data.listing.splits import Presence, apply_splits, assign_groups, count_splits, crossing_groups, divide
from seg_scse.data.names import some
from seg_scse.data.samples import Manifest, Sample
from seg_scse.data.sets.cards import resolve_card
from seg_scse.errors import DataError, numbered

__all__ = ["Manifest", "Sample", "build_manifest", "divide_listing"]

_MOST_PROBLEMS = 200


def build_manifest(
    config: DataConfig, presence: Presence | None = None, splits: Mapping[str, str] | None = None
) -> Manifest:
    """List all samples that the configuration describes, with their splits. No image is decoded.

    Args:
        config: the `data` section; a card named in it is resolved first.
        presence: classes in each sample's mask, which `data.split.stratify` needs.
        splits: split of each sample id in an earlier run, which is then kept exactly.

    Returns:
        samples sorted by id, each with a split, and notes: exclusions, files not read, how samples were divided.

    Raises:
        ConfigError: unknown card, wrong expression.
        DataError: a folder is missing, files do not pair, or a split is empty. The message lists all of them.
        WriteError: an archive cannot be unpacked into the cache.
    """
    config = resolve_card(config)
    return divide_listing(list_samples(config), config, presence, splits)


def divide_listing(
    listing: Listing, config: DataConfig, presence: Presence | None = None, splits: Mapping[str, str] | None = None
) -> Manifest:
    """Give the samples of a listing their splits.

    Args:
        listing: all samples.
        config: the `data` section it was made with, resolved.
        presence: classes in each sample's mask, which `data.split.stratify` needs.
        splits: split of each sample id in an earlier run, which is then kept exactly.

    Raises:
        ConfigError: wrong expression.
        DataError: the listing has problems, or a split is empty.
    """
    if listing.problems:
        raise DataError(_all_of(listing.problems))
    notes = list(listing.notes)
    samples: Sequence[Sample] = listing.samples
    if config.split.block is None:
        samples = assign_groups(samples, config.split.group)
    else:
        samples = assign_blocks(samples, config.split)
    if splits is None:
        samples, method = divide(samples, config.split, presence)
    else:
        samples, unnamed = apply_splits(samples, splits, "the run's splits")
        method = "as the run divided them"
        if unnamed:
            new = counted(len(unnamed), "sample", "are")
            notes.append(f"{new} not used, new since the run: {some(unnamed)}")
    notes.append(f"{counted(len(samples), 'sample')}: {count_splits(samples)}; {method}")
    return Manifest(tuple(sorted(samples, key=lambda sample: sample.id)), (*notes, *_leaks(samples)))


def _all_of(problems: Sequence[str]) -> str:
    if len(problems) == 1:
        return problems[0]
    return f"{len(problems)} problems with the files of the data set:\n{numbered(problems, _MOST_PROBLEMS)}"


def _leaks(samples: Sequence[Sample]) -> list[str]:
    crossing = crossing_groups(samples)
    if not crossing:
        return []
    return [f"possible leak: {len(crossing)} names or groups are in more than one split: {some(crossing)}"]
