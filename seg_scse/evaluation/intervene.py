"""Which gates earn their place: scoring a trained network with other gates in theirs.

| intervention | what stands in for the gate |
|---|---|
| `identity` | nothing: the feature map passes unchanged |
| `mean` | its mean over training images: a number per channel, and one number for the spatial gate |
| `other` | the gate that the network computes for another image at the same place |
| `shuffled` | its own values, with channels (channel gate) and pixels (spatial gate) in another order |
"""

import csv
import hashlib
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from seg_scse import distributed, provenance
from seg_scse.attention import probe
from seg_scse.attention.functional import Gates
from seg_scse.data.prepare import PreparedData
from seg_scse.errors import ConfigError
from seg_scse.evaluation.effects import ALL, INTERVENTIONS, LEVEL, RESAMPLES, UNTOUCHED, Cell, Effects
from seg_scse.evaluation.gate_means import MEAN_IMAGES, gate_means, mean_indices, subset
from seg_scse.evaluation.loaded import (
    Loaded,
    build_predictor,
    checkpoint_facts,
    data_facts,
    data_of,
    load_run,
    print_notes,
    result_folder,
    scoring_protocol,
)
from seg_scse.evaluation.partners import with_partners
from seg_scse.files import require_writable, write_text
from seg_scse.inference.counting import count_split
from seg_scse.inference.device import choose_device
from seg_scse.inference.predictor import Predictor
from seg_scse.metrics.counts import CountsTable

MARGIN = 0.002
"""Change of Dice that counts as none."""


