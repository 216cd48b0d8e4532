"""DICOM images: stored values with the rescale slope and intercept applied, and MONOCHROME1 turned to black is zero."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seg_scse.data.files.decoding import check_size, decoding, kept, missing, unread
from seg_scse.data.files.raster import Array, Place, Raster
from seg_scse.errors import DataError

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset


class Position(NamedTuple):
    """Where a slice lies, from the header of its file.

    Attributes:
        file: the file.
        corner: `(3,)` mm, centre of the first pixel, in DICOM's directions.
        along: `(3,)` unit vector of growing columns.
        down: `(3,)` unit vector of growing rows.
        spacing: height and width of a pixel, mm.
        shape: rows and columns.
        series: SeriesInstanceUID.
    """

    file: Path
    corner: NDArray[np.float64]
    along: NDArray[np.float64]
    down: NDArray[np.float64]
    spacing: tuple[float, float]
    shape: tuple[int, int]
    series: str


_GREY = ("MONOCHROME1", "MONOCHROME2")
_SQUARE = 1e-2  # how far directions may be from unit length and right angles: some devices write few digits
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def _pydicom() -> ModuleType:
    try:
        return importlib.import_module("pydicom")
    except ImportError as error:
        raise missing("pydicom", "medical", "DICOM") from error


def _number(dataset: "FileDataset", name: str, default: float) -> float:
    value = dataset.get(name)
    return default if value is None or value == "" else float(value)


def _check(dataset: "FileDataset", max_pixels: int) -> None:
    """Refuse what is no single image of plain numbers, before it is decoded."""
    absent = [name for name in ("Rows", "Columns", "PhotometricInterpretation") if dataset.get(name) is None]
    if absent or not any(name in dataset for name in _PIXELS):
        raise unread("a DICOM file without pixels", "Leave it out.")
    frames = int(_number(dataset, "NumberOfFrames", 1))
    if frames > 1:
        raise unread(f"a multi-frame DICOM file of {frames} frames", "Store each frame, or a NIfTI volume.")
    bands = int(_number(dataset, "SamplesPerPixel", 1))
    check_size(int(dataset.Columns), int(dataset.Rows), int(dataset.Rows) * int(dataset.Columns) * bands, max_pixels)
    meaning = str(dataset.PhotometricInterpretation)
    colour = meaning == "RGB" or meaning.startswith("YBR_")
    if not (meaning in _GREY and bands == 1) and not (colour and bands == 3):
        raise unread(f"a DICOM file of {meaning} with {bands} values per pixel", "Convert it to grey or RGB.")
    if int(_number(dataset, "BitsAllocated", 16)) == 1:
        raise unread("a DICOM file of 1 bit per pixel", "Convert it to 8 bits.")
    if "ModalityLUTSequence" in dataset:
        raise unread("a DICOM file with a table of its values (Modality LUT)", "Apply the table and store the result.")


def _stored(pydicom: ModuleType, dataset: "FileDataset") -> Array:
    try:
        if str(dataset.PhotometricInterpretation).startswith("YBR_"):
            from pydicom.pixels import pixel_array  # pydicom 3: converts to RGB

            return np.asarray(pixel_array(dataset))
        return np.asarray(dataset.pixel_array)
    except (NotImplementedError, ImportError, RuntimeError) as error:
        name = pydicom.uid.UID(dataset.file_meta.get("TransferSyntaxUID", "")).name
        raise DataError(
            f"its pixels ({name}) cannot be decoded by pydicom ({error}). Install what it names."
        ) from error


def _check_bits(dataset: "FileDataset", stored: Array) -> None:
    """Refuse values beyond the bits that are said to be used: there some devices store a drawing."""
    if stored.dtype.kind == "f":
        return
    bits = int(_number(dataset, "BitsStored", 8 * stored.dtype.itemsize))
    signed = stored.dtype.kind == "i"
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if int(stored.min()) < low or int(stored.max()) > high:
        raise unread(f"a DICOM file with values beyond its {bits} stored bits (an overlay?)", "Remove the overlay.")


def _padding(dataset: "FileDataset", stored: Array) -> NDArray[np.bool_] | None:
    """True where the file says that a pixel only fills up the rectangle."""
    first = dataset.get("PixelPaddingValue")
    if first is None or stored.ndim == 3:
        return None
    last = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((int(first), int(first if last is None else last)))
    return (stored >= low) & (stored <= high)


def _inverted(dataset: "FileDataset", stored: Array) -> Array:
    """Turn MONOCHROME1 (white is the lowest value) around within the stored bits."""
    if stored.dtype.kind == "f":
        raise unread("a DICOM file of inverted floating-point values", "Store it as MONOCHROME2.")
    bits = int(_number(dataset, "BitsStored", 8 * stored.dtype.itemsize))
    total = -1 if stored.dtype.kind == "i" else (1 << bits) - 1
    return (total - stored.astype(np.int64)).astype(stored.dtype)


def _rescaled(dataset: "FileDataset", stored: Array) -> Array:
    slope, intercept = _number(dataset, "RescaleSlope", 1.0), _number(dataset, "RescaleIntercept", 0.0)
    if not (np.isfinite(slope) and np.isfinite(intercept) and slope != 0):
        raise DataError(f"has the rescale slope {slope:g} and intercept {intercept:g}. Correct the header.")
    if (slope, intercept) == (1.0, 0.0):
        return stored
    return stored.astype(np.float64) * slope + intercept


def _place(dataset: "FileDataset") -> Place | None:
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        spacing = dataset.get(name)
        if spacing is not None and len(spacing) == 2:
            return Place(None, None, (float(spacing[0]), float(spacing[1])), "mm")
    return None


def decode_dicom(stream: BinaryIO, max_pixels: int) -> Raster:
    """Decode a DICOM file of one frame.

    Args:
        stream: the file at its start.
        max_pixels: larger images are refused before they are decoded.

    Returns:
        The stored values; float32 where a rescale slope or intercept other than 1 and 0 is applied. `valid` is False
        at padding pixels.

    Raises:
        DataError: cut off, several frames, palette colours, a compression without decoder, or values beyond the bits
            that are said to be stored.
    """
    pydicom = _pydicom()
    with decoding:
        dataset = pydicom.dcmread(stream)
        _check(dataset, max_pixels)
        stored = _stored(pydicom, dataset)
        _check_bits(dataset, stored)
        padding = _padding(dataset, stored)
        values = _inverted(dataset, stored) if dataset.PhotometricInterpretation == "MONOCHROME1" else stored
        pixels = kept(_rescaled(dataset, values))
        place = _place(dataset)
    valid = ~padding if padding is not None and padding.any() else None
    kind = "gray" if pixels.ndim == 2 else "colour"
    whole = np.ascontiguousarray(pixels.reshape(*pixels.shape[:2], -1))
    return Raster(whole, "DICOM", kind, valid=valid, place=place)  # type: ignore[arg-type]


def dicom_place(stream: BinaryIO) -> Place | None:
    """Return the size of the pixels from the header alone, or None where it is not said."""
    pydicom = _pydicom()
    with decoding:
        return _place(pydicom.dcmread(stream, stop_before_pixels=True))


def read_position(path: Path) -> Position:
    """Read where a slice of a scan lies, from the header of its file.

    Raises:
        DataError: with the name of the file: it cannot be read, or does not say where it lies.
    """
    from seg_scse.data.files.reading import opened

    with opened(path) as (stream, _, format_):
        if format_ != "DICOM":
            raise DataError(f"is a {format_} file, not a slice of a DICOM series. Leave it out.")
        pydicom = _pydicom()
        with decoding:
            return _position(path, pydicom.dcmread(stream, stop_before_pixels=True))


def _position(path: Path, dataset: "FileDataset") -> Position:
    lengths = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}
    values = {name: np.array(dataset.get(name) or (), np.float64) for name in lengths}
    absent = [name for name, length in lengths.items() if values[name].shape != (length,)]
    absent += [name for name in ("Rows", "Columns", "SeriesInstanceUID") if dataset.get(name) is None]
    if absent:
        raise DataError(
            f"does not say where it lies in its series ({', '.join(absent)} missing). Predict the files as images: "
            "--series files."
        )
    along, down = np.split(values["ImageOrientationPatient"], 2)
    if abs(float(along @ down)) > _SQUARE or not np.allclose([along @ along, down @ down], 1, atol=_SQUARE):
        raise DataError(
            "has an ImageOrientationPatient that is no pair of perpendicular directions. Correct the header."
        )
    if not (np.isfinite(values["ImagePositionPatient"]).all() and values["PixelSpacing"].min() > 0):
        raise DataError("has a position or a PixelSpacing that is no length. Correct the header.")
    return Position(
        file=path,
        corner=values["ImagePositionPatient"],
        along=along,
        down=down,
        spacing=(float(values["PixelSpacing"][0]), float(values["PixelSpacing"][1])),
        shape=(int(dataset.Rows), int(dataset.Columns)),
        series=str(dataset.SeriesInstanceUID),
    )
