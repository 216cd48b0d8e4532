"""What is measured in every image, by the configuration, and the tables that come of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_scse.config.masks import Task
from seg_scse.config.schema import DataConfig, EvaluationConfig
from seg_scse.data.prepare import PreparedData
from seg_scse.evaluation.prediction_files import write_prediction
from seg_scse.evaluation.tables import Tables
from seg_scse.inference.scoring import Found, Measure, Seen
from seg_scse.inference.spacing import Spacing, sample_spacings
from seg_scse.metrics.counts import CountsTable, count_pixels
from seg_scse.metrics.measures import MeasureTable
from seg_scse.metrics.objects import OBJECT_NAMES, measure_objects
from seg_scse.metrics.probabilities import ProbabilityCounts, count_probabilities
from seg_scse.metrics.skeletons import measure_centerlines
from seg_scse.metrics.surfaces import SURFACE_NAMES, measure_surfaces

_OBJECT_ENCODINGS = ("objects", "polygons", "rle")
"""Mask encodings whose files hold single objects, so that these are scored too unless the configuration says no."""

PROBABILITIES = "probabilities"
"""Name of the measure that keeps histograms."""


def histogram_measure(num_classes: int, task: Task) -> Measure:
    """Return the function that counts the probabilities of one image."""

    def measure(seen: Seen) -> ProbabilityCounts:
        if seen.probabilities is None:
            raise ValueError(f"{seen.id}: there are labels, but no probabilities")
        return count_probabilities(seen.probabilities, seen.labels, seen.truth, num_classes, task)

    return measure


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        settings: the `evaluation` section.
        config: the `data` section.
        groups: independent unit of each sample that is scored, by id.
        spacings: size of a pixel of each of them.
        save: folder for the predicted label maps, or None.
        probabilities: whether histograms of probabilities are kept.
    """

    settings: EvaluationConfig
    config: DataConfig
    groups: Mapping[str, str]
    spacings: Sequence[Spacing]
    save: Path | None
    probabilities: bool

    @classmethod
    def of(
        cls,
        settings: EvaluationConfig,
        data: PreparedData,
        indices: Sequence[int],
        save: Path | None = None,
        network: bool = True,
    ) -> "Plan":
        """Decide before anything is predicted; without a network there are no probabilities.

        Raises:
            DataError: the files give the size of a pixel in different units.
        """
        samples = [data.manifest.samples[index] for index in indices]
        spacings = sample_spacings(settings, data, indices)
        groups = {sample.id: sample.group for sample in samples}
        return cls(settings, data.config, groups, spacings, save, settings.calibration and network)

    @property
    def objects(self) -> bool:
        """Whether connected components are matched."""
        wanted = self.settings.objects
        return self.config.mask.encoding in _OBJECT_ENCODINGS if wanted is None else wanted

    @property
    def tolerance(self) -> float:
        """Of nsd, in the unit of the spacings: as configured, else two pixels, by the longest side of any."""
        if self.settings.tolerance is not None:
            return self.settings.tolerance
        return 2.0 * max(max(spacing[:2]) for spacing in self.spacings)

    def measures(self) -> dict[str, Measure]:
        """Return the functions that measure one image, by the name of their table."""
        classes, task, settings = len(self.config.classes), self.config.task, self.settings
        tolerance = self.tolerance
        measures: dict[str, Measure] = {"counts": lambda seen: count_pixels(seen.labels, seen.truth, classes, task)}
        if settings.surface:
            measures["surfaces"] = lambda seen: measure_surfaces(
                seen.labels, seen.truth, classes, seen.spacing[:2], tolerance, task
            )
        if settings.centerline:
            measures["centerlines"] = lambda seen: measure_centerlines(seen.labels, seen.truth, classes, task)
        if self.objects:
            measures["objects"] = lambda seen: measure_objects(seen.labels, seen.truth, classes, task)
        if self.probabilities:
            measures[PROBABILITIES] = histogram_measure(classes, task)
        if self.save is not None:
            folder = self.save
            measures["saved"] = lambda seen: write_prediction(folder, seen.id, seen.labels)
        return measures

    def tables(self, found: Found) -> Tables:
        """Put what was measured into tables."""
        counts = CountsTable(len(self.config.classes), self.config.task)
        for sample_id, one in found["counts"].items():
            counts.add(sample_id, one)
        return Tables(
            counts,
            tuple(self.groups[sample_id] for sample_id in counts.ids),
            surfaces=self._table(found, "surfaces", SURFACE_NAMES),
            centerlines=self._table(found, "centerlines", ("cldice",)),
            objects=self._table(found, "objects", OBJECT_NAMES),
        )

    def _table(self, found: Found, name: str, columns: Sequence[str]) -> MeasureTable | None:
        if name not in found:
            return None
        table = MeasureTable(columns, len(self.config.classes))
        for sample_id, values in found[name].items():
            table.add(sample_id, values)
        return table

    def protocol(self) -> dict[str, Any]:
        """Say in plain JSON types what was measured besides pixels."""
        return {"surface": self._surface(), "objects": self.objects, "centerline": self.settings.centerline}

    def _surface(self) -> dict[str, Any] | None:
        if not self.settings.surface:
            return None
        sizes, unit = {spacing[:2] for spacing in self.spacings}, self.spacings[0].unit
        spacing = list(sizes.pop()) if len(sizes) == 1 else "from the files"
        return {"tolerance": self.tolerance, "unit": unit, "spacing": spacing}
