import concurrent.futures
import io
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from seg_scse.config.schema import DataConfig
from seg_scse.data.names import shown
from seg_scse.data.reading import decode_image, open_image, read_image
from seg_scse.errors import DataError

RGB = DataConfig()
GRAY = DataConfig(channels="gray")
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


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
    pixels, facts = decode_image(path, RGB)
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
    result, facts = decode_image(saved(tmp_path / "a.png", pixels), RGB)
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


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.tif", "lzw.tif", "a.webp"])
def test_exif_orientation_is_applied_once(tmp_path, name, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    options = {"compression": "tiff_lzw"} if name == "lzw.tif" else {"lossless": True} if name == "a.webp" else {}
    path = saved(tmp_path / name, PIXELS, exif=exif, **options)
    pixels, facts = decode_image(path, RGB)
    assert np.array_equal(pixels, oriented(PIXELS, orientation))
    assert facts == (("are turned upright by their EXIF orientation",) if orientation > 1 else ())


@pytest.mark.parametrize("orientation", [1, 6])
def test_jpeg_orientation_is_applied(tmp_path, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    smooth = np.linspace(0, 255, 40 * 60).astype(np.uint8).reshape(40, 60)
    pixels = read_image(saved(tmp_path / "a.jpg", smooth, exif=exif, quality=95), GRAY)[..., 0]
    assert np.abs(pixels.astype(int) - oriented(smooth, orientation)).max() < 10


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


def test_every_cut_of_a_jpeg_is_refused(tmp_path):
    data = encoded("jpeg")
    path = tmp_path / "cut.jpg"
    for length in range(1, len(data) - 1, 37):
        path.write_bytes(data[:length])
        with pytest.raises(DataError, match=r"cut\.jpg"):
            read_image(path, RGB)


def test_a_jpeg_with_thumbnail_is_cut_where_its_own_end_is_missing(tmp_path):
    data = encoded("jpeg")
    thumbnail = b"\xff\xe1" + (len(data) + 2).to_bytes(2, "big") + data
    path = tmp_path / "a.jpg"
    path.write_bytes(data[:2] + thumbnail + data[2:])
    read_image(path, RGB)
    path.write_bytes(data[:2] + thumbnail + data[2:-2])
    with pytest.raises(DataError, match="cut off"):
        read_image(path, RGB)


def test_missing_files_and_dangling_links_are_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.png: cannot be read \(No such file"):
        read_image(tmp_path / "none.png", RGB)
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(DataError, match=r"link\.png: is a link to a file that does not exist"):
        read_image(tmp_path / "link.png", RGB)
    with pytest.raises(DataError, match="Is a directory"):
        read_image(tmp_path, RGB)


@pytest.mark.parametrize(("dtype", "name"), [(np.uint16, "uint16"), (np.int32, "int32"), (np.float32, "float32")])
def test_deep_images_are_refused_with_their_type(tmp_path, dtype, name):
    with pytest.raises(DataError, match=f"is {name}; only 8-bit"):
        read_image(saved(tmp_path / "a.tif", PIXELS[..., 0].astype(dtype)), RGB)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    stream = io.BytesIO()
    PngImagePlugin.putchunk(stream, kind, data)
    return stream.getvalue()


def test_16_bit_colour_is_refused_although_pillow_would_shrink_it(tmp_path):
    import zlib

    header = (1).to_bytes(4, "big") * 2 + bytes([16, 2, 0, 0, 0])
    body = png_chunk(b"IDAT", zlib.compress(b"\0" + b"\1\2" * 3))
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + body + png_chunk(b"IEND", b""))
    with pytest.raises(DataError, match="is a uint16 colour PNG, which this version does not read"):
        read_image(path, RGB)


def test_a_further_tiff_band_is_refused_although_pillow_would_drop_it(tmp_path):
    four = np.dstack([PIXELS, PIXELS[..., :1]])
    Image.frombytes("RGBX", (60, 40), four.tobytes()).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"4-band TIFF|is RGBX"):
        read_image(tmp_path / "a.tif", RGB)


def test_geotiff_with_no_data_value_is_refused(tmp_path):
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    tags = ImageFileDirectory_v2()
    tags[42113] = "0"
    with pytest.raises(DataError, match="no-data GeoTIFF"):
        read_image(saved(tmp_path / "a.tif", PIXELS, tiffinfo=tags), RGB)


def test_cmyk_is_refused(tmp_path):
    Image.fromarray(PIXELS).convert("CMYK").save(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="is CMYK; only 8-bit"):
        read_image(tmp_path / "a.jpg", RGB)


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


def test_a_flipped_bit_is_noticed(tmp_path):
    data = bytearray(encoded("png"))
    data[len(data) // 2] ^= 4
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(DataError, match="cannot be decoded"):
        read_image(path, RGB)


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


def test_nothing_is_converted_on_opening(tmp_path):
    path = saved(tmp_path / "a.tif", PIXELS[..., 0].astype(np.uint16))
    assert open_image(path, 10**6).image.mode == "I;16"
