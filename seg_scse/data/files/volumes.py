"""Volumes (NIfTI, `.nii` and `.nii.gz`): slices of one anatomical plane, decoded once and kept for the next slice.

A volume is turned to its closest canonical axes (right, anterior, superior) by its affine, as nibabel does, so that
slices of differently stored scans look alike. A slice lies as on a screen: axial rows run from front to back and
columns from left to right of the patient; coronal rows from top to bottom and columns from left to right; sagittal
rows from top to bottom and columns from back to front.
"""

import gzip
import importlib
import io
import os
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import ModuleType
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from seg_scse.data.files.decoding import MOST_VALUES, check_size, decoding, kept, missing, product, unread
from seg_scse.data.files.raster import Array, Place, Raster
from seg_scse.data.recent import Recent
from seg_scse.errors import DataError

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

_AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
_MILLIMETRES = {"mm": 1.0, "meter": 1000.0, "micron": 0.001}
_DENSEST = 1100  # gzip cannot shrink data to less than about 1/1032
_HEADER = 540
_MOST_TRAILING = 1 << 20
_MOST_KEPT = 4
_ANY_SIZE = 1 << 40
_MOST_BYTES = 2 << 30


def is_volume(path: PurePath) -> bool:
    """Tell by its name whether a file is a volume (`.nii`, `.nii.gz`)."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


@dataclass(frozen=True)
class Header:
    """What a volume holds, without its voxels.

    Attributes:
        nifti: nibabel's header, of version 1 or 2.
        shape: voxels along the axes of the file: 3 of space, and of bands where there are any.
        axis_of: file axis of each canonical axis (right, anterior, superior).
        affine: `(4, 4)` from canonical voxel to world, millimetres unless the file says otherwise.
        end: bytes of the file, uncompressed, up to the last voxel.
    """

    nifti: "Nifti1Header"
    shape: tuple[int, ...]
    axis_of: tuple[int, int, int]
    affine: NDArray[np.float64]
    end: int

    @property
    def spatial(self) -> tuple[int, int, int]:
        """Voxels along the axes of the file, without that of the bands."""
        return self.shape[0], self.shape[1], self.shape[2]

    def along(self, view: str) -> int:
        """Number of slices of a plane."""
        return self.shape[self.axis_of[_AXES[view]]]

    def slice_shape(self, view: str) -> tuple[int, int]:
        """Height and width of a slice of a plane."""
        across, down = (self.shape[self.axis_of[axis]] for axis in range(3) if axis != _AXES[view])
        return down, across

    @property
    def flipped(self) -> tuple[bool, bool, bool]:
        """Whether each canonical axis runs against its axis of the file."""
        orientation = _nibabel().io_orientation(self.nifti.get_best_affine())
        return tuple(bool(orientation[axis, 1] < 0) for axis in self.axis_of)  # type: ignore[return-value]

    def canonical(self, array: Array) -> Array:
        """Return a view of an array `(X, Y, Z, ...)` in the axes of the file, in the canonical ones."""
        turned = np.moveaxis(array, self.axis_of, (0, 1, 2))
        view: Array = turned[tuple(slice(None, None, -1 if flip else 1) for flip in self.flipped)]
        return view

    @property
    def millimetres(self) -> float:
        """Millimetres of a unit of the world; 0 where the file does not say."""
        return _MILLIMETRES.get(str(self.nifti.get_xyzt_units()[0]), 0.0)

    @property
    def voxel_sizes(self) -> tuple[float, float, float]:
        """Lengths of a voxel along the canonical axes, in mm where the file says its unit."""
        sizes = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0)) * (self.millimetres or 1.0)
        return float(sizes[0]), float(sizes[1]), float(sizes[2])

    @property
    def voxel_volume(self) -> float | None:
        """Volume of a voxel in mm3; None where the file does not say its unit."""
        volume = abs(float(np.linalg.det(self.affine[:3, :3]))) * self.millimetres**3
        return volume or None

    def place(self, view: str) -> Place:
        """Voxel size in a slice, and where it lies in its plane; what oblique axes add out of it is left out."""
        across, down = (axis for axis in range(3) if axis != _AXES[view])
        rows = self.shape[self.axis_of[down]]
        world = self.affine[[across, down]] * (self.millimetres or 1.0)
        step, drop = world[:, across], -world[:, down]  # a row further down is a voxel less far up
        corner = world[:, 3] - drop * (rows - 1) - (step + drop) / 2
        transform = tuple(float(value) for axis in (0, 1) for value in (step[axis], drop[axis], corner[axis]))
        spacing = (self.voxel_sizes[down], self.voxel_sizes[across])
        return Place(None, transform, spacing, "mm" if self.millimetres else "unknown")  # type: ignore[arg-type]


def on_screen(voxels: Array, plane: int, view: str) -> Array:
    """Return a slice of an array `(X, Y, Z, ...)` in canonical axes as a view `(rows, columns, ...)` of it.

    Args:
        voxels: the volume; writing into the result writes into it.
        plane: number of the slice, from 0: from the left, the back or the feet.
        view: `axial`, `coronal` or `sagittal`.
    """
    across = np.moveaxis(voxels, _AXES[view], 0)[plane]  # (columns, rows from below, ...)
    upright: Array = across.swapaxes(0, 1)[::-1]
    return upright


def _nibabel() -> ModuleType:
    try:
        return importlib.import_module("nibabel")
    except ImportError as error:
        raise missing("nibabel", "medical", "NIfTI") from error


def _unpacked(stream: BinaryIO) -> BinaryIO:
    start = stream.read(2)
    stream.seek(0)
    return gzip.GzipFile(fileobj=stream) if start == b"\x1f\x8b" else stream  # type: ignore[return-value]


def _parse(data: bytes) -> "Nifti1Header":
    nibabel = _nibabel()
    second = 540 in (int.from_bytes(data[:4], "little"), int.from_bytes(data[:4], "big"))
    kind = nibabel.Nifti2Header if second else nibabel.Nifti1Header
    header: Nifti1Header = kind.from_fileobj(io.BytesIO(data))
    return header


def _shape(nifti: "Nifti1Header") -> tuple[int, ...]:
    """Sizes of the axes: a slice alone becomes a volume of one; a fifth axis of vectors becomes the axis of bands."""
    shape = tuple(int(length) for length in nifti.get_data_shape())
    if len(shape) == 2:
        return (*shape, 1)
    if len(shape) == 5 and shape[3] == 1:
        shape = (*shape[:3], shape[4])
    if len(shape) not in (3, 4) or min(shape) < 1:
        raise unread(f"a NIfTI volume of shape {shape}", "Store (X, Y, Z) or (X, Y, Z, bands).")
    return shape


def read_volume_header(stream: BinaryIO, size: int, max_pixels: int) -> Header:
    """Read and check the header of a NIfTI file.

    Args:
        stream: the file at its start, compressed or not.
        size: its length in bytes.
        max_pixels: a volume may hold `MOST_VALUES` times as many voxels.

    Raises:
        DataError: nibabel is missing, the header cannot be used, too large, or the file is too short for its voxels.
    """
    unpacked = _unpacked(stream)
    with decoding:
        header = header_of(_parse(unpacked.read(_HEADER)))
    if product(header.shape) > MOST_VALUES * max_pixels:
        check_size(header.shape[0], 1, product(header.shape), max_pixels)
    compressed = unpacked is not stream
    if size * (_DENSEST if compressed else 1) < header.end:
        raise DataError(f"the NIfTI file is cut off (its voxels end at byte {header.end}). Get the file again.")
    return header


def header_of(nifti: "Nifti1Header") -> Header:
    """Say where the voxels lie that a header describes.

    Raises:
        DataError: a shape that is not read, or an affine without directions.
    """
    nibabel = _nibabel()
    shape = _shape(nifti)
    orientation = nibabel.io_orientation(nifti.get_best_affine())
    if not np.isfinite(orientation).all():
        raise DataError("has an affine that gives its axes no direction. Correct the header.")
    axis_of = tuple(int(np.flatnonzero(orientation[:, 0] == axis)[0]) for axis in range(3))
    affine = nifti.get_best_affine() @ nibabel.orientations.inv_ornt_aff(orientation, shape[:3])
    end = int(nifti.get_data_offset()) + product(shape) * int(nifti.get_data_dtype().itemsize)
    return Header(nifti, shape, axis_of, affine, end)  # type: ignore[arg-type]


def _voxels(stream: BinaryIO, header: Header) -> Array:
    """Decode all voxels, in canonical axes `(X, Y, Z, bands)`, scaled as the header says."""
    nibabel = _nibabel()
    stream.seek(0)
    unpacked = _unpacked(stream)
    try:
        data = unpacked.read(header.end)
        if len(data) < header.end:
            raise EOFError
        if unpacked is not stream and len(unpacked.read(_MOST_TRAILING)) == _MOST_TRAILING:  # on to the checksum
            raise EOFError("more data than the header says")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"the NIfTI file is cut off or damaged ({error or 'its end is missing'}). Get the file again."
        ) from None
    with decoding:
        proxy = nibabel.arrayproxy.ArrayProxy(io.BytesIO(data), header.nifti)
        stored = np.asanyarray(proxy).reshape(*header.shape)
        values = kept(stored)
    turned = header.canonical(values)
    return turned if turned.ndim == 4 else turned[..., None]


_recent: Recent[Array] = Recent(_MOST_KEPT, _MOST_BYTES, lambda voxels: voxels.nbytes)


def decode_plane(stream: BinaryIO, size: int, max_pixels: int, plane: int | None, view: str) -> Raster:
    """Decode one slice of a NIfTI volume.

    Args:
        stream: the file on disk, opened for reading bytes.
        size: its length in bytes.
        max_pixels: larger slices, and volumes of `MOST_VALUES` times as many voxels, are refused.
        plane: number of the slice, from 0: from the left, the back or the feet; may be None where there is one.
        view: `axial`, `coronal` or `sagittal`.

    Returns:
        Pixels `(H, W, bands)` in the type of the file, or float32 where the header has a slope or intercept.

    Raises:
        DataError: cut off, damaged, too large, or no such slice.
    """
    header = read_volume_header(stream, size, max_pixels)
    count = header.along(view)
    if plane is None and count > 1:
        raise DataError(f"is a volume of {count} {view} slices, not one image. One slice must be chosen.")
    if not 0 <= (plane or 0) < count:
        raise DataError(f"has {count} {view} slices; there is no slice {plane}.")
    height, width = header.slice_shape(view)
    check_size(width, height, product(header.shape), max_pixels)
    status = os.fstat(stream.fileno())
    state = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    voxels = _recent.get(state, lambda: _voxels(stream, header))
    pixels = np.ascontiguousarray(on_screen(voxels, plane or 0, view))
    return Raster(pixels, "NIfTI", "gray" if pixels.shape[2] == 1 else "bands", place=header.place(view))


def volume_place(stream: BinaryIO, size: int, view: str) -> Place:
    """Return the size of the pixels of a slice, from the header alone."""
    return read_volume_header(stream, size, _ANY_SIZE).place(view)


def volume_header(path: Path) -> Header:
    """Read the header of a volume.

    Args:
        path: a NIfTI file.

    Raises:
        DataError: missing, no NIfTI file, or a header that cannot be used.
    """
    from seg_scse.data.files.reading import opened

    with opened(path) as (stream, size, format_):
        if format_ != "NIfTI":
            raise DataError(f"is a {format_} file, not a NIfTI volume. Correct its name.")
        return read_volume_header(stream, size, _ANY_SIZE)


def plane_count(path: Path, view: str) -> int:
    """Return the number of slices of a volume along a plane, from its header alone.

    Args:
        path: a NIfTI file.
        view: `axial`, `coronal` or `sagittal`.

    Raises:
        DataError: as `volume_header`.
    """
    return volume_header(path).along(view)
