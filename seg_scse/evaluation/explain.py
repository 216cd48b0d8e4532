"""What the gates of a trained network do: pages of single images, and statistics over a split."""

import csv
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from seg_scse import provenance
from seg_scse.attention.probe import gates_by_site
from seg_scse.config.loading import nearest
from seg_scse.config.schema import Config
from seg_scse.data.display import displayed
from seg_scse.data.files.raster import Array
from seg_scse.data.names import shown, some
from seg_scse.data.prepare import PreparedData
from seg_scse.data.sets.cards import resolve_card
from seg_scse.data.single import find_file, read_scaled
from seg_scse.errors import ConfigError
from seg_scse.evaluation.cases import choose_cases
from seg_scse.evaluation.loaded import (
    Loaded,
    build_predictor,
    checkpoint_facts,
    data_of,
    load_run,
    print_notes,
    result_folder,
    same_data,
)
from seg_scse.evaluation.observe import class_activation, observe
from seg_scse.evaluation.stages import Arrays, gain_of, study_split
from seg_scse.files import atomic_path, require_writable, write_text
from seg_scse.inference.device import choose_device
from seg_scse.inference.predictor import Predictor
from seg_scse.models import describe_model

MOST_STUDIED = 200
"""Images of a split that are studied where no number is given."""
CONTENT, PROFILES, PAGES = "explain.json", "profiles.npz", "pages"
"""What an explanation consists of: written last, and holding the rest together; arrays of the study; single images."""
OVERVIEW = 256
"""Longest side in pixels of the small picture that shows where a tile lies."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Subject:
    """An image to draw a page of: a sample by its position, or a file without truth, of a volume one slice."""

    name: str
    source: int | Path
    kind: str | None = None
    plane: int | None = None


def explain(
    run: Path,
    split: str,
    which: str,
    overrides: Sequence[str] = (),
    *,
    images: Sequence[str] = (),
    count: int = 6,
    limit: int = MOST_STUDIED,
    out: Path | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Record what the gates of a checkpoint do on single images and over a split.

    Writes `pages/*.npz`, `profiles.npz` and at last `explain.json` into `RUN/explain/<split>`.

    Args:
        run: run folder or checkpoint file.
        split: train, val or test: the images to study.
        which: `best` or `last`, for a run folder.
        overrides: as for an evaluation.
        images: sample ids of any split, or image files, `FILE:12` for slice 12 of a volume; empty chooses from the
            split: the worst, median and best where the split was evaluated, else the first.
        count: images to choose where none are named.
        limit: most images of the split to study, evenly spread over its ids; 0 for no study, and then image files
            can be explained without the data set.
        out: another folder to write into.

    Returns:
        The folder and the content of `explain.json`.

    Raises:
        CheckpointError: no usable checkpoint.
        ConfigError: the network has no gates, an image that is neither id nor file, or an override not allowed.
        DataError: the split is empty or a file unusable.
        WriteError: the folder cannot be written.
    """
    loaded = load_run(run, which, overrides)
    _require_explainable(run, loaded.config)
    folder = out or result_folder(loaded, "explain", split)
    predictor = build_predictor(loaded, choose_device(loaded.config.trainer))
    stages = _stages(predictor.model)
    files_only = bool(images) and limit == 0 and all(find_file(name) for name in images)
    data = None if files_only else data_of(loaded)
    subjects = _subjects(images, count, loaded, data, split)
    require_writable(folder)
    _clear(folder)
    study: dict[str, Any] | None = None
    arrays: Arrays = {}
    if data is not None:
        print_notes(loaded, data)
    if data is not None and limit:
        studied = _evenly(data.require(split, "Choose another --split."), limit)
        study, arrays = study_split(predictor, data, studied, loaded.config.data.classes)
    content = {
        **_header(loaded, split, data, predictor),
        "stages": stages,
        "study": study,
        "pages": _pages(folder / PAGES, subjects, loaded, data, predictor),
    }
    _write_arrays(folder / PROFILES, arrays)
    write_text(folder / CONTENT, json.dumps(content, indent=2) + "\n")
    return folder, content


def _require_explainable(run: Path, config: Config) -> None:
    if config.model.attention.type == "none":
        raise ConfigError(f"{run} has no gates to explain: it was trained with model.attention.type = none.")
    if config.data.task == "multilabel":
        raise ConfigError(
            f"{run}: data.task = multilabel, but the pictures and statistics of `explain` divide pixels by their one "
            "class. What its gates are worth can be measured: seg-scse explain RUN --intervene."
        )


def _clear(folder: Path) -> None:
    """Remove an older explanation; a folder without one may be anything, and nothing is removed from it."""
    if (folder / CONTENT).exists():
        (folder / CONTENT).unlink()
        shutil.rmtree(folder / PAGES, ignore_errors=True)


