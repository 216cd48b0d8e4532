"""JPEG files that end too early, also where somebody set an end mark behind what was left of them.

libjpeg paints the missing rest grey, or leaves out the missing detail, and only warns, which Pillow does not pass on.
"""

import io
import re

import numpy as np
from PIL import Image, JpegImagePlugin

from seg_scse.errors import DataError

_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # none of these lies in the compressed pixels
_SCAN, _END = 0xDA, 0xD9
_UNPAINTED = 128  # the middle of the range: a block without any coefficient
_CHUNKS = np.random.default_rng(0).integers(1, 255, (17, 64), np.uint8)
_MORE = b"".join(chunk.tobytes() + bytes([0xFF, 0xD0 + number % 8]) for number, chunk in enumerate(_CHUNKS))
"""Compressed pixels of no sense, with all marks at which a decoder may wait to restart."""


def _structure(data: bytes) -> tuple[int, int]:
    """Return the number of scans and where the end mark is; -1 for none. Previews lie inside segments."""
    at, scans = 2, 0
    while (found := _MARKER.search(data, at)) is not None:
        at = found.end()
        if data[at - 1] == _END:
            return scans, at - 2
        scans += data[at - 1] == _SCAN
        at += int.from_bytes(data[at : at + 2], "big")
    return scans, -1


def check_jpeg_end(data: bytes) -> None:
    """Find the end mark behind the pixels.

    Raises:
        DataError: there is none, or no pixels before it.
    """
    scans, end = _structure(data)
    if end < 0 or not scans:
        raise DataError("the JPEG file is cut off (its end is missing). Get the file again.")


def check_jpeg_pixels(data: bytes, image: Image.Image) -> None:
    """Make sure that the pixels of a JPEG file reach to the last one.

    A decoder that has all of them passes over what follows. So more of them are put before the end mark: where the
    picture changes, some were missing. Only pictures that may be cut are decoded for this a second time: of one scan,
    those with a grey last corner; of several scans, each holding some of the detail, all.

    Args:
        data: the file; `check_jpeg_end` accepts it.
        image: what Pillow decoded from it, not turned.

    Raises:
        DataError: pixels, or the detail of some, are missing.
    """
    scans, end = _structure(data)
    corner = np.asarray(image.crop((image.width - 1, image.height - 1, image.width, image.height)))
    if scans == 1 and (corner != _UNPAINTED).any():
        return
    if not _is(io.BytesIO(data[:end] + _MORE + data[end : end + 2]), image):
        raise DataError("the JPEG file is cut off (pixels are missing before its end mark). Get the file again.")


def _is(stream: io.BytesIO, image: Image.Image) -> bool:
    try:
        with JpegImagePlugin.JpegImageFile(stream) as found:
            return np.array_equal(np.asarray(found), np.asarray(image))
    except (OSError, SyntaxError):  # the cut was within a table, which swallowed what followed
        return False
