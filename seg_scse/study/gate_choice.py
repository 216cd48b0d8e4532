"""Which runs and images of a study are shown: chosen by rule, before anybody looks at a picture."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from seg_scse import checkpoint
from seg_scse.config.loading import load_config
from seg_scse.report.per_image import PerImage, read_per_image
from seg_scse.report.reading import read_results
from seg_scse.study.cells import Cell, cells
from seg_scse.study.declaration import CONFIG, Declaration


@dataclass(frozen=True)
class ShownRun:
    """A finished run: the weights that were scored, the side of their tile, and their scores image by image."""

    cell: Cell
    weights: str
    tile: int
    scores: PerImage

    def score(self, name: str) -> float | None:
        """Return the foreground Dice of an image; None where it was not scored."""
        return dict(zip(self.scores.ids, self.scores.column("dice") or (), strict=False)).get(name)

    def ranking(self) -> list[tuple[float, str]]:
        """Return the scored images from the worst to the best: (foreground Dice, id)."""
        return sorted((score, name) for name in self.scores.ids if (score := self.score(name)) is not None)


@dataclass(frozen=True)
class Choice:
    """What is shown of a study.

    Attributes:
        runs: by variant, its first finished run in which the images are test images; at least one.
        reference: the run whose scores the images were ranked by.
        images: (rank from 1, foreground Dice of the reference, id), from the worse to the better.
        notes: on variants that are not shown.
    """

    runs: Mapping[str, ShownRun]
    reference: ShownRun
    images: tuple[tuple[int, float, str], ...]
    notes: tuple[str, ...]


def choose(folder: Path, declaration: Declaration, count: int) -> Choice | None:
    """Choose runs and images; None where no variant with gates is finished.

    The images are those at the middles of `count` equal parts of the ranking by the reference's foreground Dice (one
    image: the median; two: a quarter and three quarters), so that no extreme case stands for the rest. The reference is
    the baseline's first finished run, and where it has none, that of the first variant which has.

    Args:
        folder: of the study.
        declaration: of the study.
        count: images.

    Raises:
        ConfigError: the study's configuration is damaged.
        DataError: scores of a run are damaged.
    """
    names = [declaration.baseline, *(variant.name for variant in declaration.variants)]
    found = (run for name in names if (run := _first_finished(folder, declaration, name)) is not None)
    reference = next(found, None)
    if reference is None:
        return None
    runs, notes = _gated_runs(folder, declaration, reference.cell.fold)
    ranking = reference.ranking()
    ranks = sorted({(2 * part + 1) * len(ranking) // (2 * count) for part in range(count)}) if ranking else []
    images = tuple((rank + 1, *ranking[rank]) for rank in ranks)
    return Choice(runs, reference, images, tuple(notes)) if runs else None


def _gated_runs(folder: Path, declaration: Declaration, fold: int | None) -> tuple[dict[str, ShownRun], list[str]]:
    """Return the run of each variant whose gates look at the image, and notes on the others.

    Runs of another fold are left out: the images may be among those that they were trained with.
    """
    base = load_config(folder / CONFIG)
    runs, notes = {}, []
    for variant in declaration.variants:
        kind = variant.config(base).model.attention.type if variant.trained else "none"
        if kind == "constant":
            notes.append(f"{variant.name} is not shown: its gates are the same for every image and place.")
        elif kind != "none" and (run := _first_finished(folder, declaration, variant.name, fold)) is not None:
            runs[variant.name] = run
        elif kind != "none":
            of_fold = "" if fold is None else f" of fold {fold}"
            notes.append(f"{variant.name} is not shown: none of its runs{of_fold} is finished.")
    return runs, notes


def _first_finished(folder: Path, declaration: Declaration, variant: str, fold: int | None = None) -> ShownRun | None:
    """Return the first run of a variant (and fold) that has ended, and whose weights are those that were scored."""
    for cell in cells(folder, declaration):
        place = cell.evaluation(declaration.split)
        if cell.variant != variant or fold not in (None, cell.fold) or cell.state()["status"] != "done":
            continue
        if (weights := _weights(cell)) and (place / "results.json").exists():
            results = read_results(place / "results.json")
            if results.checkpoint and results.checkpoint.sha256 in weights and results.protocol.tile:
                scores = read_per_image(place / "per_image.csv", results)
                return ShownRun(cell, results.checkpoint.sha256, results.protocol.tile, scores)
    return None


def _weights(cell: Cell) -> list[str]:
    """Return the digests that the best checkpoint may have."""
    file = checkpoint.hash_file(cell.folder / checkpoint.BEST)
    return file.read_text(encoding="utf-8").split() if file.exists() else []
