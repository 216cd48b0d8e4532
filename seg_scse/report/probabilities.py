"""Read `probabilities.json`: how often each predicted probability came true, and scores over the threshold."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, TypeAdapter, model_validator

from seg_scse.report.reading import Natural, Part, Score, Value, read_json

PROBABILITIES = "probabilities.json"
CURVES = ("dice_per_image", "dice_pooled", "iou_per_image", "iou_pooled", "precision_pooled", "recall_pooled")


class Curve(Part):
    """The probabilities of one class, or of the most probable class of each pixel (kind `confidence`).

    `negative` and `positive` are pixels per bin of probability, for which the class is not there or is (confidence: the
    class is wrong or right). The others are scores at each of `thresholds`; empty for a confidence.
    """

    name: str
    kind: Literal["class", "confidence"]
    negative: tuple[Natural, ...]
    positive: tuple[Natural, ...]
    ece: Score = None
    brier: Value = None
    thresholds: tuple[float, ...] = ()
    dice_per_image: tuple[Score, ...] = ()
    dice_pooled: tuple[Score, ...] = ()
    iou_per_image: tuple[Score, ...] = ()
    iou_pooled: tuple[Score, ...] = ()
    precision_pooled: tuple[Score, ...] = ()
    recall_pooled: tuple[Score, ...] = ()

    @model_validator(mode="after")
    def _equally_long(self) -> Self:
        if len(self.negative) != len(self.positive):
            raise ValueError("negative and positive must have the same number of bins")
        if wrong := [key for key in CURVES if len(getattr(self, key)) not in (0, len(self.thresholds))]:
            raise ValueError(f"{wrong} must have a value for each of the {len(self.thresholds)} thresholds")
        return self


class Probabilities(Part):
    """The content of `probabilities.json`: histograms of `bins` equal bins of [0, 1]."""

    bins: Annotated[int, Field(ge=2)]
    curves: tuple[Curve, ...]

    @model_validator(mode="after")
    def _has_the_bins(self) -> Self:
        if any(len(curve.negative) != self.bins for curve in self.curves):
            raise ValueError(f"every histogram must have {self.bins} bins")
        return self


def read_probabilities(evaluation_dir: Path) -> Probabilities | None:
    """Read the probabilities of an evaluation; None where none were kept.

    Raises:
        DataError: the file is malformed.
    """
    path = evaluation_dir / PROBABILITIES
    return read_json(path, TypeAdapter(Probabilities)) if path.exists() else None
