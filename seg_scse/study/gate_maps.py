"""Pictures of what the gates of every variant of a study do on the same few test images."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_scse.attention.probe import Separable, gates_by_site, kind_of
from seg_scse.config.schema import IGNORE_INDEX
from seg_scse.data.display import displayed
from seg_scse.data.names import shown
from seg_scse.data.prepare import PreparedData
from seg_scse.data.sets.cards import resolve_card
from seg_scse.evaluation.cases import rgb
from seg_scse.evaluation.loaded import build_predictor, data_of, load_run
from seg_scse.evaluation.observe import Observation, Window, choose_window, observe
from seg_scse.evaluation.stages import gain_of
from seg_scse.files import write_bytes, write_text
from seg_scse.inference.device import choose_device
from seg_scse.inference.predictor import Predictor
from seg_scse.report.reading import STUDY_GATES
from seg_scse.report.study_gate_parts import GateFigure, GateRow, GateStage
from seg_scse.report.study_gates import draw_gates
from seg_scse.study.declaration import Declaration
from seg_scse.study.gate_choice import Choice, choose

INDEX = "index.json"
FORMAT = 1

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class _Tile:
    """An image cut to what one pass of the networks sees of it."""

    name: str
    window: Window
    size: tuple[int, int]
    image: NDArray[Any]
    picture: Pixels
    truth: Pixels


def gate_maps(
    folder: Path, declaration: Declaration, *, count: int = 2, again: bool = False, overrides: Sequence[str] = ()
) -> list[Path]:
    """Draw the gates of all finished variants on the same images: `gates/image-<n>.png`, and last `gates/index.json`.

    A figure has a row for each variant with gates that look at the image, all in the same colours; which runs and
    images are shown says `gate_choice.choose`. Of an image that is larger than a tile, the tile around its largest true
    object is shown.

    Args:
        folder: of the study; its runs may be unfinished.
        declaration: of the study.
        count: images.
        again: draw also where the pictures are there for these weights.
        overrides: as for an evaluation, such as another `data.root` or `trainer.device`.

    Returns:
        The pictures; none where no variant with gates is finished, or no image has a score.

    Raises:
        CheckpointError: a run has no usable weights.
        ConfigError: an override is not allowed.
        DataError: a file of the study, or an image, cannot be used.
        WriteError: a picture cannot be written.
    """
    choice = choose(folder, declaration, count)
    if choice is None:
        return []
    place, fits = folder / STUDY_GATES, _fingerprint(choice)
    if not again and (known := _drawn(place, fits)) is not None:
        return known
    return _write(place, fits, choice, _figures(declaration, choice, overrides) if choice.images else [])


def _fingerprint(choice: Choice) -> dict[str, Any]:
    return {
        "images": [name for _, _, name in choice.images],
        "reference": choice.reference.weights,
        "weights": {name: run.weights for name, run in choice.runs.items()},
        "notes": list(choice.notes),
    }


def _drawn(place: Path, fits: Mapping[str, Any]) -> list[Path] | None:
    """Return the pictures that are there for these weights and images; None where they are not, or not all."""
    try:
        index = json.loads((place / INDEX).read_text(encoding="utf-8"))
        files = [place / entry["file"] for entry in index["images"]]
        known = index["format"] == FORMAT and index["fits"] == fits
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return files if known and all(file.exists() for file in files) else None


def _figures(declaration: Declaration, choice: Choice, overrides: Sequence[str]) -> list[GateFigure]:
    """Observe the images with one network after the other, so that only one is in memory."""
    first = load_run(choice.reference.cell.folder, "best", overrides)
    data, side = data_of(first), min(run.tile for run in choice.runs.values())
    tiles = [_tile(name, data, side) for _, _, name in choice.images]
    rows: list[list[GateRow]] = [[] for _ in tiles]
    for name in choice.runs:
        for found, row in zip(rows, _rows(declaration, choice, name, tiles, overrides), strict=True):
            found.append(row)
    task = first.config.data.task
    return [
        GateFigure(tile.name, _place(tile), tile.picture, tile.truth, task, tuple(found))
        for tile, found in zip(tiles, rows, strict=True)
    ]


def _tile(name: str, data: PreparedData, side: int) -> _Tile:
    index = next(place for place, sample in enumerate(data.manifest.samples) if sample.id == name)
    image, truth = np.asarray(data.store.image(index)), np.asarray(data.store.mask(index))
    objects = np.where(truth == IGNORE_INDEX, 0, truth).astype(np.uint8)
    window = choose_window(objects, side)
    picture = rgb(displayed(image, resolve_card(data.config).own_channels))
    return _Tile(name, window, truth.shape, window.of(image), window.of(picture), window.of(truth))


def _place(tile: _Tile) -> str:
    window = tile.window
    if window.chosen == "whole":
        return f"The whole image, {window.height} × {window.width} px (height × width)."
    reason = "around its largest true object" if window.chosen == "component" else "in its centre"
    return (
        f"A tile of {window.height} × {window.width} px {reason}, from row {window.y}, column {window.x} of "
        f"{tile.size[0]} × {tile.size[1]} px."
    )


def _rows(
    declaration: Declaration, choice: Choice, name: str, tiles: Sequence[_Tile], overrides: Sequence[str]
) -> Iterator[GateRow]:
    """Observe each tile with the network of one variant."""
    run = choice.runs[name]
    loaded = load_run(run.cell.folder, "best", overrides)
    predictor = build_predictor(loaded, choose_device(loaded.config.trainer))
    lines = [declaration.variant(name).says, f"seed {run.cell.seed}, epoch {loaded.state['progress']['epoch']}"]
    if joined := _inseparable(predictor):
        lines.append(f"gates of {', '.join(joined)} cannot be separated")
    for tile in tiles:
        seen, score = observe(predictor, tile.image), run.score(tile.name)
        scored = [] if score is None else [f"Dice of the whole image {score:.3f}"]
        yield GateRow(name, (*lines, *scored), seen.prediction, run.tile, tuple(_stages(seen, predictor)), joined)


def _inseparable(predictor: Predictor) -> tuple[str, ...]:
    """Return the kinds of gates that have no channel or spatial gate by themselves."""
    gates = gates_by_site(predictor.model).values()
    return tuple(sorted({kind_of(gate) for gate in gates if not isinstance(gate, Separable)}))


def _stages(seen: Observation, predictor: Predictor) -> Iterator[GateStage]:
    gates = gates_by_site(predictor.model)
    for site, stage in seen.stages.items():
        facts = (stage.before, stage.after, stage.channel, stage.spatial)
        yield GateStage(site, stage.cells, gain_of(gates[site]), *facts)


def _write(place: Path, fits: Mapping[str, Any], choice: Choice, figures: Sequence[GateFigure]) -> list[Path]:
    """Write the pictures in place of older ones, and the index last."""
    (place / INDEX).unlink(missing_ok=True)
    for older in place.glob("image-*.png"):
        older.unlink()
    entries, files = [], []
    for number, figure in enumerate(figures, start=1):
        file = f"image-{number}.png"
        files.append(place / file)
        write_bytes(place / file, draw_gates(figure))
        names, seed = ", ".join(row.variant for row in figure.rows), choice.reference.cell.seed
        caption = _caption(choice, number - 1, figure)
        entries.append({"file": file, "variant": names, "seed": seed, "id": figure.id, "caption": caption})
    content = {"format": FORMAT, "fits": fits, "images": entries, "notes": list(choice.notes)}
    write_text(place / INDEX, json.dumps(content, indent=2) + "\n")
    return files


def _caption(choice: Choice, number: int, figure: GateFigure) -> str:
    rank, score, name = choice.images[number]
    sentences = [
        f"Image {shown(name)}, number {rank} of {len(choice.reference.ranking())} from the worst to the best of "
        f"{choice.reference.cell.label} (Dice {score:.3f}); chosen by this rank alone, not by its gates."
    ]
    sentences += [
        f"The gates of {row.variant} ({', '.join(row.inseparable)}) cannot be separated: only the features before and "
        "after them are compared."
        for row in figure.rows
        if row.inseparable
    ]
    return " ".join([*sentences, *choice.notes])
