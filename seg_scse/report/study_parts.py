"""Parts of the content of `study.json`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from seg_scse.report.comparison_reading import Share
from seg_scse.report.reading import Natural, Part, Value

Kind = Literal["baseline", "variant", "control"]
Size = Annotated[float, Field(ge=0.0, allow_inf_nan=False)] | None


class Variant(Part):
    """A named set of overrides; a control belongs to the treatment `of`, and is not trained where it only replaces."""

    name: str
    kind: Kind
    of: str | None = None
    trained: bool = True
    overrides: tuple[str, ...] = ()
    says: str = ""


class Declaration(Part):
    """What was fixed before the study began."""

    metric: Literal["dice", "iou", "hd95"]
    split: str
    baseline: str
    treatment: str | None
    seeds: tuple[int, ...]
    folds: Annotated[int, Field(ge=2)] | None = None
    variants: Annotated[tuple[Variant, ...], Field(min_length=1)]
    history: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _names_its_variants(self) -> Self:
        names = [variant.name for variant in self.variants]
        for role, name in (("baseline", self.baseline), ("treatment", self.treatment)):
            if name is not None and name not in names:
                raise ValueError(f"the {role} {name!r} is none of the variants {names}")
        return self


class StudyData(Part):
    """The data set, and the images of the split that the runs are scored on; `units` of them are independent."""

    name: str | None = None
    digest: str | None = None
    images: Natural
    units: Natural
    groups: bool = False
    classes: tuple[str, ...] = ()


class Resampling(Part):
    """How intervals are made: seeds and units are drawn together."""

    level: Annotated[float, Field(gt=0.0, lt=1.0)]
    resamples: Natural
    seed: int


class Cost(Part):
    """What a variant costs: times in ms, memory in bytes; ratios to the baseline. None where it was not measured.

    `batch` is the number of samples that time and memory are of.
    """

    parameters: Natural | None = None
    gate_parameters: Natural | None = None
    step_ms: Size = None
    step_ratio: Size = None
    memory_bytes: Size = None
    memory_ratio: Size = None
    batch: Natural | None = None


class Scores(Part):
    """Foreground scores of a run, means over images."""

    dice: Value = None
    iou: Value = None
    hd95: Value = None


class StudyRun(Part):
    """A cell of the grid: variant, seed, fold. `val_score` chose its epoch, `scores` are those of the split."""

    variant: str
    seed: int
    fold: Natural | None = None
    status: str
    error: str = ""
    best_epoch: Natural | None = None
    epochs: Natural | None = None
    steps: Natural | None = None
    val_score: Value = None
    seconds: Size = None
    scores: Scores | None = None

    @property
    def done(self) -> bool:
        """Whether it was trained and scored."""
        return self.status == "done"


class SeedScore(Part):
    """The mean score of one seed."""

    seed: int
    score: Value


class Level(Part):
    """Scores of the baseline: mean over seeds and images, and the standard deviation over the seeds."""

    mean: Value
    sd: Size
    by_seed: tuple[SeedScore, ...] = ()


class Baseline(Part):
    """The variant that the others are compared with."""

    name: str
    kind: Kind = "baseline"
    says: str = ""
    cost: Cost | None = None
    metrics: dict[str, Level]


class SeedDifference(Part):
    """The mean difference of one seed."""

    seed: int
    difference: Value


class Components(Part):
    """Standard deviations of the differences: over seeds, over images, and what is left."""

    seed: float
    image: float
    interaction: float


class Needed(Part):
    """Seeds with these images, or images with these seeds, that find `difference` in 4 of 5 studies; None: none do."""

    difference: float
    seeds: Natural | None
    images: Natural | None


class Row(Part):
    """A paired difference over seeds and images: `mean` minus `baseline`, in shares or lengths.

    `effect` is Cohen's dz over the units and above 0 where the first is better; `improved`, `ties`, `worse` count units
    by their mean over the seeds. `reason` says why there is no interval or no test. `bootstrap_low` and
    `bootstrap_high` are the interval of the two-level bootstrap.
    """

    seeds: Natural
    images: Natural
    units: Natural
    baseline: Value
    mean: Value
    difference: Value
    low: Value
    high: Value
    bootstrap_low: Value = None
    bootstrap_high: Value = None
    p: Share | None
    p_holm: Share | None
    tested: bool
    reason: str
    effect: Value
    improved: Natural
    ties: Natural
    worse: Natural
    by_seed: tuple[SeedDifference, ...] = ()
    components: Components | None = None
    detectable: Value = None
    needed: Needed | None = None
