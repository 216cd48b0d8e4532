import io
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from seg_scse.config.schema import DataConfig
from seg_scse.data.files.pictures import file_sample
from seg_scse.data.files.reading import read_raster
from seg_scse.errors import DataError

from .drawn_files import read_picture
from .test_reading import GRAY, PIXELS, RGB, encoded, oriented, read_image, saved


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.tif", "lzw.tif", "a.webp"])
def test_exif_orientation_is_applied_once(tmp_path, name, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    options = {"compression": "tiff_lzw"} if name == "lzw.tif" else {"lossless": True} if name == "a.webp" else {}
    path = saved(tmp_path / name, PIXELS, exif=exif, **options)
    pixels, _, facts = read_picture(file_sample(path), RGB)
    assert np.array_equal(pixels, oriented(PIXELS, orientation))
    assert facts == (("are turned upright by their EXIF orientation",) if orientation > 1 else ())


@pytest.mark.parametrize("orientation", [1, 6])
def test_jpeg_orientation_is_applied(tmp_path, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    smooth = np.linspace(0, 255, 40 * 60).astype(np.uint8).reshape(40, 60)
    pixels = read_image(saved(tmp_path / "a.jpg", smooth, exif=exif, quality=95), GRAY)[..., 0]
    assert np.abs(pixels.astype(int) - oriented(smooth, orientation)).max() < 10


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


def test_one_bit_has_the_values_0_and_1_and_is_black_and_white(tmp_path):
    path = saved(tmp_path / "a.png", PIXELS[..., 0] > 127)
    raster = read_raster(path, 10**6)
    assert raster.kind == "gray"
    assert np.array_equal(raster.pixels[..., 0], PIXELS[..., 0] > 127)
    assert raster.palette is not None
    assert raster.palette[[0, 1]].tolist() == [[0, 0, 0], [255, 255, 255]]
    assert np.array_equal(read_image(path, GRAY)[..., 0], 255 * (PIXELS[..., 0] > 127))


def test_a_palette_with_transparency_is_index_and_alpha(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([9, 8, 7, 200, 100, 50])
    image.putdata([0, 1])
    image.save(tmp_path / "a.png", transparency=1)
    raster = read_raster(tmp_path / "a.png", 100)
    assert (raster.kind, raster.alpha) == ("palette", True)
    assert raster.pixels.tolist() == [[[0, 255], [1, 0]]]
    assert read_image(tmp_path / "a.png", DataConfig(alpha="drop")).tolist() == [[[9, 8, 7], [200, 100, 50]]]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png_is_read_exactly(tmp_path, channels):
    import cv2

    pixels = np.random.default_rng(1).integers(0, 65536, (5, 7, channels), dtype=np.uint16)
    path = tmp_path / "a.png"
    if channels == 2:
        rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
        header = (7).to_bytes(4, "big") + (5).to_bytes(4, "big") + bytes([16, 4, 0, 0, 0])
        chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    else:
        path.write_bytes(cv2.imencode(".png", pixels[..., [2, 1, 0, 3][:channels]] if channels > 1 else pixels)[1])
    raster = read_raster(path, 100)
    assert np.array_equal(raster.pixels, pixels)
    assert raster.alpha == (channels in (2, 4))
    assert raster.kind == ("colour" if channels > 2 else "gray")


def test_a_16_bit_transparent_grey_is_alpha(tmp_path):
    pixels = np.arange(6, dtype=np.uint16).reshape(2, 3) + 1000
    raster = read_raster(saved(tmp_path / "a.png", pixels, transparency=1003), 100)
    assert raster.alpha
    assert raster.pixels[..., 1].tolist() == [[65535] * 3, [0, 65535, 65535]]


def png_chunk(kind: bytes, data: bytes) -> bytes:
    stream = io.BytesIO()
    PngImagePlugin.putchunk(stream, kind, data)
    return stream.getvalue()


def test_cmyk_is_refused(tmp_path):
    Image.fromarray(PIXELS).convert("CMYK").save(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=r"a\.jpg: is CMYK, which is not read\. Convert it to grey, RGB or RGBA"):
        read_image(tmp_path / "a.jpg", RGB)


def test_a_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "a.png"
    sound = encoded("png")
    for at in range(30, len(sound), 997):
        data = bytearray(sound)
        data[at] ^= 4
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"a checksum does not fit|cannot be decoded|cut off"):
            read_image(path, RGB)


@pytest.mark.parametrize("pixels", [PIXELS[..., 0], PIXELS])
def test_ppm_is_read_exactly(tmp_path, pixels):
    expected = pixels.reshape(40, 60, -1)
    assert np.array_equal(read_raster(saved(tmp_path / "a.ppm", pixels), 10**6).pixels, expected)


def test_16_bit_pgm_is_read_exactly(tmp_path):
    pixels = np.arange(0, 60000, 10000, dtype=np.uint16).reshape(2, 3)
    (tmp_path / "a.pgm").write_bytes(b"P5 3 2 65535\n" + pixels.astype(">u2").tobytes())
    raster = read_raster(tmp_path / "a.pgm", 100)
    assert raster.pixels.dtype == np.uint16
    assert np.array_equal(raster.pixels[..., 0], pixels)


@pytest.mark.parametrize(("start", "reason"), [(b"P5 3 2 7\n", "highest value is 7"), (b"P6 1 1 65535\n", "16 bits")])
def test_ppm_that_would_be_stretched_is_refused(tmp_path, start, reason):
    (tmp_path / "a.ppm").write_bytes(start + b"\1" * 6)
    with pytest.raises(DataError, match=rf"{reason}.*Store it as PNG"):
        read_raster(tmp_path / "a.ppm", 100)


def test_orientation_of_16_bit_colour_is_applied(tmp_path):
    import cv2

    pixels = np.random.default_rng(1).integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    sound = cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()
    exif = Image.Exif()
    exif[274] = 6
    path = tmp_path / "a.png"
    path.write_bytes(sound[:33] + png_chunk(b"eXIf", exif.tobytes()[6:]) + sound[33:])
    raster = read_raster(path, 100)
    assert raster.turned
    assert np.array_equal(raster.pixels, oriented(pixels, 6))


def test_a_png_chunk_with_another_checksum_is_refused_although_its_pixels_can_be_decoded(tmp_path):
    data = bytearray(encoded("png"))
    data[-13] ^= 1  # the last byte before the chunk IEND: of the checksum of the pixels
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.png: the PNG file is damaged \(a checksum does not fit\)"):
        read_raster(tmp_path / "a.png", 10**6)


@pytest.mark.parametrize(("name", "format_"), [("a.gif", "GIF"), ("a.png", "PNG"), ("a.webp", "WEBP")])
def test_moving_pictures_are_refused(tmp_path, name, format_):
    pages = [Image.fromarray(np.roll(PIXELS, 9 * i, axis=0)) for i in range(2)]
    pages[0].save(tmp_path / name, format=format_, save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match="holds 2 images"):
        read_raster(tmp_path / name, 10**6)
