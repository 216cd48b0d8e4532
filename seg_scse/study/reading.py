"""What the runs of a study left behind: which are finished, how they were trained, and what they scored."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from seg_scse import checkpoint
from seg_scse.errors import DataError, numbered
from seg_scse.evaluation.comparable import Candidate, places
from seg_scse.evaluation.tables import Tables, read_results
from seg_scse.study.belonging import require_one_way, require_same_images
from seg_scse.study.cells import Cell, cells
from seg_scse.study.declaration import Declaration
from seg_scse.study.frozen import frozen_part
from seg_scse.study.scores import RunScores, Scores, row_names, with_classes
from seg_scse.study.variants import Variant
from seg_scse.training.records import EPOCHS, CsvLog

METRICS = ("dice", "iou", "hd95")
"""Scores of every study, besides the one that is tested."""


@dataclass(frozen=True)
class Entry:
    """One evaluation that a study asks for.

    Attributes:
        variant: that is scored.
        cell: the run, of another variant where this one is not trained.
        status: as `Cell.state`; `done` where it is scored with the best weights of the finished run.
        error: why it is not done.
        seconds: that the run took; None where that is unknown, or nothing was trained.
        candidate: the evaluation; None where it is not done.
    """

    variant: Variant
    cell: Cell
    status: str
    error: str
    seconds: float | None
    candidate: Candidate | None

    @property
    def label(self) -> str:
        """Name in messages, such as `scse-add seed 1`."""
        return replace(self.cell, variant=self.variant.name).label


@dataclass(frozen=True)
class Found:
    """All that the files of a study's runs say.

    Attributes:
        scores: of the finished runs.
        runs: one for each entry, in the form of `study.json`.
        results: `results.json` of every finished entry.
        notes: what a reader should know, in whole sentences.
    """

    scores: Scores
    runs: list[dict[str, Any]]
    results: list[Mapping[str, Any]]
    notes: list[str]


def read_study(folder: Path, declaration: Declaration, monitor: str) -> Found:
    """Read the evaluations of all finished runs, and prove that they belong together.

    Args:
        folder: of the study.
        declaration: of the study.
        monitor: name of the score that training chose the best weights by.

    Raises:
        ConfigError: a run does not hold the primary metric.
        DataError: no run is finished, a table is damaged, or the runs do not belong together.
    """
    entries = _entries(folder, declaration)
    done = [(entry, entry.candidate) for entry in entries if entry.candidate is not None]
    if not done:
        raise DataError(_nothing(folder, entries))
    evaluations = [(entry.variant.name, candidate) for entry, candidate in done]
    require_one_way(evaluations, [entry.cell.seed for entry, _ in done], declaration)
    together = _together(entries)
    candidates = [candidate for _, candidate, _ in together]
    if not candidates:
        raise DataError(f"{folder}: no seed of any variant has all of its {declaration.folds} folds finished yet.")
    require_same_images(candidates, declaration.metric)
    metrics, notes = _metrics(candidates, declaration.metric)
    scores = _scores(together, metrics)
    runs = [_run(entry, metrics, monitor) for entry in entries]
    return Found(scores, runs, [candidate.results for _, candidate in done], notes)


def _entries(folder: Path, declaration: Declaration) -> list[Entry]:
    every = cells(folder, declaration)
    return [
        _entry(variant, cell, declaration.split)
        for variant in declaration.variants
        for cell in every
        if cell.variant == (variant.name if variant.trained else variant.of)
    ]


def _entry(variant: Variant, cell: Cell, split: str) -> Entry:
    state = cell.state()
    status, error, seconds = state["status"], str(state["error"] or ""), state["seconds"] or None
    afterwards, error = (error, "") if status == "done" else ("", error)  # what failed after the run had its scores
    place = cell.evaluation(split if variant.trained else frozen_part(split))
    if not variant.trained:
        status, error, seconds = ("done" if status == "done" else "missing"), "", None
    label = replace(cell, variant=variant.name).label
    if status == "done" and not _is_of_best(place, cell.folder):
        status, error = "missing", "it has no scores of its best weights"
        if not variant.trained and afterwards:
            status, error = "failed", afterwards
    candidate = Candidate(label, place, Tables.read(place)) if status == "done" else None
    return Entry(variant, cell, status, error, seconds, candidate)


def _is_of_best(evaluation: Path, run: Path) -> bool:
    """Tell whether an evaluation is there and was made with the best weights that the run has now."""
    try:
        scored = read_results(evaluation)["checkpoint"]["sha256"]
    except (DataError, KeyError, TypeError):
        return False
    hashes = checkpoint.hash_file(run / checkpoint.BEST)
    return not hashes.exists() or scored in hashes.read_text(encoding="ascii", errors="replace").split()


def _nothing(folder: Path, entries: Sequence[Entry]) -> str:
    """Say why there is nothing to answer."""
    failed = [f"{entry.label}: {entry.error}" for entry in entries if entry.status == "failed"]
    count = f"{folder}: none of its {len(entries)} runs is finished, so there is nothing to compare yet"
    return f"{count}:\n{numbered(failed)}" if failed else f"{count}."


def _together(entries: Sequence[Entry]) -> list[tuple[tuple[str, int], Candidate, tuple[int | None, ...]]]:
    """The seeds of each variant that are finished in every fold, in one table, with the fold of each image."""
    found = []
    for key in dict.fromkeys((entry.variant.name, entry.cell.seed) for entry in entries):
        those = [entry for entry in entries if (entry.variant.name, entry.cell.seed) == key]
        parts = [(entry.cell.fold, entry.candidate) for entry in those if entry.candidate is not None]
        if len(parts) == len(those):
            found.append((key, *_joined(f"{key[0]} seed {key[1]}", parts)))
    return found


def _joined(label: str, parts: Sequence[tuple[int | None, Candidate]]) -> tuple[Candidate, tuple[int | None, ...]]:
    """Put the folds of one seed together, in which every image is scored once."""
    fold_of = {name: fold for fold, candidate in parts for name in candidate.tables.ids}
    first = parts[0][1]
    if parts[0][0] is None:
        return first, (None,) * len(first.tables.ids)
    ids = sorted(fold_of)
    try:
        merged = Tables.merge([candidate.tables for _, candidate in parts], ids)
    except DataError as error:
        raise DataError(f"the folds of {label} do not belong together: {error}") from error
    tables = replace(merged, results=first.results)
    return Candidate(label, first.folder, tables), tuple(fold_of[name] for name in ids)


def _metrics(candidates: Sequence[Candidate], primary: str) -> tuple[tuple[str, ...], list[str]]:
    """The scores that every run has, and a sentence on each that some lack."""
    held = [candidate.tables.columns(candidate.results["protocol"]["empty"]).keys() for candidate in candidates]
    found, notes = [], []
    for name in dict.fromkeys((*METRICS, primary)):
        lacking = [candidate.label for candidate, names in zip(candidates, held, strict=True) if name not in names]
        if lacking:
            more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
            where = f"in {lacking[0]}{more}" if len(lacking) < len(held) else "in any run"
            notes.append(f"{name} is left out, because it was not measured {where}.")
        else:
            found.append(name)
    return tuple(found), notes


def _scores(
    together: Sequence[tuple[tuple[str, int], Candidate, tuple[int | None, ...]]], metrics: tuple[str, ...]
) -> Scores:
    first = together[0][1]
    ids, classes = first.tables.ids, tuple(first.results["classes"])
    runs = {}
    for key, candidate, folds in together:
        order = places(candidate, ids)
        columns = candidate.tables.columns(candidate.results["protocol"]["empty"])
        chosen = {name: with_classes(columns[name][order], classes) for name in metrics}
        runs[key] = RunScores(tuple(folds[place] for place in order), chosen)
    return Scores(ids, first.tables.groups, row_names(classes), metrics, runs)


def _run(entry: Entry, metrics: Sequence[str], monitor: str) -> dict[str, Any]:
    candidate = entry.candidate
    return {
        "variant": entry.variant.name,
        "seed": entry.cell.seed,
        "fold": entry.cell.fold,
        "status": entry.status,
        "error": entry.error,
        "best_epoch": candidate.results["checkpoint"]["epoch"] if candidate and entry.variant.trained else None,
        **(_training(entry.cell.folder, monitor) if entry.variant.trained else dict.fromkeys(_TRAINING)),
        "seconds": entry.seconds,
        "scores": _means(candidate, metrics) if candidate else dict.fromkeys(metrics),
    }


_TRAINING = ("epochs", "steps", "val_score")


def _training(run: Path, monitor: str) -> dict[str, Any]:
    """How long a run was trained, and the best of its monitored scores, by its log."""
    rows = CsvLog.rows(run / EPOCHS)
    validated = [float(row[monitor]) for row in rows if row.get(monitor)]
    steps = int(rows[-1]["step"]) if rows else None
    return dict(zip(_TRAINING, (len(rows), steps, max(validated, default=None)), strict=True))


def _means(candidate: Candidate, metrics: Sequence[str]) -> dict[str, float | None]:
    """Mean of the foreground's score over the images of an evaluation."""
    columns = candidate.tables.columns(candidate.results["protocol"]["empty"])
    means: dict[str, float | None] = {}
    for name in metrics:
        foreground = with_classes(columns[name], candidate.results["classes"])[:, 0]
        scored = foreground[~np.isnan(foreground)].tolist()
        means[name] = statistics.fmean(scored) if scored else None
    return means
