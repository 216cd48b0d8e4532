"""Files that Pillow decodes exactly: PNG, JPEG, BMP, GIF, WebP, PPM and the plain layouts of TIFF.

Pillow keeps palettes and four-band files as they are, where OpenCV returns colours and multiplies by the fourth band.
"""

import io
import zlib
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from seg_scse.data.files.decoding import check_size, decoding, unread
from seg_scse.data.files.jpeg_end import check_jpeg_end, check_jpeg_pixels
from seg_scse.data.files.raster import Array, Raster
from seg_scse.data.files.tiff import TiffHeader
from seg_scse.errors import DataError

BLACK_WHITE = np.zeros((256, 3), np.uint8)
"""Colours that the values 0 and 1 of a 1-bit image stand for."""
BLACK_WHITE[1:] = 255

_DEEP = {"I;16": "uint16", "I;16B": "uint16", "I;16L": "uint16", "I;16N": "uint16", "I": "int32", "F": "float32"}
_PLAIN = {"L": (1, False), "LA": (1, True), "RGB": (3, False), "RGBA": (3, True)}
_EXACT_COMPRESSIONS = {1, 5, 8, 32946, 32773}  # none, LZW, deflate by both its numbers, PackBits
_FAX = {2, 3, 4}
_EXACT_LAYOUTS = {  # photometric, sample format, bits, extra samples -> Pillow's mode
    (0, 1, (1,), ()): "1",
    (1, 1, (1,), ()): "1",
    (0, 1, (8,), ()): "L",
    (1, 1, (8,), ()): "L",
    (1, 1, (8, 8), (2,)): "LA",
    (1, 1, (16,), ()): "I;16",
    (1, 2, (32,), ()): "I",
    (1, 3, (32,), ()): "F",
    (2, 1, (8, 8, 8), ()): "RGB",
    (2, 1, (8, 8, 8, 8), (2,)): "RGBA",
    (3, 1, (1,), ()): "P",
    (3, 1, (2,), ()): "P",
    (3, 1, (4,), ()): "P",
    (3, 1, (8,), ()): "P",
}


def exact_mode(header: TiffHeader) -> str | None:
    """Return the mode in which Pillow reads a TIFF exactly, or None where it would drop, scale or turn something."""
    known = _EXACT_COMPRESSIONS | (_FAX if header.bits == (1,) else set())
    if header.compression not in known or not header.interleaved or header.nodata is not None or header.masked:
        return None
    if header.big or (max(header.bits) > 8 and not header.little) or len(set(header.sample_format)) > 1:
        return None  # Pillow opens some BigTIFF files only, and swaps the bytes of some that are compressed
    return _EXACT_LAYOUTS.get((header.photometric, header.sample_format[0], header.bits, header.extra))


