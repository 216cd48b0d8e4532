"""The one pipeline of all evaluations: predict or read, measure, describe, write."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from seg_scse import distributed, provenance
from seg_scse.config.schema import Config
from seg_scse.data.prepare import PreparedData
from seg_scse.evaluation.cases import Row, save_cases
from seg_scse.evaluation.measuring import PROBABILITIES, Plan
from seg_scse.evaluation.results import Described, write_evaluation
from seg_scse.files import require_writable
from seg_scse.inference.cost import measure_cost
from seg_scse.inference.labelling import Label
from seg_scse.inference.scoring import score_split
from seg_scse.inference.sources import NetworkSource, Source

Evaluated = tuple[Path, dict[str, Any]]
"""The folder of an evaluation and the content of its `results.json`."""


@dataclass(frozen=True)
class Job:
    """What is scored against what, and where the results go.

    Attributes:
        name: of the run, the ensemble or the folder of predictions.
        split: of the data, or `all`.
        folder: where the results go.
        config: its `evaluation` section says how; the whole is kept in the results.
        data: the samples and their truth.
        indices: positions of those that are scored.
        source: where the predictions come from.
        facts: `checkpoint`, `members`, `sources`, `predictions`, `protocol`, `data` and `device` of `results.json`.
        save: folder for the predicted label maps, or None.
        images: whether the samples have images, to draw the cases on.
        timed: whether the time of a prediction is that of the network as it is, and is kept.
    """

    name: str
    split: str
    folder: Path
    config: Config
    data: PreparedData
    indices: list[int]
    source: Source
    facts: Mapping[str, Any]
    save: Path | None = None
    images: bool = True
    timed: bool = True


def score(job: Job) -> Evaluated | None:
    """Score the samples of a job, each once, at its original resolution, and write the evaluation folder.

    Writes `counts.csv`, `groups.csv`, as configured `surfaces.csv`, `objects.csv`, `centerlines.csv` and
    `probabilities.json`, then `per_image.csv`, `cases/` and, last, `results.json`.

    Returns:
        the folder and the content of `results.json`; None in processes that do not write.

    Raises:
        DataError: an image, mask or prediction cannot be used.
        WriteError: the results cannot be written.
    """
    if distributed.is_main():
        for folder in (job.folder, job.save):
            if folder is not None:
                require_writable(folder)
    plan = Plan.of(job.config.evaluation, job.data, job.indices, job.save, isinstance(job.source, NetworkSource))
    measures, progress = plan.measures(), f"{job.split} images"
    found = score_split(job.source, job.data, job.indices, measures, progress, spacings=plan.spacings)
    if not distributed.is_main():
        return None
    described = Described.of(plan.tables(found), job.data.config, job.config.evaluation)
    histograms = found.get(PROBABILITIES)
    return job.folder, write_evaluation(job.folder, described, _facts(job, plan), histograms, partial(_draw, job))


def _facts(job: Job, plan: Plan) -> dict[str, Any]:
    """All of `results.json` that does not follow from the tables."""
    return {
        "name": job.name,
        "split": job.split,
        "created": provenance.now(),
        **job.facts,
        "protocol": {**job.facts["protocol"], **plan.protocol()},
        "cost": measure_cost(job.source) if job.timed and isinstance(job.source, NetworkSource) else None,
        "config": job.config.model_dump(mode="json"),
        "versions": provenance.versions(),
    }


def _draw(job: Job, folder: Path, rows: Sequence[Row]) -> None:
    def predict(index: int) -> Label:
        return job.source.predict(index).labels

    save_cases(folder, rows, job.data, predict, job.config.evaluation.overlays, job.images)
