import io

import cv2
import numpy as np
import pytest
from PIL import Image

from seg_scse.data.files.pillow_files import decode_picture
from seg_scse.errors import DataError

END = b"\xff\xd9"
KINDS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_rows": 1},
    "many_restarts": {"restart_marker_blocks": 1},
    "full_chroma": {"subsampling": 0, "quality": 95},
    "coarse": {"quality": 10, "optimize": True},
}


def photo(channels: int = 3, size: tuple[int, int] = (123, 170)) -> np.ndarray:
    rng = np.random.default_rng(4)
    rough = rng.integers(0, 256, (8, 10, channels), np.uint8)
    smooth = cv2.resize(rough, size[::-1], interpolation=cv2.INTER_CUBIC).reshape(*size, channels)
    return np.clip(smooth + rng.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)


def jpeg(pixels: np.ndarray, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(out, "JPEG", **options)
    return out.getvalue()


def decoded(data: bytes) -> np.ndarray:
    return decode_picture(data, "JPEG", 10**6).pixels


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("channels", [1, 3])
def test_whole_files_are_read(options, channels):
    pixels = photo(channels)
    assert decoded(jpeg(pixels, **options)).shape == pixels.shape


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("share", [0.5, 0.6, 0.75, 0.9, 0.97])
def test_a_cut_file_with_an_end_mark_is_refused(options, channels, share):
    data = jpeg(photo(channels), **options)
    with pytest.raises(DataError, match="the JPEG file is cut off"):
        decoded(data[: int(len(data) * share)] + END)


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
def test_whole_files_with_a_grey_corner_are_read(options):
    pixels = photo()
    pixels[64:] = 128
    assert decoded(jpeg(pixels, **options)).shape == pixels.shape
    assert (decoded(jpeg(np.full_like(pixels, 128), **options)) == 128).all()


def test_a_cut_within_a_table_between_scans_is_refused():
    data = jpeg(photo(), progressive=True)
    scans = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xc4"]  # tables stand before their scan
    for table in scans[2:]:
        for more in range(2, 20, 3):
            with pytest.raises(DataError):
                decoded(data[: table + more] + END)


def test_what_follows_a_whole_file_does_not_matter():
    data = jpeg(photo())
    pixels = decoded(data)
    for rest in (b"\0" * 100, data, b"\xff\xda\xff", END):
        np.testing.assert_array_equal(decoded(data + rest), pixels)


def test_a_preview_does_not_hide_a_missing_end():
    preview = jpeg(photo(size=(32, 32)))
    segment = b"Exif\0\0" + preview
    data = jpeg(photo())
    data = data[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + data[2:]
    assert decoded(data).shape == (123, 170, 3)
    with pytest.raises(DataError, match=r"the JPEG file is cut off \(its end is missing\)"):
        decoded(data[: -len(data) // 4])


def test_an_end_mark_before_the_pixels_is_refused():
    data = jpeg(photo())
    with pytest.raises(DataError, match=r"the JPEG file is cut off"):
        decoded(data[: data.index(b"\xff\xda")] + END)


def test_a_cut_file_that_is_to_be_turned_is_refused():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = jpeg(photo(), exif=exif)
    assert decoded(data).shape == (170, 123, 3)
    with pytest.raises(DataError, match="pixels are missing"):
        decoded(data[: len(data) // 2] + END)
