"""Scans drawn twice: as a DICOM series and as the NIfTI file of the same voxels."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from .drawn_files import save_dicom

SCAN = np.random.default_rng(3).integers(-900, 3000, (20, 24, 7), dtype=np.int16)
"""Columns, rows, slices."""

AXIAL = (1, 0, 0, 0, 1, 0)
TILTED = (0.96, 0.28, 0, -0.168, 0.576, -0.8)
"""ImageOrientationPatient: directions of growing columns and of growing rows."""


def normal_of(directions: tuple[float, ...]) -> np.ndarray:
    return np.cross(directions[:3], directions[3:])


def save_series(
    folder: Path,
    voxels: np.ndarray = SCAN,
    directions: tuple[float, ...] = AXIAL,
    step: float = 2.5,
    spacing: tuple[float, float] = (0.75, 0.5),
    **tags: Any,
) -> list[Path]:
    """Write `(columns, rows, slices)`, the files named against the order of the slices."""
    folder.mkdir(parents=True, exist_ok=True)
    corner, files = np.array([-30.0, 12, 5]), []
    for number in range(voxels.shape[2]):
        place = corner + normal_of(directions) * step * number
        facts = {
            "SeriesInstanceUID": "1.2.3.4",
            "ImagePositionPatient": [float(f"{value:.6f}") for value in place],
            "ImageOrientationPatient": list(directions),
            "PixelSpacing": list(spacing),
            "InstanceNumber": 90 - number,
        }
        path = folder / f"{90 - number}.dcm"
        files.append(save_dicom(path, np.ascontiguousarray(voxels[..., number].T), **(facts | tags)))
    return files


def save_scan(
    path: Path,
    voxels: np.ndarray = SCAN,
    directions: tuple[float, ...] = AXIAL,
    step: float = 2.5,
    spacing: tuple[float, float] = (0.75, 0.5),
) -> Path:
    """Write the same scan as programs that convert DICOM do: x and y count to the other side."""
    affine = np.eye(4)
    affine[:3, 0] = np.array(directions[:3]) * spacing[1]
    affine[:3, 1] = np.array(directions[3:]) * spacing[0]
    affine[:3, 2] = normal_of(directions) * step
    affine[:3, 3] = [-30, 12, 5]
    volume = nibabel.Nifti1Image(voxels, np.diag([-1.0, -1, 1, 1]) @ affine)
    volume.header.set_xyzt_units("mm")
    volume.to_filename(path)
    return path
