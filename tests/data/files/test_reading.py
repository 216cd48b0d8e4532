import concurrent.futures
import io
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg_scse.config.schema import DataConfig
from seg_scse.data.files.pictures import file_sample
from seg_scse.data.files.reading import read_place, read_raster, same_channels
from seg_scse.data.names import shown
from seg_scse.errors import DataError

from .drawn_files import read_picture

RGB = DataConfig()
GRAY = DataConfig(channels="gray")
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def read_image(path: Path, config: DataConfig) -> np.ndarray:
    return read_picture(file_sample(path), config)[0]


def saved(path: Path, pixels: np.ndarray, **options: object) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.mark.parametrize(
    "name", ["a.png", "a.tif", "a.bmp", "a.PNG", "wrong.jpg", "space and ü.png", "-a.png", "100%.png"]
)
def test_rgb_is_read_exactly(tmp_path, name):
    format_ = {"tif": "TIFF", "bmp": "BMP"}.get(name.split(".")[-1], "PNG")
    assert np.array_equal(read_image(saved(tmp_path / name, PIXELS, format=format_), RGB), PIXELS)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_tiff_compressions_are_read_exactly(tmp_path, compression):
    assert np.array_equal(read_image(saved(tmp_path / "a.tif", PIXELS, compression=compression), RGB), PIXELS)


def test_grey_is_repeated_in_rgb_and_kept_in_gray(tmp_path):
    path = saved(tmp_path / "a.png", PIXELS[..., 0])
    pixels, _, facts = read_picture(file_sample(path), RGB)
    assert np.array_equal(pixels, np.repeat(PIXELS[..., :1], 3, axis=2))
    assert facts == ("are grey, repeated to 3 channels",)
    assert np.array_equal(read_image(path, GRAY), PIXELS[..., :1])


def test_palette_becomes_its_colours(tmp_path):
    image = Image.new("P", (2, 2))
    image.putpalette([9, 8, 7, 200, 100, 50, 1, 2, 3])
    image.putdata([0, 1, 2, 1])
    image.save(tmp_path / "a.png")
    expected = [[[9, 8, 7], [200, 100, 50]], [[1, 2, 3], [200, 100, 50]]]
    assert read_image(tmp_path / "a.png", RGB).tolist() == expected


@pytest.mark.parametrize("channels", [2, 4])
def test_opaque_alpha_is_dropped_and_named(tmp_path, channels):
    pixels = np.concatenate([PIXELS[..., : channels - 1], np.full((40, 60, 1), 255, np.uint8)], axis=2)
    result, _, facts = read_picture(file_sample(saved(tmp_path / "a.png", pixels)), RGB)
    expected = pixels[..., :3] if channels == 4 else np.repeat(pixels[..., :1], 3, axis=2)
    assert np.array_equal(result, expected)
    assert "carry an opaque alpha channel, dropped" in facts


def test_transparency_is_refused_unless_dropped(tmp_path):
    pixels = np.dstack([PIXELS, np.full((40, 60), 255, np.uint8)])
    pixels[0, :3, 3] = 7
    path = saved(tmp_path / "a.png", pixels)
    with pytest.raises(DataError, match=r"a\.png: 3 pixels of the alpha .* Set data\.alpha=drop"):
        read_image(path, RGB)
    assert np.array_equal(read_image(path, DataConfig(alpha="drop")), PIXELS)


def test_transparent_colour_is_refused_like_alpha(tmp_path):
    path = saved(tmp_path / "a.png", PIXELS, transparency=tuple(map(int, PIXELS[0, 0])))
    with pytest.raises(DataError, match="1 pixels of the alpha"):
        read_image(path, RGB)


def test_gray_takes_equal_channels_only(tmp_path):
    same = np.repeat(PIXELS[..., :1], 3, axis=2)
    assert np.array_equal(read_image(saved(tmp_path / "same.png", same), GRAY), same[..., :1])
    with pytest.raises(DataError, match=r"is a colour image, but data\.channels=gray\. Set data\.channels=rgb"):
        read_image(saved(tmp_path / "a.png", PIXELS), GRAY)


