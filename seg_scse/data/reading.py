"""The one image reader: every check is made before a pixel is trusted, and nothing is converted silently.

Pillow decodes, because it is exact for palette and four-band files, where OpenCV returns colours and multiplies by the
fourth band.
"""

import io
import threading
import warnings
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from seg_scse.config.schema import DataConfig
from seg_scse.data.names import shown
from seg_scse.data.signatures import describe, image_format
from seg_scse.errors import DataError

Pixels = NDArray[np.uint8]

_DTYPES = {"I;16": "uint16", "I;16B": "uint16", "I;16L": "uint16", "I": "int32", "F": "float32"}
_COLOUR_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA"}
_PNG_END = b"IEND\xaeB`\x82"
_JPEG_SCAN, _JPEG_END = b"\xff\xda", b"\xff\xd9"
_STRIPS = ((273, 279), (324, 325))  # TIFF tags: offsets and byte counts of strips, and of tiles
_BITS, _BANDS, _SAMPLE_FORMAT, _NODATA = 258, 277, 339, 42113  # TIFF tags


class _StrictPillow:
    """While a thread is inside, Pillow's warnings are errors and its own size limit rests (ours comes first).

    Warning filters and that limit belong to the whole process, so the first thread in sets them and the last one out
    restores them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._warnings: AbstractContextManager[object] = warnings.catch_warnings()
        self._limit: int | None = None

    def __enter__(self) -> Self:
        with self._lock:
            if self._inside == 0:
                self._warnings = warnings.catch_warnings()
                self._warnings.__enter__()
                warnings.filterwarnings("error", module=r"PIL\b")
                self._limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self._inside += 1
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                Image.MAX_IMAGE_PIXELS = self._limit
                self._warnings.__exit__(None, None, None)


_strict_pillow = _StrictPillow()


@dataclass(frozen=True)
class Opened:
    """A decoded file, turned upright by its EXIF orientation."""

    image: Image.Image
    format: str
    turned: bool


def _read_bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = "is a link to a file that does not exist" if path.is_symlink() and not path.exists() else None
        reason = reason or f"cannot be read ({error.strerror or error})"
        raise DataError(f"{shown(path)}: {reason}. Restore the file or remove it with its partner.") from error
    if not data:
        raise DataError(f"{shown(path)}: is empty (0 bytes). Get the file again.")
    return data


def _lost_bits(data: bytes, format_: str, image: Image.Image) -> str | None:
    """Say what Pillow would drop silently: depth beyond 8 bits per colour, further bands, the no-data value."""
    if format_ == "PNG" and data[24] == 16 and image.mode not in _DTYPES:
        return "uint16 colour"
    tags = getattr(image, "tag_v2", None)
    if format_ != "TIFF" or tags is None:
        return None
    bands = tags.get(_BANDS, 1)
    if bands != len(image.getbands()):
        return f"{bands}-band"
    if max(tags.get(_BITS, (1,))) > 8 and image.mode not in _DTYPES:
        return f"uint{max(tags.get(_BITS))} colour"
    if 2 in tags.get(_SAMPLE_FORMAT, (1,)) and image.mode not in _DTYPES:
        return "int8"
    return "no-data GeoTIFF" if _NODATA in tags else None


def _is_complete(data: bytes, format_: str, image: Image.Image) -> bool:
    """Find the end mark: decoders fill a missing rest with grey and some report success."""
    if format_ == "PNG":
        return _PNG_END in data
    if format_ == "JPEG":  # the end mark of an embedded thumbnail comes before the scan of the image
        return data.rfind(_JPEG_END) > data.rfind(_JPEG_SCAN)
    if format_ == "GIF":
        return data.rstrip(b"\0").endswith(b";")
    if format_ == "WEBP":
        return len(data) >= 8 + int.from_bytes(data[4:8], "little")
    tags = getattr(image, "tag_v2", {})
    ends = (o + n for at, size in _STRIPS for o, n in zip(tags.get(at, ()), tags.get(size, ()), strict=False))
    return max(ends, default=0) <= len(data)


def _check_header(data: bytes, format_: str, image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise DataError(
            f"{image.width} x {image.height} pixels are more than data.max_pixels={max_pixels}. "
            f"Raise data.max_pixels if the image is meant to be this large."
        )
    if not _is_complete(data, format_, image):
        raise DataError(f"the {format_} file is cut off (its end is missing). Get the file again.")
    lost = _lost_bits(data, format_, image)
    if lost:
        raise DataError(f"is a {lost} {format_}, which this version does not read. Convert it to 8 bits per channel.")
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # MPO: a photo followed by its preview
        raise DataError(f"holds {frames} images. Store each one in a file of its own.")


def _decode(data: bytes, max_pixels: int) -> Opened:
    format_ = image_format(data)
    if format_ is None:
        raise DataError(f"is {describe(data)}, not a PNG, JPEG, TIFF, BMP, GIF or WebP image.")
    with _strict_pillow, Image.open(io.BytesIO(data), formats=[format_]) as image:
        _check_header(data, format_, image, max_pixels)
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)
        image.load()  # a TIFF is turned here, by Pillow, which then forgets the orientation
        return Opened(ImageOps.exif_transpose(image) if turned else image, format_, turned)


def open_image(path: Path, max_pixels: int) -> Opened:
    """Read and decode one 8-bit image file completely, or refuse it; nothing is converted.

    Args:
        path: a PNG, JPEG, TIFF, BMP, GIF or WebP file, whatever its name ends with.
        max_pixels: larger images are refused before they are decoded.

    Raises:
        DataError: missing, empty, no image, cut off, damaged, too large, several images in one file, or something that
            Pillow would reduce silently (16-bit colour, further bands).
    """
    data = _read_bytes(path)
    try:
        return _decode(data, max_pixels)
    except DataError as error:
        raise DataError(f"{shown(path)}: {error}") from None
    except Exception as error:  # Pillow's decoders raise a dozen kinds on damaged files, struct.error among them
        raise DataError(f"{shown(path)}: cannot be decoded ({shown(str(error))}). Get the file again.") from error


def colours(opened: Opened, path: Path, alpha: str) -> tuple[Pixels, bool]:
    """Return the colours without alpha, uint8 `(H, W, 1)` if grey, else `(H, W, 3)`, and whether alpha was there.

    Palettes are expanded to their colours.

    Args:
        opened: the decoded file.
        path: its name, for messages.
        alpha: `opaque` refuses an alpha channel that is not 255 everywhere; `drop` ignores it.

    Raises:
        DataError: not 8-bit grey, palette, RGB or RGBA; or an alpha channel against the rule.
    """
    image = opened.image
    if image.mode not in _COLOUR_MODES:
        found = _DTYPES.get(image.mode, image.mode)
        raise DataError(f"{shown(path)}: is {found}; only 8-bit grey, RGB and RGBA are read. Convert it to 8 bits.")
    if image.has_transparency_data:
        pixels = np.asarray(image.convert("RGBA"))
        transparent = int((pixels[..., 3] != 255).sum())
        if transparent and alpha == "opaque":
            band = (
                " (a fourth band, such as near infrared, is not read by this version)"
                if opened.format == "TIFF"
                else ""
            )
            raise DataError(
                f"{shown(path)}: {transparent} pixels of the alpha channel are not 255. "
                f"Set data.alpha=drop if that channel may be ignored{band}."
            )
        return pixels[..., :3], True
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))[..., None], False
    return np.asarray(image.convert("RGB")), False


def decode_image(path: Path, config: DataConfig) -> tuple[Pixels, tuple[str, ...]]:
    """Read one image and say what was done to it.

    Args:
        path: the file.
        config: `channels`, `alpha` and `max_pixels` are used.

    Returns:
        uint8 `(H, W, 3)` for `channels=rgb` (grey repeated), `(H, W, 1)` for `gray`, 0 to 255, upright; and facts such
        as `are grey, repeated to 3 channels`.

    Raises:
        DataError: the file cannot be used as declared.
    """
    opened = open_image(path, config.max_pixels)
    pixels, had_alpha = colours(opened, path, config.alpha)
    facts = ["are turned upright by their EXIF orientation"] if opened.turned else []
    if had_alpha:
        facts.append(f"carry an {'opaque ' if config.alpha == 'opaque' else ''}alpha channel, dropped")
    if config.channels == "rgb" and pixels.shape[2] == 1:
        facts.append("are grey, repeated to 3 channels")
        pixels = np.repeat(pixels, 3, axis=2)
    if config.channels == "gray" and pixels.shape[2] == 3:
        if not same_channels(pixels):
            raise DataError(f"{shown(path)}: is a colour image, but data.channels=gray. Set data.channels=rgb.")
        pixels = pixels[..., :1]
    return np.ascontiguousarray(pixels), tuple(facts)


def same_channels(pixels: Pixels) -> bool:
    """Tell whether all channels of `(H, W, C)` are equal."""
    return bool((pixels == pixels[..., :1]).all())


def read_image(path: Path, config: DataConfig) -> Pixels:
    """Read one image: `decode_image` without the facts."""
    return decode_image(path, config)[0]