def intervene(
    run: Path,
    split: str,
    which: str,
    overrides: Sequence[str] = (),
    *,
    sites: Sequence[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
    margin: float = MARGIN,
) -> tuple[Path, dict[str, Any]] | None:
    """Score a split with each gate replaced in turn, and with all at once, and compare image by image.

    Writes `interventions.json`, `per_image.csv` and, as soon as each is known, `cells/*/*.csv` into
    `RUN/explain/interventions-<split>`. A run that was interrupted goes on where it stopped; the cells of another
    checkpoint, data set or protocol are discarded.

    Args:
        run: run folder or checkpoint file.
        split: train, val or test.
        which: `best` or `last`, for a run folder.
        overrides: as for an evaluation.
        sites: sites or groups of sites, such as `decoder.1` or `decoder`; default: all with a gate.
        limit: score a random subset of this many images.
        seed: seed of the subset, the partners, the shuffling and the resampling.
        margin: change of the mean Dice within which a gate counts as free to fold.

    Returns:
        the folder and the content of `interventions.json`; None in processes that do not write.

    Raises:
        CheckpointError: no usable checkpoint.
        ConfigError: the network has no gates or none on a site asked for, or fewer than two images.
        DataError: the split is empty or a file unusable.
        WriteError: the folder cannot be written.
    """
    loaded = load_run(run, which, overrides)
    device = choose_device(loaded.config.trainer)
    folder = result_folder(loaded, "explain", f"interventions-{split}")
    if loaded.config.model.attention.type == "none":
        raise ConfigError(f"{run} has no gates to replace: it was trained with model.attention.type = none.")
    data = data_of(loaded)
    indices = subset(data.require(split, "Choose another --split."), limit, seed)
    if len(indices) < 2:
        raise ConfigError(f"an image's partner is another image: the {split} split or `limit` leaves {len(indices)}.")
    predictor = build_predictor(loaded, device)
    study = Study(loaded, data, indices, predictor, seed, folder)
    cells = cells_of(predictor.model, sites)
    if distributed.is_main():
        require_writable(folder)
        print_notes(loaded, data)
    tables = study.run({UNTOUCHED: [], **cells})
    if not distributed.is_main():
        return None
    config = loaded.config
    effects = Effects(tables, config.data.classes, config.evaluation.empty, study.groups(), seed, margin)
    results = {"split": split, **_results(study, effects)}
    write_text(folder / "per_image.csv", _per_image(study, effects))
    write_text(folder / "interventions.json", json.dumps(results, indent=2) + "\n")
    return folder, results


def cells_of(model: nn.Module, names: Sequence[str] | None) -> dict[Cell, list[str]]:
    """List the cells of the table with the sites that each replaces.

    The row `all` is there where no sites are named and there are several. A block that does not consist of separate
    gates can only be replaced by `identity`; so can the row `all` where there is such a block.

    Raises:
        ConfigError: a name means no site with a gate.
    """
    gates = probe.gates_by_site(model)
    for name in names or ():
        if not any(f"{site}.".startswith(f"{name}.") for site in gates):
            raise ConfigError(f"`{name}`: the network has no gate there. Sites with gates: {', '.join(gates)}.")
    chosen = [site for site in gates if names is None or any(f"{site}.".startswith(f"{name}.") for name in names)]
    rows = {site: [site] for site in chosen} | ({ALL: chosen} if names is None and len(chosen) > 1 else {})
    return {
        (row, kind): sites
        for row, sites in rows.items()
        for kind in INTERVENTIONS
        if kind == "identity" or all(isinstance(gates[site], probe.Separable) for site in sites)
    }


@dataclass
class Study:
    """The images and the network of a study, and the counts of its finished cells on disk."""

    loaded: Loaded
    data: PreparedData
    indices: Sequence[int]
    predictor: Predictor
    seed: int
    folder: Path

    def key(self) -> str:
        """Digest of everything that the counts of a cell depend on."""
        predictor = self.predictor
        facts = [
            *(self.loaded.digest, self.data.store.digest, list(self.indices), self.seed, MEAN_IMAGES),
            *(
                str(predictor.device),
                predictor.precision,
                predictor.tile,
                predictor.overlap,
                predictor.threshold,
                predictor.tta,
                list(predictor.scales),
                predictor.blend,
                predictor.margin,
            ),
            provenance.versions(),
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def run(self, cells: Mapping[Cell, Sequence[str]]) -> dict[Cell, CountsTable]:
        """Count the split in each cell, or read the counts that are there; returns them all in the main process."""
        store = self.folder / "cells" / self.key()
        paths = {cell: store / f"{'-'.join(cell)}.csv" for cell in cells}
        todo = distributed.from_main([cell for cell in paths if not paths[cell].exists()])
        if distributed.is_main():
            for old in store.parent.glob("*"):
                if old != store and old.is_dir():
                    shutil.rmtree(old)
        wanted = any(kind == "mean" for _, kind in todo)
        means = gate_means(self.predictor, self.data, self.seed) if wanted else {}
        for cell in todo:
            label = f"[{list(cells).index(cell) + 1}/{len(cells)}] {' '.join(cell)}"
            table = self._count(cell[1], cells[cell], means, label)
            if distributed.is_main():
                table.to_csv(paths[cell])
        return {cell: CountsTable.from_csv(path) for cell, path in paths.items()} if distributed.is_main() else {}

    def _count(self, kind: str, sites: Sequence[str], means: Mapping[str, Gates], label: str) -> CountsTable:
        changes: Mapping[str, Mapping[str, probe.Replacement]] = {
            "untouched": {},
            "identity": dict.fromkeys(sites, "identity"),
            "mean": {site: probe.constant(means[site]) for site in sites if site in means},
            "other": dict.fromkeys(sites, probe.from_partner),
            "shuffled": dict.fromkeys(sites, probe.shuffled(self.seed)),
        }
        predictor, data = self.predictor, self.data
        if kind == "other":
            predictor, data = with_partners(predictor, data, self.indices, self.seed)
        with probe.replaced(self.predictor.model, changes[kind]):
            classes = len(self.loaded.config.data.classes)
            return count_split(predictor, data, self.indices, classes, progress=label).counts

    def groups(self) -> list[str] | None:
        """Return the independent unit of each image, None where each stands for itself."""
        samples = [self.data.manifest.samples[index] for index in self.indices]
        return [sample.group for sample in samples] if any(sample.group != sample.id for sample in samples) else None


def _results(study: Study, effects: Effects) -> dict[str, Any]:
    loaded = study.loaded
    gates = probe.gates_by_site(study.predictor.model)
    kinds = {site: probe.kind_of(gate) for site, gate in gates.items()} | {ALL: f"{len(gates)} gates"}
    rows = dict.fromkeys(row for row, kind in effects.tables if (row, kind) != UNTOUCHED)
    return {
        "format": 1,
        "name": loaded.config.name,
        "created": provenance.now(),
        "images": len(study.indices),
        "classes": list(effects.classes),
        "checkpoint": checkpoint_facts(loaded),
        "protocol": _protocol(study, effects),
        "untouched": effects.averages(UNTOUCHED),
        "table": [effects.row(row, kinds[row]) for row in rows],
        "data": data_facts(loaded, study.data),
        "versions": provenance.versions(),
        "device": provenance.describe_device(study.predictor.device),
    }


def _protocol(study: Study, effects: Effects) -> dict[str, Any]:
    return {
        **scoring_protocol(study.predictor, study.loaded.config),
        "seed": study.seed,
        "mean_images": len(mean_indices(study.data, study.seed)),
        "resamples": RESAMPLES,
        "level": LEVEL,
        "unit": "image" if effects.groups is None else "group",
        "margin": effects.margin,
    }


def _per_image(study: Study, effects: Effects) -> str:
    """Write the foreground Dice of each image (row) in each cell (column) as CSV; empty where it is not scored."""
    samples = [study.data.manifest.samples[index] for index in study.indices]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "group", *(".".join(cell) for cell in effects.tables)])
    for sample, *scores in zip(samples, *map(effects.dice, effects.tables), strict=True):
        writer.writerow([sample.id, sample.group, *scores])
    return text.getvalue()
