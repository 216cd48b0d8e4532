"""TIFF files: their header by `tiff`, their pixels by Pillow where it is exact, else by rasterio (GDAL).

Which of the two decodes is decided by the header alone, so a file has the same pixels on every machine. GDAL gets an
open file, never its name: names cannot mean URLs or other drivers, and no side file is found.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from seg_scse.data.files.decoding import all_hold, check_size, decoding, kept, kept_dtype, missing, unread
from seg_scse.data.files.geotiff import has_unnamed_crs, place_of
from seg_scse.data.files.pillow_files import BLACK_WHITE, decode_tiff, exact_mode, turn
from seg_scse.data.files.raster import Array, Place, Raster
from seg_scse.data.files.tiff import TiffHeader, read_tiff_header
from seg_scse.data.files.tiff_damage import check_sums, refusing_complaints
from seg_scse.errors import DataError

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

GDAL_OPTIONS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # else GDAL lists the folder of open files
    "GDAL_CACHEMAX": 256 << 20,  # bytes of decoded blocks, of all files together; by default 5 % of the memory
}
"""How GDAL is used wherever it is: its cache is one for the process, and the last who sets its size is right."""
_MEANINGS = {0: "with white as 0", 5: "with CMYK colours", 6: "with YCbCr colours", 8: "with Lab colours"}
_JPEG = {7}
_LONGEST_BLOCK = 16_000_000  # values; larger blocks are as good as the whole


def _rasterio() -> ModuleType:
    try:
        return importlib.import_module("rasterio")
    except ImportError as error:
        raise missing("rasterio", "geo", "this layout of TIFF") from error


@contextmanager
def _gdal() -> Iterator[None]:
    """Around every call of GDAL: its options and its messages belong to a thread."""
    with decoding, _rasterio().Env(**GDAL_OPTIONS):
        yield


def _open(stream: BinaryIO) -> "DatasetReader":
    """Open with GDAL what is open already and has no buffer, by the number of the open file."""
    stream.seek(0)
    dataset: DatasetReader = _rasterio().open(f"/dev/fd/{stream.fileno()}", driver="GTiff")
    return dataset


@contextmanager
def _dataset(stream: BinaryIO) -> Iterator["DatasetReader"]:
    with _gdal(), _open(stream) as dataset:
        yield dataset


def checked_header(stream: BinaryIO, size: int, max_pixels: int) -> TiffHeader:
    """Read the header of a TIFF file and refuse what nothing here decodes.

    Raises:
        DataError: cut off, damaged, too large, several images, or colours other than grey, RGB and palette.
    """
    header = read_tiff_header(stream, size)
    height, width, bands = header.shape
    check_size(width, height, width * height * bands, max_pixels)
    if header.images > 1:
        raise DataError(f"holds {header.images} images. Store each one in a file of its own.")
    if header.orientation != 1 and header.georeferenced:
        raise unread(
            f"a GeoTIFF with the orientation {header.orientation}, which programs understand differently",
            "Store it with its first row on top.",
        )
    if exact_mode(header) is None:
        _refuse_layout(header)
    return header


def _refuse_layout(header: TiffHeader) -> None:
    if len(set(header.bits)) > 1 or len(set(header.sample_format)) > 1:
        raise unread("a TIFF whose bands have different types", "Store them in files of their own.")
    if header.sample_format[0] not in (1, 2, 3, 4):
        raise unread("a TIFF of complex numbers", "Store their magnitude as float32.")
    meaning = _MEANINGS.get(header.photometric)
    if header.photometric > 8:
        meaning = f"of the photometric interpretation {header.photometric}"
    if meaning and not (header.photometric == 6 and header.compression in _JPEG):
        raise unread(f"a TIFF {meaning} in a layout that is not plain 8-bit grey", "Convert it to grey or RGB.")
    if header.photometric == 3 and (header.bits[0] > 8 or header.shape[2] > 1):
        raise unread(f"a TIFF with a palette of {header.bits[0]} bits and {header.shape[2]} bands", "Convert it.")


def _kind(header: TiffHeader) -> Literal["palette", "gray", "colour", "bands"]:
    if header.photometric == 3:
        return "palette"
    colours = header.shape[2] - header.alpha
    if header.photometric in (2, 6) and colours == 3:
        return "colour"
    return "gray" if colours == 1 and header.photometric == 1 else "bands"


def _palette(header: TiffHeader, kind: str) -> NDArray[np.uint8] | None:
    if kind == "palette":
        return header.palette
    return BLACK_WHITE if kind == "gray" and header.bits == (1,) else None


def _valid(pixels: Array, nodata: float | None) -> NDArray[np.bool_] | None:
    """False where every band holds the no-data value; None where that is nowhere."""
    if nodata is None:
        return None
    valid = ~all_hold(pixels, nodata)
    return None if valid.all() else valid


def _read(dataset: "DatasetReader", header: TiffHeader, rows: slice, columns: slice) -> Raster:
    """Decode a window; the caller is inside `_gdal`."""
    window = _rasterio().windows.Window.from_slices(rows, columns)
    shape = (rows.stop - rows.start, columns.stop - columns.start, header.shape[2])
    pixels = np.empty(shape, dataset.dtypes[0])
    with refusing_complaints():
        dataset.read(window=window, out=pixels.transpose(2, 0, 1))
    pixels = kept(pixels)
    valid = _valid(pixels, header.nodata)
    if header.masked:
        mask = dataset.read_masks(1, window=window) > 0
        valid = mask if valid is None else mask & valid
    kind = _kind(header)
    return Raster(pixels, "TIFF", kind, header.alpha, _palette(header, kind), valid, header.nodata, names=header.names)


def decode_raster(stream: BinaryIO, header: TiffHeader) -> Raster:
    """Decode a whole TIFF file.

    Args:
        stream: the file on disk, opened for reading bytes.
        header: from `checked_header`.

    Raises:
        DataError: rasterio is needed and not installed, or the file is damaged.
    """
    if exact_mode(header) is not None:
        stream.seek(0)
        raster = decode_tiff(stream, header)
    else:
        height, width, _ = header.shape
        with _dataset(stream) as dataset:
            _check_agreement(dataset, header)
            check_sums(stream, header, slice(0, height), slice(0, width))
            raster = _read(dataset, header, slice(0, height), slice(0, width))
    return _placed(raster, header, stream, exact_mode(header) is None)


def _check_agreement(dataset: "DatasetReader", header: TiffHeader) -> None:
    found = (dataset.height, dataset.width, dataset.count)
    if found != header.shape:
        raise unread(f"a TIFF that GDAL reads as {found} instead of {header.shape}", "Store it in a plain layout.")


def _placed(raster: Raster, header: TiffHeader, stream: BinaryIO, turn_too: bool) -> Raster:
    raster = replace(raster, place=named_place(header, stream), names=header.names)
    if not turn_too or header.orientation == 1:
        return raster
    valid = None if raster.valid is None else turn(raster.valid, header.orientation)
    return replace(raster, pixels=turn(raster.pixels, header.orientation), valid=valid, turned=True)


def named_place(header: TiffHeader, stream: BinaryIO) -> Place | None:
    """Return the georeference; GDAL names a coordinate system that has no EPSG code (None without rasterio)."""
    place = place_of(header)
    if place is None or not has_unnamed_crs(header):
        return place
    try:
        with _dataset(stream) as dataset:
            crs = dataset.crs
            unit = "m" if crs and crs.is_projected and crs.linear_units_factor[1] == 1.0 else place.unit
            return replace(place, crs=crs.to_string() if crs else None, unit=unit)
    except DataError:
        return place


class RasterWindows:
    """An open TIFF file of which windows are decoded, without the rest. For one thread at a time, whichever.

    GDAL keeps the blocks that it decoded last, so that windows one below the other decode no block twice.

    Attributes:
        shape: `(H, W, C)`.
        dtype: type of `DTYPES` of its pixels.
        partial: the file has a no-data value or a mask.
    """

    def __init__(self, path: Path, header: TiffHeader) -> None:
        self._header = header
        self._stream = path.open("rb", buffering=0)
        self._place = named_place(header, self._stream)
        self.shape = header.shape
        self.dtype = window_dtype(header) or ""
        self.partial = header.nodata is not None or header.masked
        self._kept: DatasetReader | None = None

    def read(self, rows: slice, columns: slice) -> Raster:
        """Decode one window; both slices have a start and a stop inside the image.

        Raises:
            Exception: whatever GDAL finds damaged.
        """
        with _gdal():
            if self._kept is None:
                self._kept = _open(self._stream)
            _check_agreement(self._kept, self._header)
            check_sums(self._stream, self._header, rows, columns)
            return replace(_read(self._kept, self._header, rows, columns), place=self._place)

    def close(self) -> None:
        """Close the file."""
        if self._kept is not None:
            self._kept.close()
        self._stream.close()


def window_dtype(header: TiffHeader) -> str | None:
    """Return the type of the pixels where windows can be read: None where the whole has to be decoded.

    That is so for one large block, a turned file, 64-bit integers, and where rasterio is missing but not needed.
    """
    rows, columns = header.block
    if header.orientation != 1 or rows * columns * header.shape[2] > _LONGEST_BLOCK or header.photometric == 0:
        return None
    try:
        _rasterio()
    except DataError:
        if exact_mode(header) is not None:
            return None
        raise
    bits = header.bits[0]
    letter = {1: "uint", 2: "int", 3: "float", 4: "uint"}[header.sample_format[0]]
    size = max(32 if letter == "float" else 8, 1 << (bits - 1).bit_length())
    return kept_dtype(np.dtype(f"{letter}{size}"))
