"""Data ready to be used: listed, divided, checked and decoded."""

import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from seg_scse import distributed
from seg_scse.config.schema import DataConfig
from seg_scse.data.cards import resolve_card
from seg_scse.data.manifest import build_manifest
from seg_scse.data.names import some
from seg_scse.data.samples import SPLITS, Manifest
from seg_scse.data.splits import apply_splits, read_splits, write_splits
from seg_scse.data.store import Store


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

    def write_splits(self, path: Path) -> None:
        """Write `id,split,group` of all samples."""
        write_splits(path, self.manifest.samples)


def prepare_data(config: DataConfig, splits: Path | None = None) -> PreparedData:
    """List, divide, check and decode the samples; with several processes the main one fills the cache first.

    Args:
        config: the `data` section.
        splits: split table of an earlier run, which is then kept exactly; None divides by the configuration.

    Raises:
        ConfigError: unknown card or a wrong expression.
        DataError: with everything that cannot be used.
        WriteError: the cache cannot be written.
    """
    if not distributed.is_main():
        distributed.barrier()
    config = resolve_card(config)
    manifest = build_manifest(config)
    if splits is not None:
        manifest = _with_splits(manifest, splits)
    store = Store.prepare(manifest, config, progress=distributed.is_main() and sys.stderr.isatty())
    if distributed.is_main():
        distributed.barrier()
    return PreparedData(config, manifest, store)


def _with_splits(manifest: Manifest, path: Path) -> Manifest:
    samples, unnamed = apply_splits(manifest.samples, read_splits(path), str(path))
    note = f"splits are those of {path}" + (
        f"; {len(unnamed)} new samples are not used: {some(unnamed)}" if unnamed else ""
    )
    return replace(manifest, samples=tuple(samples), notes=(*manifest.notes, note))
