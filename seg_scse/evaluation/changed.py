"""The images whose score changed most between two evaluations, drawn with both predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_scse.evaluation.cases import remove_pictures
from seg_scse.evaluation.changed_predictions import Remade, Unavailable, remake
from seg_scse.evaluation.comparable import LOWER_IS_BETTER, Candidate
from seg_scse.evaluation.compared import Compared
from seg_scse.files import write_bytes
from seg_scse.metrics.scores import FOREGROUND

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class NotDrawn:
    """Why there are no pictures, as a whole sentence."""

    reason: str


@dataclass(frozen=True)
class Changed:
    """An image that changed: its place among the ids, and whether it became better or worse."""

    place: int
    kind: str


def choose_changed(differences: Floats, each: int, lower_is_better: bool) -> list[Changed]:
    """Choose the images that gained most, then those that lost most, the largest change first.

    Args:
        differences: (N,), score in b minus score in a; NaN where one of the two has none.
        each: most images of each kind; equal images are of neither.
        lower_is_better: whether a negative difference is a gain.
    """
    gains = -differences if lower_is_better else differences
    order = np.argsort(-np.abs(np.nan_to_num(gains)), kind="stable")
    better = [Changed(int(place), "better") for place in order if gains[place] > 0][:each]
    return better + [Changed(int(place), "worse") for place in order if gains[place] < 0][:each]


def draw_changed(
    folder: Path, candidates: Sequence[Candidate], compared: Compared, each: int
) -> list[list[dict[str, Any]] | NotDrawn]:
    """Save image, truth and both predictions of the images that changed most, for every run against the first.

    The predictions are made again, one run after the other. Where that is not possible any more, because data or
    weights have gone, the reason stands in place of the pictures.

    Args:
        folder: pictures of an earlier comparison in it are removed.
        candidates: the baseline first.
        compared: scores of all images.
        each: images of each kind.

    Returns:
        for each run but the first its `cases` in compare.json, or why there are none.

    Raises:
        WriteError: the folder cannot be written.
    """
    remove_pictures(folder)
    lower = compared.metric in LOWER_IS_BETTER
    columns = compared.columns[FOREGROUND]
    chosen = [choose_changed(columns[k] - columns[0], each, lower) for k in range(1, len(candidates))]
    wanted = [[compared.ids[one.place] for one in those] for those in chosen]
    everything = list(dict.fromkeys(name for names in wanted for name in names))
    if not everything:
        nothing = (
            "No pictures were asked for." if each == 0 else "No image scores differently, so there is nothing to draw."
        )
        return [NotDrawn(nothing) for _ in chosen]
    made = [remake(candidate, names) for candidate, names in zip(candidates, [everything, *wanted], strict=True)]
    return [
        _draw(folder, k, those, (made[0], made[k]), compared) if those else NotDrawn("No image scores differently.")
        for k, those in enumerate(chosen, start=1)
    ]


def _draw(
    folder: Path,
    number: int,
    chosen: Sequence[Changed],
    made: tuple[Mapping[str, Remade] | Unavailable, Mapping[str, Remade] | Unavailable],
    compared: Compared,
) -> list[dict[str, Any]] | NotDrawn:
    """Write the pictures of one pair."""
    first, second = made
    if isinstance(first, Unavailable):
        return NotDrawn(first.reason)
    if isinstance(second, Unavailable):
        return NotDrawn(second.reason)
    columns, entries = compared.columns[FOREGROUND], []
    for place, one in enumerate(chosen):
        sample_id = compared.ids[one.place]
        a, b = first[sample_id], second[sample_id]
        layers = {"image": a.image, "truth": a.truth, "prediction_a": a.prediction, "prediction_b": b.prediction}
        names = {layer: f"{number}.{place}.{layer}.png" for layer, content in layers.items() if content is not None}
        for layer, name in names.items():
            write_bytes(folder / name, layers[layer] or b"")
        before, after = float(columns[0][one.place]), float(columns[number][one.place])
        entry = {"id": sample_id, "kind": one.kind, "a": before, "b": after, "difference": after - before}
        entries.append({**entry, "image": None, **names, "scale": a.scale, "remade": a.same and b.same})
    return entries
