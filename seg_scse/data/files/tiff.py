"""The header of a TIFF file, read by ourselves: what decides who decodes it must not depend on who is installed.

TIFF 6.0 and BigTIFF; GDAL's tags for no data (42113) and names of bands (42112); the GeoTIFF tags of `geotiff`.
"""

import html
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from seg_scse.errors import DataError

_TYPES = {1: "B", 2: "c", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I"}
_BIG_TYPES = {16: "Q", 17: "q", 18: "Q"}
_RATIONAL = 5  # two integers; no tag that is read here holds them
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 254, 256, 257, 258, 259, 262, 266
_ORIENTATION, _BANDS, _ROWS_PER_STRIP, _PLANAR, _COLOURS = 274, 277, 278, 284, 320
_TILE_WIDTH, _TILE_HEIGHT, _EXTRA, _SAMPLE_FORMAT, _METADATA, _NODATA = 322, 323, 338, 339, 42112, 42113
_STRIPS, _TILES = (273, 279), (324, 325)  # offsets and byte counts
_GEO = {33550, 33922, 34264, 34735, 34736, 34737}
_READ = {_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _ORIENTATION, _BANDS, _COLOURS}
_READ |= {_ROWS_PER_STRIP, _PLANAR, _TILE_WIDTH, _TILE_HEIGHT, _EXTRA, _SAMPLE_FORMAT, _METADATA, _NODATA}
_READ |= {*_STRIPS, *_TILES} | _GEO
_REDUCED, _MASK = 1, 4  # bits of the tag NewSubfileType
_MOST_DIRECTORIES = 10_000
_NAME = re.compile(r'<Item name="DESCRIPTION" sample="(\d+)" role="description">([^<]*)</Item>')

Tags = dict[int, tuple[Any, ...]]


class CutOffError(Exception):
    """The file ends before something that its header promises."""


class _Reader:
    """Reads directories of one file; every offset and count is checked against the file's size."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self._size = stream, size
        start = self._bytes(0, 16 if size >= 16 else 8)
        self._order = "<" if start[:2] == b"II" else ">"
        self.big = start[2:4] in (b"+\0", b"\0+")
        self.little = self._order == "<"
        self._types = _TYPES | (_BIG_TYPES if self.big else {})
        self.first = self._unpack("Q", start[8:16])[0] if self.big else self._unpack("I", start[4:8])[0]

    def _bytes(self, offset: int, count: int) -> bytes:
        if offset + count > self._size:
            raise CutOffError
        self._stream.seek(offset)
        data = self._stream.read(count)
        if len(data) < count:
            raise CutOffError
        return data

    def _unpack(self, layout: str, data: bytes) -> tuple[Any, ...]:
        return struct.unpack(f"{self._order}{layout}", data)

    def directories(self, wanted: set[int]) -> Iterator[Tags]:
        offset, seen = self.first, set[int]()
        while offset:
            if offset in seen or len(seen) >= _MOST_DIRECTORIES:
                raise DataError("is a damaged TIFF: its directories form a loop. Get the file again.")
            seen.add(offset)
            tags, offset = self._directory(offset, wanted)
            yield tags

    def _directory(self, offset: int, wanted: set[int]) -> tuple[Tags, int]:
        counter, entry, pointer = ("Q", 20, "Q") if self.big else ("H", 12, "I")
        length = struct.calcsize(counter)
        (count,) = self._unpack(counter, self._bytes(offset, length))
        body = self._bytes(offset + length, count * entry)
        tags = {}
        for at in range(0, len(body), entry):
            number, kind = self._unpack("HH", body[at : at + 4])
            if number in wanted:
                tags[number] = self._values(kind, body[at + 4 : at + entry])
        end = offset + length + len(body)
        following = self._bytes(end, struct.calcsize(pointer)) if end < self._size else b"\0" * struct.calcsize(pointer)
        return tags, self._unpack(pointer, following)[0]

    def _values(self, kind: int, place: bytes) -> tuple[Any, ...]:
        """Values of one entry, which lie in the entry itself if they fit, else where it points."""
        pointer = "Q" if self.big else "I"
        half = struct.calcsize(pointer)
        (count,) = self._unpack(pointer, place[:half])
        if kind == _RATIONAL or kind not in self._types:
            return ()
        letter = self._types[kind]
        size = count * struct.calcsize(letter)
        data = place[half : half + size] if size <= half else self._bytes(self._unpack(pointer, place[half:])[0], size)
        return (data,) if letter == "c" else self._unpack(f"{count}{letter}", data)


@dataclass(frozen=True)
class TiffHeader:
    """What the first image of a TIFF file is.

    Attributes:
        tags: values by the number of their tag.
        masked: the file holds a mask of valid pixels (GDAL's internal mask band).
        images: images in the file, without masks and reduced copies.
        little: stored least significant byte first.
        big: BigTIFF, with offsets of 64 bits.
    """

    tags: Tags = field(repr=False)
    masked: bool
    images: int
    little: bool
    big: bool

    def number(self, tag: int, default: int = 0) -> int:
        """Return the first value of a tag."""
        return int(self.tags.get(tag, ())[0]) if self.tags.get(tag) else default

    def text(self, tag: int) -> str:
        """Return the text of a tag, or nothing."""
        values = self.tags.get(tag)
        data = values[0] if values and isinstance(values[0], bytes) else bytes(values or ())
        return data.split(b"\0")[0].decode("utf-8", errors="replace")

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(H, W, C)` as it is stored, before any turn."""
        return self.number(_HEIGHT), self.number(_WIDTH), self.number(_BANDS, 1)

    @cached_property
    def bits(self) -> tuple[int, ...]:
        """Bits of each band."""
        found = self.tags.get(_BITS, (1,))
        return found * self.shape[2] if len(found) == 1 else found

    @cached_property
    def sample_format(self) -> tuple[int, ...]:
        """1 unsigned, 2 signed, 3 float, others complex; of each band."""
        found = self.tags.get(_SAMPLE_FORMAT, (1,))
        return found * self.shape[2] if len(found) == 1 else found

    @property
    def compression(self) -> int:
        """1 none, 5 LZW, 7 JPEG, 8 deflate ..."""
        return self.number(_COMPRESSION, 1)

    @property
    def photometric(self) -> int:
        """0 white is zero, 1 black is zero, 2 RGB, 3 palette, 5 CMYK, 6 YCbCr, 8 Lab."""
        return self.number(_PHOTOMETRIC, 1)

    @property
    def extra(self) -> tuple[int, ...]:
        """Meaning of the bands beyond grey or RGB: 0 none, 1 premultiplied alpha, 2 alpha."""
        return self.tags.get(_EXTRA, ())

    @property
    def orientation(self) -> int:
        """1 to 8 as in EXIF; anything else means 1."""
        return self.number(_ORIENTATION, 1) if self.number(_ORIENTATION, 1) in range(1, 9) else 1

    @property
    def interleaved(self) -> bool:
        """Bands lie side by side in each pixel, and bits in the usual order."""
        return (self.number(_PLANAR, 1) == 1 or self.shape[2] == 1) and self.number(_FILL_ORDER, 1) == 1

    @property
    def alpha(self) -> bool:
        """The last band is marked as transparency."""
        return bool(self.extra) and self.extra[-1] in (1, 2) and self.shape[2] > 1

    @property
    def georeferenced(self) -> bool:
        """The file says where it lies."""
        return bool(self.tags.keys() & _GEO)

    @cached_property
    def nodata(self) -> float | None:
        """The value that GDAL's tag names as no data."""
        try:
            return float(self.text(_NODATA).strip()) if _NODATA in self.tags else None
        except ValueError:
            raise DataError(f"declares the no-data value {self.text(_NODATA)!r}, which is not a number.") from None

    @cached_property
    def names(self) -> tuple[str, ...] | None:
        """Names of the bands, where GDAL's tag names all of them; GDAL escapes them twice."""
        found = {int(at): html.unescape(html.unescape(name)) for at, name in _NAME.findall(self.text(_METADATA))}
        names = tuple(found.get(band, "") for band in range(self.shape[2]))
        return names if all(names) else None

    @cached_property
    def palette(self) -> NDArray[np.uint8]:
        """Colours `(256, 3)` of a palette image."""
        values = np.array(self.tags.get(_COLOURS, ()), np.uint16)
        size = 1 << self.bits[0]
        if len(values) != 3 * size or size > 256:
            raise DataError("is a TIFF with a palette that does not fit its pixels. Convert it.")
        colours = np.zeros((256, 3), np.uint8)
        colours[:size] = (values.reshape(3, size) >> 8).T
        return colours

    @property
    def block(self) -> tuple[int, int]:
        """Rows and columns that are decoded together."""
        height, width, _ = self.shape
        if _TILE_WIDTH in self.tags:
            return self.number(_TILE_HEIGHT), self.number(_TILE_WIDTH)
        return min(self.number(_ROWS_PER_STRIP, height), height), width

    @property
    def planes(self) -> int:
        """Blocks that lie on each other in one place: one per band of a planar file."""
        return 1 if self.number(_PLANAR, 1) == 1 else self.shape[2]

    @property
    def extents(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Offset and length in bytes of each block."""
        at, length = _TILES if _TILES[0] in self.tags else _STRIPS
        return self.tags.get(at, ()), self.tags.get(length, ())

    def blocks(self, rows: slice, columns: slice) -> Iterator[tuple[int, int]]:
        """Offset and length in bytes of the blocks that a window touches."""
        (height, width, _), (down, across) = self.shape, self.block
        at, length = self.extents
        per_row, per_plane = -(-width // across), -(-width // across) * -(-height // down)
        for plane in range(self.planes):
            for row in range(rows.start // down, -(-rows.stop // down)):
                for column in range(columns.start // across, -(-columns.stop // across)):
                    number = plane * per_plane + row * per_row + column
                    yield at[number], length[number]


def read_tiff_header(stream: BinaryIO, size: int) -> TiffHeader:
    """Read the header of a TIFF file.

    Args:
        stream: the file, opened for reading bytes.
        size: its length in bytes.

    Raises:
        DataError: cut off (something that the header promises is not in the file), or damaged.
    """
    try:
        reader = _Reader(stream, size)
        tags = next(reader.directories(_READ), {})
        kinds = [int(found[_SUBFILE][0]) if found.get(_SUBFILE) else 0 for found in reader.directories({_SUBFILE})]
        others = [kind for kind in kinds[1:] if not kind & (_REDUCED | _MASK)]
        masked = any(kind & _MASK and not kind & _REDUCED for kind in kinds[1:])
        header = TiffHeader(tags, masked, 1 + len(others), reader.little, reader.big)
        _check_extent(header, size)
    except (CutOffError, struct.error):
        raise DataError("the TIFF file is cut off (its end is missing). Get the file again.") from None
    return header


def _check_extent(header: TiffHeader, size: int) -> None:
    """Find every strip or tile inside the file: decoders fill what is missing with black, and some report success."""
    height, width, bands = header.shape
    if min(header.shape) < 1:
        raise DataError(f"is a damaged TIFF of {width} x {height} pixels and {bands} bands. Get the file again.")
    if len(header.bits) != bands or len(header.sample_format) != bands:
        raise DataError("is a damaged TIFF: its bands are described differently. Get the file again.")
    at, length = header.extents
    rows, columns = header.block
    expected = -(-height // max(rows, 1)) * -(-width // max(columns, 1)) * header.planes
    if min(rows, columns) < 1 or not len(at) == len(length) >= expected:
        raise DataError(f"is a damaged TIFF: {len(at)} of {expected} blocks of pixels are there. Get the file again.")
    if any(offset + count > size for offset, count in zip(at, length, strict=True)):
        raise CutOffError
    absent = sum(not count for count in length[:expected])
    if absent and header.nodata is None:
        raise DataError(
            f"{absent} of {expected} blocks of pixels were never written, and no no-data value is declared. "
            "Get the file again."
        )
