"""DICOM series: the slices of one scan in files of their own, put together to the volume that a NIfTI file would hold.

The slices lie along the normal of their plane by their `ImagePositionPatient` (DICOM PS3.3, C.7.6.2.1.1), whatever the
names and numbers of the files. DICOM counts millimetres to the left, the back and the head, NIfTI to the right, the
front and the head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from seg_scse.data.files.decoding import MOST_VALUES, check_size, missing
from seg_scse.data.files.dicom import Position, read_position
from seg_scse.data.files.raster import Array, Raster
from seg_scse.data.files.reading import named, opened, read_raster
from seg_scse.data.files.volumes import Header, header_of, on_screen
from seg_scse.data.names import shown, some
from seg_scse.data.recent import Recent
from seg_scse.errors import DataError

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header


_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_UNEVEN = 0.05  # of the distance of two slices: scanners round positions to a few digits
_SAME_DIRECTION = 1e-3
_MOST_KEPT, _MOST_BYTES = 4, 2 << 30


@dataclass(frozen=True)
class Series:
    """A scan.

    Attributes:
        header: as of a NIfTI file of the scan: axes columns, rows, slices; affine to right, front and head in mm.
        voxels: `(X, Y, Z, bands)` in canonical axes.
        valid: bool `(X, Y, Z)`, False at padding; None where there is none.
        files: in the order of the slices.
        kind: `gray` or `colour`.
    """

    header: Header
    voxels: Array
    valid: NDArray[np.bool_] | None
    files: tuple[Path, ...]
    kind: str

    def slice(self, plane: int, view: str) -> Raster:
        """Return a slice as `volumes.decode_plane` returns that of a NIfTI file.

        Raises:
            DataError: no such slice.
        """
        count = self.header.along(view)
        if not 0 <= plane < count:
            raise DataError(f"{shown(self.files[0])}: the series has {count} {view} slices; there is no slice {plane}.")
        valid = None if self.valid is None else np.ascontiguousarray(on_screen(self.valid, plane, view))
        pixels = np.ascontiguousarray(on_screen(self.voxels, plane, view))
        place = self.header.place(view)
        return Raster(pixels, "DICOM", self.kind, valid=valid, place=place)  # type: ignore[arg-type]


_recent: Recent[Series] = Recent(_MOST_KEPT, _MOST_BYTES, lambda series: series.voxels.nbytes)


def read_series(files: Sequence[Path], max_pixels: int) -> Series:
    """Read the slices of one DICOM series.

    Args:
        files: one slice each, in any order; at least two.
        max_pixels: larger slices, and volumes of `MOST_VALUES` times as many voxels, are refused.

    Returns:
        the volume; what was read last is kept, until a file changes.

    Raises:
        DataError: a file cannot be read, is of another series, direction, size or spacing than the others, two lie at
            one place, or slices are missing between them.
    """
    states = [_state(path) for path in files]
    return _recent.get((tuple(states), max_pixels), lambda: _read(files, max_pixels))


def _state(path: Path) -> tuple[str, int, int]:
    with opened(path) as (_, size, format_):
        if format_ != "DICOM":
            raise DataError(f"is a {format_} file, not a slice of a DICOM series. Leave it out.")
        return str(path.resolve()), size, path.stat().st_mtime_ns


def _read(files: Sequence[Path], max_pixels: int) -> Series:
    positions = _ordered([read_position(path) for path in files])
    first = positions[0]
    height, width = first.shape
    if height * width * len(positions) > MOST_VALUES * max_pixels:
        with named(first.file):
            check_size(width, height, height * width * len(positions), max_pixels)
    header = header_of(_nifti(positions))
    rasters = [read_raster(position.file, max_pixels) for position in positions]
    kinds = {raster.kind for raster in rasters}
    if len(kinds) > 1:
        raise DataError(f"{shown(first.file)}: some slices of its series are grey and some are coloured. Divide them.")
    dtypes = {raster.pixels.dtype.name for raster in rasters}
    dtype = dtypes.pop() if len(dtypes) == 1 else "float32"  # a slope of its own makes a slice float32
    stored = np.stack([raster.pixels.astype(dtype, copy=False).swapaxes(0, 1) for raster in rasters], axis=2)
    valid = _valid(rasters)
    return Series(
        header=header,
        voxels=header.canonical(stored),
        valid=None if valid is None else header.canonical(valid),
        files=tuple(position.file for position in positions),
        kind=kinds.pop(),
    )


def _valid(rasters: Sequence[Raster]) -> NDArray[np.bool_] | None:
    if all(raster.valid is None for raster in rasters):
        return None
    shape = rasters[0].pixels.shape[:2]
    masks = [np.ones(shape, np.bool_) if raster.valid is None else raster.valid for raster in rasters]
    return np.stack([mask.T for mask in masks], axis=2)


def _nifti(positions: Sequence[Position]) -> "Nifti1Header":
    """Header of the scan as a NIfTI file: columns, rows, slices."""
    try:
        from nibabel.nifti1 import Nifti1Header
    except ImportError as error:
        raise missing("nibabel", "medical", "The geometry of a DICOM series") from error
    first, last = positions[0], positions[-1]
    affine = np.eye(4)
    affine[:3, 0] = first.along * first.spacing[1]
    affine[:3, 1] = first.down * first.spacing[0]
    affine[:3, 2] = (last.corner - first.corner) / (len(positions) - 1)  # of a tilted gantry not along the normal
    affine[:3, 3] = first.corner
    header = Nifti1Header()
    header.set_data_shape((first.shape[1], first.shape[0], len(positions)))
    header.set_xyzt_units("mm")
    header.set_qform(_TO_RAS @ affine, code="scanner", strip_shears=True)
    header.set_sform(_TO_RAS @ affine, code="scanner")
    return header


def _ordered(positions: Sequence[Position]) -> list[Position]:
    """Sort slices along their normal and check that they are one evenly spaced stack."""
    first = positions[0]
    if len(positions) < 2:
        raise DataError(f"{shown(first.file)}: is one slice, no series. Predict it as an image: --series files.")
    for other in positions[1:]:
        _require_alike(other, first)
    normal = np.cross(first.along, first.down)
    ordered = sorted(positions, key=lambda position: float(position.corner @ normal))
    heights = np.array([position.corner @ normal for position in ordered])
    steps = np.diff(heights)
    step = float(np.median(steps))
    _require_apart(ordered, steps)
    _require_even(ordered, steps, step)
    _require_straight(ordered, step)
    return ordered


def _require_alike(one: Position, first: Position) -> None:
    """Refuse slices that cannot be of one volume."""
    directions = [one.along, one.down], [first.along, first.down]
    checks = (
        (one.series == first.series, "is of another series"),
        (one.shape == first.shape, f"is {_shape(one)} pixels large ({_shape(first)} there)"),
        (np.allclose(*directions, atol=_SAME_DIRECTION), "lies in another direction"),
        (np.allclose(one.spacing, first.spacing, rtol=1e-3), f"has pixels of {_size(one)} mm ({_size(first)} there)"),
    )
    wrong = [text for right, text in checks if not right]
    if wrong:
        raise DataError(
            f"{shown(one.file)}: {wrong[0]}, compared with {shown(first.file.name)}: they are no slices of one volume. "
            "Put each scan into a folder of its own, or predict the files as images: --series files."
        )


def _shape(position: Position) -> str:
    return f"{position.shape[1]} x {position.shape[0]}"


def _size(position: Position) -> str:
    return f"{position.spacing[0]:g} x {position.spacing[1]:g}"


def _require_apart(ordered: Sequence[Position], steps: NDArray[np.float64]) -> None:
    doubles = np.flatnonzero(steps < _UNEVEN * steps.max()) if steps.max() > 0 else np.arange(len(steps))
    if len(doubles):
        at = int(doubles[0])
        raise DataError(
            f"{shown(ordered[at].file)}: lies at the same place as {shown(ordered[at + 1].file.name)} "
            f"({len(doubles)} times in the series): several scans or copies in one series. Put each into a folder of "
            "its own."
        )


def _require_even(ordered: Sequence[Position], steps: NDArray[np.float64], step: float) -> None:
    wide = np.flatnonzero(np.abs(steps - step) > _UNEVEN * step).tolist()
    if not wide:
        return
    gaps = [
        f"{round(steps[at] / step) - 1} between {shown(ordered[at].file.name)} and {shown(ordered[at + 1].file.name)}"
        for at in wide
        if abs(steps[at] / step - round(steps[at] / step)) < 2 * _UNEVEN and round(steps[at] / step) > 1
    ]
    if len(gaps) == len(wide):
        raise DataError(
            f"{shown(ordered[0].file)}: slices of its series are missing: {some(gaps)}; slices are {step:g} mm apart. "
            "Get them again."
        )
    at = wide[0]
    raise DataError(
        f"{shown(ordered[at].file)}: is {steps[at]:g} mm from {shown(ordered[at + 1].file.name)}, other slices of its "
        f"series {step:g} mm: no even volume. Resample the scan, or predict the files as images: --series files."
    )


def _require_straight(ordered: Sequence[Position], step: float) -> None:
    """Refuse slices that do not lie on a line, which no affine describes."""
    corners = np.array([position.corner for position in ordered])
    line = np.linspace(corners[0], corners[-1], len(corners))
    off = np.abs(corners - line).max(axis=1)
    if off.max() > 2 * _UNEVEN * step:
        worst = int(off.argmax())
        raise DataError(
            f"{shown(ordered[worst].file)}: lies {off[worst]:g} mm beside the line of the other slices: no volume with "
            "straight axes. Predict the files as images: --series files."
        )