def oriented(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """What a viewer shows, by the EXIF standard: where row 0 and column 0 of the file belong."""
    return {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(pixels, 1),
    }[orientation]


ENCODERS = {
    "jpeg": {"format": "JPEG"},
    "progressive": {"format": "JPEG", "progressive": True},
    "png": {"format": "PNG"},
    "tiff": {"format": "TIFF"},
    "lzw": {"format": "TIFF", "compression": "tiff_lzw"},
    "deflate": {"format": "TIFF", "compression": "tiff_adobe_deflate"},
    "bmp": {"format": "BMP"},
    "gif": {"format": "GIF"},
    "webp": {"format": "WEBP"},
}


def encoded(kind: str, pixels: np.ndarray = PIXELS) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, **ENCODERS[kind])
    return stream.getvalue()


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
@pytest.mark.parametrize("kind", ENCODERS)
def test_cut_files_are_refused(tmp_path, kind, share):
    smooth = np.add.outer(np.arange(300), np.arange(200)).astype(np.uint8)  # many rows in few bytes
    for pixels in (PIXELS, np.dstack([smooth] * 3)):
        data = encoded(kind, pixels)
        path = tmp_path / "cut.img"
        path.write_bytes(data)
        read_image(path, RGB)
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(DataError, match=r"cut\.img: .*(Get the file again|not a PNG)"):
            read_image(path, RGB)


def test_missing_files_and_dangling_links_are_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.png: cannot be read \(No such file"):
        read_image(tmp_path / "none.png", RGB)
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(DataError, match=r"link\.png: is a link to a file that does not exist"):
        read_image(tmp_path / "link.png", RGB)
    with pytest.raises(DataError, match="Is a directory"):
        read_image(tmp_path, RGB)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_deep_grey_keeps_its_type(tmp_path, dtype):
    path = saved(tmp_path / "a.tif", PIXELS[..., 0].astype(dtype))
    pixels, _, facts = read_picture(file_sample(path), RGB)
    assert pixels.dtype == dtype
    assert np.array_equal(pixels, np.repeat(PIXELS[..., :1], 3, axis=2))
    assert facts == ("are grey, repeated to 3 channels",)
    assert read_image(path, GRAY).shape == (40, 60, 1)


def test_several_images_in_one_file_are_refused(tmp_path):
    page = Image.fromarray(PIXELS)
    page.save(tmp_path / "a.tif", save_all=True, append_images=[page])
    with pytest.raises(DataError, match="holds 2 images"):
        read_image(tmp_path / "a.tif", RGB)


def test_size_limit_comes_before_decoding(tmp_path):
    path = tmp_path / "bomb.png"
    Image.new("1", (15000, 15000)).save(path)
    with pytest.raises(DataError, match=r"15000 x 15000 pixels are more than data\.max_pixels=100000000\. Raise"):
        read_image(path, RGB)


def test_the_limit_can_be_raised_above_pillows_own(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    path = saved(tmp_path / "a.tif", PIXELS)
    assert read_image(path, RGB).shape == (40, 60, 3)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_pillow_warnings_are_refusals_and_the_filters_are_restored(tmp_path):
    exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01"  # a directory of five entries that ends in the first
    path = saved(tmp_path / "a.jpg", PIXELS, exif=exif)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = list(warnings.filters)
        with pytest.raises(DataError, match=r"a\.jpg: cannot be decoded \(Corrupt EXIF data"):
            read_image(path, RGB)
        assert list(warnings.filters) == before


def test_threads_read_at_the_same_time(tmp_path):
    paths = [saved(tmp_path / f"{i}.png", np.roll(PIXELS, i, axis=0)) for i in range(40)]
    limit, filters = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda path: read_image(path, RGB), paths))
    assert all(np.array_equal(pixels, np.roll(PIXELS, i, axis=0)) for i, pixels in enumerate(results))
    assert (Image.MAX_IMAGE_PIXELS, list(warnings.filters)) == (limit, filters)


def test_undecodable_names_are_read_and_shown_on_one_line(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xff\n.png"))
    saved(path, PIXELS, format="PNG")
    assert read_image(path, RGB).shape == (40, 60, 3)
    assert shown(path.name) == r"b\udcff\n.png"
    path.write_bytes(b"")
    with pytest.raises(DataError) as caught:
        read_image(path, RGB)
    assert r"b\udcff\n.png: is empty" in str(caught.value)
    str(caught.value).encode("utf-8")


def test_a_slice_of_what_has_none_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"a\.png: is a PNG file, not a volume with slices"):
        read_raster(saved(tmp_path / "a.png", PIXELS), 10**6, plane=1)


def test_a_file_without_place_has_none(tmp_path):
    assert read_place(saved(tmp_path / "a.png", PIXELS)) is None


def test_channels_are_compared():
    assert same_channels(np.repeat(PIXELS[..., :1], 3, axis=2))
    assert not same_channels(PIXELS)


def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png: cannot be read \(is no regular file\)"):
        read_raster(tmp_path / "a.png", 100)


def test_too_many_values_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 2, 100), np.uint8))
    with pytest.raises(DataError, match=r"400 values are more than 16 times data\.max_pixels=20"):
        read_raster(tmp_path / "a.npy", 20)