def _header(loaded: Loaded, split: str, data: PreparedData | None, predictor: Predictor) -> dict[str, Any]:
    return {
        "format": 1,
        "name": loaded.config.name,
        "split": split,
        "created": provenance.now(),
        "classes": list(loaded.config.data.classes),
        "checkpoint": checkpoint_facts(loaded),
        "tile": predictor.tile,
        "same_data": None if data is None else same_data(loaded, data),
        "versions": provenance.versions(),
        "device": provenance.describe_device(predictor.device),
    }


def _stages(model: nn.Module) -> list[dict[str, Any]]:
    """Describe the gates in the order of the network, with the largest value that each can take."""
    gates = gates_by_site(model)
    return [{**facts, "gain": gain_of(gates[facts["site"]])} for facts in describe_model(model)["gates"]]


def _subjects(names: Sequence[str], count: int, loaded: Loaded, data: PreparedData | None, split: str) -> list[Subject]:
    places = {} if data is None else {sample.id: index for index, sample in enumerate(data.manifest.samples)}
    if names:
        return [_named(name, places) for name in names]
    assert data is not None  # without names there are no files
    of_split = {data.manifest.samples[index].id: index for index in data.require(split, "Choose another --split.")}
    table = result_folder(loaded, "evaluation", split) / "per_image.csv"
    rows = [row for row in _scored(table) if row["id"] in of_split] if table.exists() else []
    cases = {str(row["id"]): kind for kind, row in choose_cases(rows, max(1, count // 3))}
    return [Subject(name, of_split[name], cases.get(name)) for name in list(cases or of_split)[:count]]


def _named(name: str, places: Mapping[str, int]) -> Subject:
    if name in places:
        return Subject(name, places[name])
    if found := find_file(name):
        return Subject(shown(name), found[0], plane=found[1])
    hint = nearest(name, places) or "."
    known = f" The run has {len(places)} samples: {some(list(places))}." if places else ""
    raise ConfigError(f"--images {shown(name)}: neither a sample id of the run nor an image file{hint}{known}")


def _scored(path: Path) -> list[dict[str, str | float | None]]:
    """Read ids and foreground scores of an evaluation."""
    rows = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))
    return [
        {"id": row["id"], "dice_foreground": float(row["dice_foreground"]) if row["dice_foreground"] else None}
        for row in rows
    ]


def _evenly(indices: Sequence[int], limit: int) -> list[int]:
    """Take at most `limit` of the indices at even distances, so that no part of a sorted list is left out."""
    count = min(limit, len(indices))
    return [indices[position * len(indices) // count] for position in range(count)]


def _pages(
    folder: Path, subjects: Sequence[Subject], loaded: Loaded, data: PreparedData | None, predictor: Predictor
) -> list[dict[str, Any]]:
    """Write the arrays of each page and return what is to be known about them."""
    pages, own = [], resolve_card(loaded.config.data).own_channels
    for number, subject in enumerate(tqdm(subjects, desc="pages", unit="image", disable=None, leave=False)):
        image, truth = _pixels(subject, loaded, data)
        page, arrays = _page(predictor, image, truth, own)
        _write_arrays(folder / f"{number}.npz", arrays)
        pages.append({"id": subject.name, "kind": subject.kind, "arrays": f"{PAGES}/{number}.npz", **page})
    return pages


def _pixels(subject: Subject, loaded: Loaded, data: PreparedData | None) -> tuple[Array, Pixels | None]:
    if isinstance(subject.source, Path):
        return read_scaled(subject.source, loaded.config.data, loaded.state.get("scale"), subject.plane), None
    assert data is not None
    return np.asarray(data.store.image(subject.source)), np.asarray(data.store.mask(subject.source))


def _page(
    predictor: Predictor, image: Array, truth: Pixels | None, own: slice
) -> tuple[dict[str, Any], dict[str, NDArray[np.generic]]]:
    """Observe one image, of which some channels are drawn: facts for the page, and its arrays (see `explain`)."""
    seen = observe(predictor, image)
    predicted = np.bincount(seen.prediction.ravel(), minlength=2)
    label = 1 + int(predicted[1:].argmax())
    activation = class_activation(predictor, seen, label)
    picture = displayed(image, own)
    arrays: dict[str, NDArray[np.generic]] = {"image": seen.window.of(picture), "prediction": seen.prediction}
    if truth is not None:
        arrays["truth"] = seen.window.of(truth)
    if seen.window.chosen != "whole":
        arrays["overview"] = _small(picture)
    for site, stage in seen.stages.items():
        maps = {"before": stage.before, "after": stage.after, "channel": stage.channel, "spatial": stage.spatial}
        found = {**maps, "activation": activation[site]}
        arrays |= {f"{name}.{site}": values for name, values in found.items() if values is not None}
    return {
        "size": list(image.shape[:2]),
        "window": asdict(seen.window),
        "label": label,
        "predicted": bool(predicted[label]),
        "cells": {site: list(stage.cells) for site, stage in seen.stages.items()},
    }, arrays


def _small(image: Pixels) -> Pixels:
    """Reduce an image to at most `OVERVIEW` pixels a side, by whole steps."""
    step = -(-max(image.shape[:2]) // OVERVIEW)
    return image[::step, ::step]


def _write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)
