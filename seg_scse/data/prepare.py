"""Data ready to be used: listed, divided, checked and decoded."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_scse import distributed
from seg_scse.config.schema import DataConfig
from seg_scse.data.checking.tally import present_classes
from seg_scse.data.entries import Entry
from seg_scse.data.listing.listing import list_samples
from seg_scse.data.listing.manifest import divide_listing
from seg_scse.data.listing.splits import write_splits
from seg_scse.data.measuring import measure, require_entries
from seg_scse.data.samples import SPLITS, Manifest, Sample
from seg_scse.data.sets.cards import resolve_card
from seg_scse.data.store import Store
from seg_scse.errors import DataError, SegScseError


@dataclass(frozen=True)
class PreparedData:
    """The samples of a configuration and their pixels.

    Attributes:
        config: the `data` section with everything a card adds.
        manifest: the samples and their splits.
        store: their decoded pixels, by position in the manifest.
    """

    config: DataConfig
    manifest: Manifest
    store: Store

    @property
    def notes(self) -> tuple[str, ...]:
        """What was decided, left out or noticed, in lines for the user."""
        return (*self.manifest.notes, *self.store.notes)

    def split_sizes(self) -> dict[str, int]:
        """Number of samples of each split."""
        counts = Counter(sample.split for sample in self.manifest.samples)
        return {split: counts[split] for split in SPLITS}

    def splits(self) -> dict[str, str]:
        """Split of each sample, by id."""
        return {sample.id: str(sample.split) for sample in self.manifest.samples}

    def require(self, split: str, cure: str) -> list[int]:
        """Return the positions of a split's samples.

        Raises:
            DataError: there are none; the message ends with the cure.
        """
        indices = self.manifest.indices(split)
        if not indices:
            raise DataError(f"the {split} split has no images. {cure}")
        return indices

    def write_splits(self, path: Path) -> None:
        """Write `id,split,group` of all samples."""
        write_splits(path, self.manifest.samples)


def prepare_data(
    config: DataConfig, splits: Mapping[str, str] | None = None, scale: Mapping[str, Any] | None = None
) -> PreparedData:
    """List, divide, check and decode the samples; with several processes the main one does it first.

    Args:
        config: the `data` section.
        splits: split of each sample id in an earlier run, which is then kept exactly; None divides by the
            configuration.
        scale: scaling of an earlier run (`Scales.as_state`), which is then kept exactly; None measures it where the
            configuration says so.

    Raises:
        ConfigError: unknown card, a wrong expression, or a scale that does not fit the bands.
        DataError: with everything that cannot be used.
        WriteError: the cache cannot be written.
    """
    data: PreparedData | SegScseError | None = None
    if distributed.is_main():
        try:
            data = _prepare(config, splits, scale)
        except SegScseError as error:
            data = error
    failure = distributed.from_main(data if isinstance(data, SegScseError) else None)
    if failure is not None:
        if not distributed.is_main():
            raise SystemExit(failure.exit_code)  # the main process says why
        raise failure
    return data if isinstance(data, PreparedData) else _prepare(config, splits, scale)


def _prepare(config: DataConfig, splits: Mapping[str, str] | None, scale: Mapping[str, Any] | None) -> PreparedData:
    config = resolve_card(config)
    progress = distributed.is_main() and sys.stderr.isatty()
    listing = list_samples(config)
    presence = None
    if config.split.stratify and splits is None and not listing.problems:
        presence = _presence(
            listing.samples, require_entries(measure(listing.samples, config, progress), listing.samples)
        )
    manifest = divide_listing(listing, config, presence, splits)
    return PreparedData(config, manifest, Store.prepare(manifest, config, progress, scale))


def _presence(samples: Sequence[Sample], entries: Sequence[Entry]) -> dict[str, frozenset[int]]:
    """Classes in the mask of each sample, by id; ignored pixels are none."""
    return {sample.id: present_classes(entry) for sample, entry in zip(samples, entries, strict=True)}
