"""How large the pixels of the samples are, for what is measured as a distance."""

from collections.abc import Sequence
from typing import NamedTuple

from seg_scse.config.schema import EvaluationConfig
from seg_scse.data.files.raster import Place
from seg_scse.data.names import shown
from seg_scse.data.prepare import PreparedData
from seg_scse.errors import DataError

LENGTHS = ("m", "mm")
"""Units of a file's spacing that distances are measured in; a degree has no length of its own."""


class Spacing(NamedTuple):
    """Height and width of a pixel in a unit: `mm`, `m` or `px`."""

    height: float
    width: float
    unit: str


PIXEL = Spacing(1.0, 1.0, "px")


def sample_spacings(settings: EvaluationConfig, data: PreparedData, indices: Sequence[int]) -> list[Spacing]:
    """Tell how large the pixels of samples are: as configured, else as their files say in m or mm, else 1 px.

    Args:
        settings: the `evaluation` section; `spacing` and `unit` are used.
        data: the samples.
        indices: positions of the samples.

    Returns:
        one for each index, all in one unit.

    Raises:
        DataError: the files give different units, so that distances cannot be averaged.
    """
    if settings.spacing is not None:
        return [Spacing(*settings.spacing, settings.unit)] * len(indices)
    spacings = [_of_file(data.store.entries[index].place) for index in indices]
    for index, spacing in zip(indices, spacings, strict=True):
        if spacing.unit != spacings[0].unit:
            first, other = (shown(data.manifest.samples[place].id) for place in (indices[0], index))
            raise DataError(
                f"the files of {first} give the size of a pixel in {spacings[0].unit}, those of {other} in "
                f"{spacing.unit}: distances need one unit for all images. Set evaluation.spacing=[height, width] and "
                "evaluation.unit, such as evaluation.spacing=[1,1] evaluation.unit=px."
            )
    return spacings


def _of_file(place: Place | None) -> Spacing:
    return Spacing(*place.spacing, place.unit) if place is not None and place.unit in LENGTHS else PIXEL
