"""Predicting a split and measuring each prediction: the one path by which training and evaluation score."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from seg_scse import distributed
from seg_scse.data.names import shown
from seg_scse.data.prepare import PreparedData
from seg_scse.errors import DataError, SegScseError, numbered
from seg_scse.inference.labelling import Label
from seg_scse.inference.sources import Source
from seg_scse.inference.spacing import PIXEL, Spacing, sample_spacings

__all__ = ["PIXEL", "WAITING", "Found", "Measure", "Seen", "Spacing", "sample_spacings", "score_split"]

WAITING = 2
"""Predictions that are kept for the measures while the next one is made; what is needed does not grow with a split."""


@dataclass(frozen=True)
class Seen:
    """A sample, its truth and what is predicted of it.

    Attributes:
        id: of the sample.
        truth: uint8 (H, W): class indices, or bits of a multilabel task; 255 is ignored.
        labels: the prediction, of the same form.
        probabilities: float32 (L, H, W), those that the labels were chosen by (`labelling.Decision`): of the
            foreground (two classes, L = 1), of each class after the first (multilabel, L = K - 1), else of the chosen
            class (L = 1). None where the source gives labels alone.
        spacing: size of a pixel.
    """

    id: str
    truth: Label
    labels: Label
    probabilities: NDArray[np.float32] | None
    spacing: Spacing


Measure = Callable[[Seen], Any]
"""Measures one sample in a thread; its result must be picklable and small, for it is kept."""

Found = dict[str, dict[str, Any]]
"""Name of a measure -> id of a sample -> what the measure returned."""


def score_split(
    source: Source,
    data: PreparedData,
    indices: Sequence[int],
    measures: Mapping[str, Measure],
    progress: str | None = None,
    *,
    spacings: Sequence[Spacing] | None = None,
    check: Callable[[], None] | None = None,
) -> Found:
    """Predict each sample at its original resolution and measure it, while the next one is being predicted.

    In a run of several processes each sample is predicted by one of them and measured once; every process returns
    what all of them found. The first failure stops everything.

    Args:
        source: where the predictions come from.
        data: names and truth of the samples.
        indices: positions in the manifest, the same on every process.
        measures: by name; called in a thread, one sample after the other, in the order of the indices.
        progress: label of a progress bar on the terminal.
        spacings: size of a pixel for each index; None: 1 px.
        check: called before an image is predicted, equally often by all processes, so that they can agree in it to
            stop; what it raises ends the work.

    Returns:
        for each measure its results by sample id, in the order of the indices.

    Raises:
        DataError: a sample was measured twice or not at all; or, with the sample's name, what a measure refuses.
        SegScseError: of any other kind, likewise.
    """
    every = list(zip(indices, spacings or [PIXEL] * len(indices), strict=True))
    found: Found = {name: {} for name in measures}
    waiting: deque[_Waiting] = deque()
    pool = ThreadPoolExecutor(1, "measures")
    try:
        for index, spacing in _own(every, progress, check):
            seen = _see(source, data, index, spacing)
            while len(waiting) >= WAITING:
                _collect(found, waiting.popleft())
            waiting.append((seen.id, pool.submit(_measure, seen, measures)))
        while waiting:
            _collect(found, waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)  # after a failure or an interruption what waits is not measured any more
    return _merged(distributed.gather(found), [data.manifest.samples[index].id for index in indices])


_Waiting = tuple[str, Future[dict[str, Any]]]


def _own(
    every: Sequence[tuple[int, Spacing]], progress: str | None, check: Callable[[], None] | None
) -> Iterator[tuple[int, Spacing]]:
    """Yield this process's part, with a progress bar and a check before each."""
    world = distributed.world_size()
    mine, together = every[distributed.rank() :: world], len(every) // world  # some processes may have one more
    hidden = True if progress is None or not distributed.is_main() else None  # None: shown on a terminal only
    for place, one in enumerate(tqdm(mine, desc=progress, unit="image", disable=hidden, leave=False)):
        if check is not None and place < together:
            check()
        yield one


def _see(source: Source, data: PreparedData, index: int, spacing: Spacing) -> Seen:
    prediction, sample = source.predict(index), data.manifest.samples[index]
    confidence = None if prediction.confidence is None else prediction.confidence.cpu().numpy()
    return Seen(sample.id, np.asarray(data.store.mask(index)), prediction.labels, confidence, spacing)


def _measure(seen: Seen, measures: Mapping[str, Measure]) -> dict[str, Any]:
    return {name: measure(seen) for name, measure in measures.items()}


def _collect(found: Found, waiting: _Waiting) -> None:
    sample_id, future = waiting
    try:
        values = future.result()
    except SegScseError as error:
        raise type(error)(f"sample {shown(sample_id)}: {error}") from error
    except Exception as error:
        error.add_note(f"while the prediction of sample {sample_id!r} was measured")
        raise
    for name, value in values.items():
        found[name][sample_id] = value


def _merged(shards: Sequence[Found], ids: Sequence[str]) -> Found:
    """Join what the processes found, in the order of the ids."""
    return {name: _in_order(name, [shard[name] for shard in shards], ids) for name in shards[0]}


def _in_order(name: str, shards: Sequence[Mapping[str, Any]], ids: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    problems = []
    for shard in shards:
        problems += [f"{shown(sample_id)} was measured twice" for sample_id in shard.keys() & values.keys()]
        values |= shard
    problems += [f"{shown(sample_id)} was not measured" for sample_id in ids if sample_id not in values]
    problems += [f"{shown(sample_id)} is not to be measured" for sample_id in values.keys() - set(ids)]
    if problems or len(ids) != len(values):
        raise DataError(
            f"{name}: the processes do not make one whole of {len(ids)} samples:\n"
            f"{numbered(sorted(problems) or ['an id is there twice'])}"
        )
    return {sample_id: values[sample_id] for sample_id in ids}
