"""The histograms of probabilities of an evaluation: what is known of each image, and the curves of all of them."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from seg_scse.config.masks import Task
from seg_scse.errors import DataError
from seg_scse.files import write_bytes
from seg_scse.metrics.probabilities import ProbabilityCounts, ProbabilityTable

FILE = "probabilities.npz"
"""Histograms of every image, `ids` (N,), `pixels` (N, L, 2, 256), `sums` (N, L, 16), `squares` (N, L): the table from
which `probabilities.json` is computed, kept so that evaluations of different images can be joined."""

Histograms = Mapping[str, ProbabilityCounts]
"""By sample id."""


def table_of(histograms: Histograms, ids: Sequence[str], classes: Sequence[str], task: Task) -> ProbabilityTable:
    """Put histograms into a table, in the order of the ids."""
    table = ProbabilityTable(classes, task)
    for sample_id in ids:
        table.add(sample_id, histograms[sample_id])
    return table


def write_histograms(path: Path, histograms: Histograms) -> None:
    """Write the histograms of all images, complete or absent.

    Raises:
        WriteError: the file cannot be written.
    """
    rows = list(histograms.values())
    pixels, sums, squares = (np.stack([one[place] for one in rows]) for place in range(len(ProbabilityCounts._fields)))
    stream = io.BytesIO()
    np.savez_compressed(
        stream,
        ids=np.array(list(histograms), np.str_),
        pixels=pixels.astype(np.uint32),  # an image has fewer pixels
        sums=sums,
        squares=squares,
    )
    write_bytes(path, stream.getvalue())


def read_histograms(path: Path) -> Histograms:
    """Read what `write_histograms` wrote.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            ids, pixels, sums, squares = (file[name] for name in ("ids", *ProbabilityCounts._fields))
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise DataError(f"{path}: cannot be read ({error}). Evaluate again to write it anew.") from error
    rows = zip(ids.tolist(), pixels.astype(np.int64), sums, squares, strict=True)
    return {sample_id: ProbabilityCounts(*counts) for sample_id, *counts in rows}
