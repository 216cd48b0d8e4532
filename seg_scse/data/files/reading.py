"""The one reader of image files: every check is made before a pixel is trusted, and nothing is converted silently.

What a file is is told from its first bytes, whatever its name. Each format has one decoder: `pillow_files`,
`raster_files` (TIFF), `arrays` (NumPy), `volumes` (NIfTI), `dicom`. What a file means as an image is decided in
`pictures`, what it means as a mask in `masks`.
"""

import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from seg_scse.data.files.arrays import decode_array
from seg_scse.data.files.dicom import decode_dicom, dicom_place
from seg_scse.data.files.pillow_files import decode_picture
from seg_scse.data.files.raster import Array, Place, Raster
from seg_scse.data.files.raster_files import checked_header, decode_raster, named_place
from seg_scse.data.files.signatures import HEAD, READ, describe, file_format
from seg_scse.data.files.volumes import decode_plane, volume_place
from seg_scse.data.names import shown
from seg_scse.errors import DataError

Pixels = NDArray[np.uint8]

_ANY_SIZE = 1 << 40


def _open(path: Path) -> tuple[BinaryIO, int]:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "Is a directory" if path.is_dir() else "is no regular file")
        return path.open("rb", buffering=0), status.st_size
    except OSError as error:
        reason = "is a link to a file that does not exist" if path.is_symlink() and not path.exists() else None
        reason = reason or f"cannot be read ({error.strerror or error})"
        raise DataError(f"{reason}. Restore the file or remove it with its partner.") from error


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Put the file's name before every error, and make a `DataError` of whatever a decoder raises.

    Raises:
        DataError: with the name of the file.
    """
    try:
        yield
    except DataError as error:
        raise DataError(f"{shown(path)}: {error}") from error.__cause__
    except MemoryError as error:
        raise DataError(f"{shown(path)}: needs more memory than there is. Lower data.max_pixels, or cut it.") from error
    except Exception as error:  # decoders raise a dozen kinds on damaged files, struct.error among them
        reason = shown(str(error)) or type(error).__name__
        raise DataError(f"{shown(path)}: cannot be decoded ({reason}). Get the file again.") from error


@contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, int, str]]:
    """Open a file that is read: the file at its start, its size in bytes and its format.

    Raises:
        DataError: with the name of the file: missing, empty, or of no format that is read.
    """
    with named(path):
        stream, size = _open(path)
        with stream:
            if not size:
                raise DataError("is empty (0 bytes). Get the file again.")
            head = stream.read(HEAD)
            format_ = file_format(head)
            if format_ is None:
                raise DataError(f"is {describe(head)}, not a {READ} image.")
            stream.seek(0)
            yield stream, size, format_


def read_raster(path: Path, max_pixels: int, plane: int | None = None, view: str = "axial") -> Raster:
    """Read and decode one file completely, or refuse it; nothing is converted.

    Pixels are bit-equal to those of the library that reads the format (Pillow, rasterio, NumPy, nibabel, pydicom).
    Two kinds have more than meets the eye: a 1-bit image is `kind="gray"` with values 0 and 1, and its `palette` says
    that 1 stands for 255; a palette image with transparency has C = 2, index and alpha.

    Args:
        path: a PNG, JPEG, TIFF, BMP, GIF, WebP, PPM, NPY, DICOM or NIfTI file, whatever its name ends with.
        max_pixels: larger images are refused before they are decoded.
        plane: number of the slice of a volume, from 0; None for other files.
        view: `axial`, `coronal` or `sagittal`, for volumes.

    Raises:
        DataError: with the name of the file: missing, empty, no image, cut off, damaged, too large, several images in
            one file, a layout that no decoder here reads exactly, or an optional library that is not installed.
    """
    with opened(path) as (stream, size, format_):
        return decode(stream, size, format_, max_pixels, plane, view)


def decode(stream: BinaryIO, size: int, format_: str, max_pixels: int, plane: int | None, view: str) -> Raster:
    """Decode what `opened` gave; the arguments are those of `read_raster`.

    Raises:
        DataError: without the name of the file, which `opened` puts before it.
    """
    if format_ == "NIfTI":
        return decode_plane(stream, size, max_pixels, plane, view)
    if plane is not None:
        raise DataError(f"is a {format_} file, not a volume with slices. Correct its name.")
    if format_ == "TIFF":
        return decode_raster(stream, checked_header(stream, size, max_pixels))
    if format_ == "NPY":
        return decode_array(stream, size, max_pixels)
    if format_ == "DICOM":
        return decode_dicom(stream, max_pixels)
    return decode_picture(stream.read(), format_, max_pixels)


def read_place(path: Path, view: str = "axial") -> Place | None:
    """Return where an image lies or how large its pixels are, from the header of its file alone.

    Args:
        path: any file that `read_raster` reads; None for others than TIFF, NIfTI and DICOM.
        view: plane of the slices of a volume.

    Raises:
        DataError: missing, or a header that cannot be used.
    """
    with opened(path) as (stream, size, format_):
        places: dict[str, Callable[[], Any]] = {
            "TIFF": lambda: named_place(checked_header(stream, size, _ANY_SIZE), stream),
            "NIfTI": lambda: volume_place(stream, size, view),
            "DICOM": lambda: dicom_place(stream),
        }
        place: Place | None = places.get(format_, lambda: None)()
        return place


def same_channels(pixels: Array) -> bool:
    """Tell whether all channels of `(H, W, C)` are equal."""
    return bool((pixels == pixels[..., :1]).all())
