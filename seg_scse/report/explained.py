"""Read the files of an explanation, and refuse what is missing, damaged or inconsistent."""

import io
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, model_validator

from seg_scse.report.reading import EXPLANATION, Checkpoint, Natural, Part, Score, damaged, read_json

Arrays = dict[str, NDArray[Any]]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(ge=1)]
GateName = Literal["channel", "spatial"]

PROFILES = "profiles.npz"


class Stage(Part):
    """One gate of the network; its gate values lie in [0, `gain`]."""

    site: str
    type: str
    channels: Natural
    hidden: Natural
    gain: Annotated[float, Field(gt=0.0)]


class Spread(Part):
    """Values of one gate over all studied tiles; `low` and `high`: shares in the outer hundredths of the range."""

    mean: float
    std: float
    low: Share
    high: Share
    flags: tuple[Literal["saturated", "constant"], ...]


class ForegroundScore(Part):
    """AUROC of a spatial gate: mean over the `images` where it is defined."""

    mean: Score
    images: Natural
    undefined: Natural


class StageStudy(Part):
    """Statistics of one gate over the studied tiles."""

    gates: dict[GateName, Spread]
    between_images: float | None
    eta_squared: Score
    auroc: dict[str, ForegroundScore]


class Group(Part):
    """Some of the studied tiles."""

    name: str
    images: Natural


class Study(Part):
    """What was studied over a split."""

    images: Positive
    rule: str
    groups: tuple[Group, ...]
    eta_squared_by_chance: float | None
    stages: dict[str, StageStudy]


class Window(Part):
    """The part of an image that a page shows, in pixels."""

    y: Natural
    x: Natural
    height: Positive
    width: Positive
    chosen: Literal["whole", "component", "centre"]


class Page(Part):
    """One image looked at; `size` (H, W) of the whole image; `label`: the class of the activation maps."""

    id: str
    kind: Literal["worst", "median", "best"] | None
    arrays: Annotated[str, Field(pattern=r"^pages/\d+\.npz$")]
    size: tuple[Positive, Positive]
    window: Window
    label: Positive
    predicted: bool
    cells: dict[str, tuple[Positive, Positive]]


class Explanation(Part):
    """The content of `explain.json`, format 1."""

    format: Literal[1]
    name: str
    split: str
    created: str
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    checkpoint: Checkpoint
    tile: Positive
    same_data: bool | None
    versions: dict[str, str]
    device: str
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    study: Study | None
    pages: tuple[Page, ...]

    def flags(self, site: str) -> list[tuple[GateName, str]]:
        """Return (gate, flag) for what the study of the split noticed on a site."""
        gates = self.study.stages[site].gates if self.study else {}
        return [(name, flag) for name, spread in gates.items() for flag in spread.flags]

    @model_validator(mode="after")
    def _covers_every_stage(self) -> Self:
        sites = {stage.site for stage in self.stages}
        parts = {page.arrays: set(page.cells) for page in self.pages}
        if self.study is not None:
            parts["study.stages"] = set(self.study.stages)
        for name, found in parts.items():
            if absent := sorted(sites - found):
                raise ValueError(f"{name} lacks the sites {absent}")
        return self


def read_explanation(folder: Path) -> Explanation:
    """Read `explain.json`.

    Raises:
        DataError: the file is absent, is not JSON, or a field is missing, out of range or inconsistent.
    """
    return read_json(folder / EXPLANATION, TypeAdapter(Explanation))


def read_arrays(path: Path) -> Arrays:
    """Read all arrays of an npz file.

    Raises:
        DataError: the file is absent or damaged.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise damaged(path, "file not found.") from None
    except Exception as error:  # a dozen kinds, from zipfile's, zlib's and numpy's readers
        raise damaged(path, f"is not a readable npz file ({error}).") from error
