"""How large the pixels of the samples are, for what is measured as a distance, and for volumes of other pixels."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from seg_scse.config.schema import EvaluationConfig
from seg_scse.data.files.raster import Place
from seg_scse.data.names import shown
from seg_scse.data.prepare import PreparedData
from seg_scse.errors import ConfigError, DataError

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


def typical_spacing(places: Sequence[Place | None]) -> Spacing | None:
    """Return the median height and width of the pixels of some images, for a checkpoint to keep.

    Args:
        places: where the images lie.

    Returns:
        None where some file does not say how large its pixels are in m or mm, or the units differ.
    """
    spacings = [_of_file(place) for place in places]
    units = {spacing.unit for spacing in spacings}
    if len(units) != 1 or units == {PIXEL.unit}:
        return None
    height = statistics.median(spacing.height for spacing in spacings)
    return Spacing(height, statistics.median(spacing.width for spacing in spacings), units.pop())


def trained_spacing(state: Mapping[str, Any]) -> Spacing | None:
    """Return the median size of the pixels of the training images that a checkpoint keeps; older ones keep none."""
    kept = state.get("spacing")
    return None if kept is None else Spacing(float(kept[0]), float(kept[1]), str(kept[2]))


def training_resample(state: Mapping[str, Any]) -> tuple[float, float]:
    """Return the height and width in mm that the slices of a volume are brought to for a network.

    Args:
        state: of its checkpoint.

    Raises:
        ConfigError: it does not keep the size of the training pixels in mm.
    """
    spacing = trained_spacing(state)
    if spacing is None or spacing.unit != "mm":
        found = "none" if spacing is None else f"{spacing.height:g} x {spacing.width:g} {spacing.unit}"
        raise ConfigError(
            f"--resample training: the checkpoint keeps no size in mm of the training pixels ({found}). Give the size, "
            "such as --resample 0.8 0.8."
        )
    return spacing.height, spacing.width
