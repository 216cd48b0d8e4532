"""How far the boundary of a prediction is from the true one. docs/boundaries.md has those of other tools.

For one class of one image, with the boundary pixels of `boundaries.boundary` on both sides, and the distance of each to
the nearest one of the other side:

- hd95: the larger of the two directed 95th percentiles, linear interpolation between the two nearest ranks. Of the many
  forms in use it is that of MONAI and MetricsReloaded (Maier-Hein et al., Nature Methods 2024).
- assd: the mean over the boundary pixels of both sides together (so the longer boundary weighs more), not the mean of
  the two directed means.
- nsd: the share of the boundary pixels of both sides whose distance is at most the tolerance (Nikolov et al. 2018).
  Boundary pixels are counted; Nikolov et al. measure the length of the surface instead.
- boundary_iou: IoU of the two bands of `boundaries.band` (Cheng et al., CVPR 2021). In pixels: no spacing.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_scse.config.masks import Task
from seg_scse.metrics.boundaries import band, band_width, boundary
from seg_scse.metrics.class_masks import ClassMasks, class_masks
from seg_scse.metrics.distances import Spacing, surface_distances
from seg_scse.metrics.pixels import Labels

Floats = NDArray[np.float64]

SURFACE_NAMES = ("hd95", "assd", "nsd", "boundary_iou")
SHARE = 0.95


class SurfaceSettings(NamedTuple):
    """What the scores of one image depend on besides its masks.

    Attributes:
        spacing: height and width of a pixel.
        tolerance: largest distance that counts as right, in the unit of the spacing.
        diagonal: of the image, in the unit of the spacing.
        band: width in pixels of the band of boundary IoU.
    """

    spacing: Spacing
    tolerance: float
    diagonal: float
    band: int


def measure_surfaces(
    prediction: Labels,
    truth: Labels,
    num_classes: int,
    spacing: Spacing,
    tolerance: float,
    task: Task = "multiclass",
) -> Floats:
    """Score the boundaries of one image.

    Pixels whose truth is ignored belong to no mask and are not outside of one either, so a mask has no boundary towards
    them. A class without boundary on both sides has nothing to score. With a boundary on one side only, distances
    are the image's diagonal, and nsd and boundary_iou 0.

    Args:
        prediction: uint8 (H, W): class indices, or for multilabel bits, where bit k - 1 is set if class k is present.
        truth: the same; 255 for ignored pixels.
        num_classes: number of classes K, the background included.
        spacing: height and width of a pixel, positive, in any unit.
        tolerance: of nsd, in the unit of the spacing.
        task: how the values are read.

    Returns:
        float64 (K, 4), columns as SURFACE_NAMES: hd95 and assd in the unit of the spacing, nsd and boundary_iou in
        [0, 1]. NaN: nothing to score. The background, class 0, is not scored.

    Raises:
        DataError: the shapes differ, a map is not uint8 (H, W), or a value is no class.
    """
    height, width = truth.shape[:2]
    diagonal = math.hypot(height * spacing[0], width * spacing[1])
    settings = SurfaceSettings(spacing, tolerance, diagonal, band_width(height, width))
    result = np.full((num_classes, len(SURFACE_NAMES)), np.nan)
    for masks in class_masks(prediction, truth, num_classes, task, margin=settings.band):
        result[masks.number] = _scores(masks, settings)
    return result


def _scores(masks: ClassMasks, settings: SurfaceSettings) -> tuple[float, float, float, float]:
    """The four scores of one class."""
    edges = [boundary(mask, masks.ignored) for mask in (masks.prediction, masks.truth)]
    occupied = [cv2.countNonZero(edge) > 0 for edge in edges]
    if not any(occupied):
        return math.nan, math.nan, math.nan, math.nan
    if not all(occupied):
        return settings.diagonal, settings.diagonal, 0.0, 0.0
    there, back = surface_distances(edges[0], edges[1], settings.spacing)
    hd95 = max(_percentile(distances) for distances in (there, back))
    both = np.concatenate((there, back))
    nsd = np.count_nonzero(both <= settings.tolerance) / both.size
    return hd95, float(both.mean()), nsd, _boundary_iou(masks, settings.band)


def _percentile(distances: Floats) -> float:
    """The 95th percentile; numpy's own takes longer than all else for a small object."""
    place = SHARE * (distances.size - 1)
    lower = math.floor(place)
    upper = min(lower + 1, distances.size - 1)
    ranked = np.partition(distances, (lower, upper))
    return float(ranked[lower] + (place - lower) * (ranked[upper] - ranked[lower]))


def _boundary_iou(masks: ClassMasks, width: int) -> float:
    """Intersection over union of the two bands, of which at least one holds a pixel."""
    bands = [band(mask, width, masks.ignored) for mask in (masks.prediction, masks.truth)]
    return cv2.countNonZero(bands[0] & bands[1]) / cv2.countNonZero(bands[0] | bands[1])