def _check_png(data: bytes) -> None:
    """Walk the chunks to the end mark: Pillow passes over the checksums of the pixels."""
    at = 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        kind, end = data[at + 4 : at + 8], at + 8 + length
        if end + 4 > len(data):
            break
        critical = not kind[0] & 32
        if critical and zlib.crc32(memoryview(data)[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise DataError("the PNG file is damaged (a checksum does not fit). Get the file again.")
        if kind == b"IEND":
            return
        at = end + 4
    raise DataError("the PNG file is cut off (its end is missing). Get the file again.")


def _check_ppm(image: Image.Image, data: bytes) -> None:
    """Refuse maxima that Pillow would stretch to the full range."""
    decoder = image.tile[0]  # type: ignore[attr-defined]
    most = decoder.args[-1] if isinstance(decoder.args, tuple) and image.mode != "1" else 255
    if isinstance(most, int) and most not in (255, 65535):
        raise unread(f"a PPM image whose highest value is {most}", "Store it as PNG.")
    if data[1:2] in b"36" and most == 65535:
        raise unread("a PPM image with 16 bits per colour", "Store it as PNG.")


def _check_end(data: bytes, format_: str) -> None:
    """Find the end mark: decoders fill a missing rest with grey and some report success."""
    complete = True
    if format_ == "PNG":
        _check_png(data)
    elif format_ == "JPEG":
        check_jpeg_end(data)
    elif format_ == "GIF":
        complete = data.rstrip(b"\0").endswith(b";")
    elif format_ == "WEBP":
        complete = len(data) >= 8 + int.from_bytes(data[4:8], "little")
    if not complete:
        raise DataError(f"the {format_} file is cut off (its end is missing). Get the file again.")


def _check_frames(image: Image.Image) -> None:
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # MPO: a photo followed by its preview
        raise DataError(f"holds {frames} images. Store each one in a file of its own.")


def _upright(image: Image.Image) -> tuple[Image.Image, bool]:
    turned = image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)
    image.load()  # a TIFF is turned here, by Pillow, which then forgets the orientation
    return (ImageOps.exif_transpose(image) if turned else image), turned


def decode_picture(data: bytes, format_: str, max_pixels: int) -> Raster:
    """Decode the bytes of a PNG, JPEG, BMP, GIF, WebP or PPM file.

    Args:
        data: the whole file.
        format_: from `signatures.file_format`.
        max_pixels: larger images are refused before they are decoded.

    Returns:
        uint8, or uint16 for 16 bits. A 1-bit image is `gray` with values 0 and 1, and `palette` says that 1 is white.
        A palette with transparency has C = 2: index and alpha.

    Raises:
        DataError: cut off, damaged, too large, several images, or a layout that Pillow would change.
    """
    with decoding, Image.open(io.BytesIO(data), formats=[format_]) as image:
        check_size(image.width, image.height, image.width * image.height * len(image.getbands()), max_pixels)
        _check_end(data, format_)
        if format_ == "PPM":
            _check_ppm(image, data)
        _check_frames(image)
        deep_colour = format_ == "PNG" and data[24] == 16 and data[25] != 0
        if deep_colour and "transparency" in image.info:
            raise unread("a 16-bit colour PNG with one transparent colour", "Store an alpha channel.")
        upright, turned = _upright(image)
        if format_ == "JPEG":
            check_jpeg_pixels(data, image)
        if deep_colour:
            return _deep_png(data, image.size, image.getexif().get(ExifTags.Base.Orientation, 1))
        return _raster(upright, format_, turned)


def decode_tiff(stream: BinaryIO, header: TiffHeader) -> Raster:
    """Decode a TIFF file whose header `exact_mode` accepts; the header was checked against limits.

    Raises:
        DataError: Pillow found another layout.
    """
    mode = exact_mode(header)
    with decoding, Image.open(stream, formats=["TIFF"]) as image:
        if image.mode not in (mode, f"{mode}B"):
            raise unread(f"a TIFF of the mode {image.mode}", "Store it uncompressed, or as PNG.")
        upright, _ = _upright(image)
        return _raster(upright, "TIFF", header.orientation != 1)


def turn(pixels: Array, orientation: int) -> Array:
    """Turn `(H, W, ...)` upright by its EXIF orientation, 1 to 8."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(pixels[::rows, ::columns])


def _deep_png(data: bytes, size: tuple[int, int], orientation: int) -> Raster:
    """16 bits per colour, which Pillow shrinks to 8: OpenCV keeps them. Pillow has found the file sound before."""
    import cv2

    pixels: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    grey = data[25] == 4
    if pixels is None or pixels.dtype != np.uint16 or pixels.shape != (size[1], size[0], 3 if data[25] == 2 else 4):
        raise unread("a 16-bit colour PNG of an unusual layout", "Store it as TIFF.")
    bands = [0, 3] if grey else [2, 1, 0, 3][: pixels.shape[2]]
    kind = "gray" if grey else "colour"
    upright = turn(pixels[..., bands], orientation if orientation in range(1, 9) else 1)
    return Raster(upright, "PNG", kind, alpha=data[25] != 2, turned=orientation in range(2, 9))  # type: ignore[arg-type]


def _palette(image: Image.Image) -> NDArray[np.uint8]:
    colours = np.zeros(768, np.uint8)
    listed = image.getpalette("RGB") or []
    colours[: len(listed)] = listed
    return colours.reshape(256, 3)


def _raster(image: Image.Image, format_: str, turned: bool) -> Raster:
    transparent = image.has_transparency_data
    if image.mode == "P":
        pixels = np.asarray(image)[..., None]
        if transparent:
            pixels = np.concatenate([pixels, np.asarray(image.convert("RGBA"))[..., 3:]], axis=2)
        return Raster(pixels, format_, "palette", transparent, _palette(image), turned=turned)
    if image.mode in _DEEP:
        return _deep_grey(image, format_, turned)
    if image.mode == "1" and not transparent:
        return Raster(
            np.asarray(image).astype(np.uint8)[..., None], format_, "gray", palette=BLACK_WHITE, turned=turned
        )
    if transparent and image.mode not in ("LA", "RGBA"):
        image = image.convert("LA" if image.mode in ("1", "L") else "RGBA")
    if image.mode not in _PLAIN:
        raise unread(f"{image.mode}", "Convert it to grey, RGB or RGBA.")
    colours, alpha = _PLAIN[image.mode]
    pixels = np.asarray(image).reshape(image.height, image.width, -1)
    return Raster(pixels, format_, "gray" if colours == 1 else "colour", alpha, turned=turned)


def _deep_grey(image: Image.Image, format_: str, turned: bool) -> Raster:
    dtype = "uint16" if format_ in ("PNG", "PPM") else _DEEP[image.mode]
    pixels = np.asarray(image).astype(dtype)[..., None]
    key = image.info.get("transparency")
    if isinstance(key, int):
        pixels = np.concatenate([pixels, np.where(pixels == key, 0, 65535).astype(dtype)], axis=2)
    return Raster(pixels, format_, "gray", alpha=pixels.shape[2] == 2, turned=turned)
