"""An image that is read by windows is, number for number, what a run sees of the same file."""

import re
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from seg_scse.config.schema import DataConfig
from seg_scse.data.display import displayed
from seg_scse.data.files import pictures
from seg_scse.errors import DataError
from seg_scse.prediction.inputs import opening
from seg_scse.prediction.inputs.items import Item
from seg_scse.prediction.inputs.opening import Reading, open_image

from ...data.files.drawn_files import COLOURS, FOUR, save_array, save_pillow, save_raster
from .drawn_images import ALL, CASES, FOUR_BANDS, GAPS, HOLES, PLACED, large, opened, reads, run


@pytest.mark.parametrize("by_windows", [True, False], ids=["windows", "whole"])
@pytest.mark.parametrize("case", CASES)
def test_a_file_is_seen_as_in_evaluation(tmp_path, monkeypatch, case, by_windows):
    kind, suffix, data = CASES[case]
    config, store = run(tmp_path, kind, suffix, data)
    expected = np.asarray(store.image(0))
    lacking = np.asarray(store.mask(0)) == 255
    if by_windows:
        monkeypatch.setattr(pictures, "WINDOWED_FROM", 1000)
        monkeypatch.setattr("seg_scse.data.seen._PIECE", 130)
        monkeypatch.setattr(opening, "_PIECE", 130)
    with opened(tmp_path / f"images/0{suffix}", config, store.scales.as_state()) as image:
        assert image.windowed == (suffix == ".npy" or (by_windows and suffix == ".tif"))
        assert (image.shape, image.dtype) == (expected.shape, expected.dtype)
        for rows, columns in (
            (slice(3, 17), slice(20, 39)),
            (slice(39, 40), slice(0, 1)),
            (ALL, ALL),
            (slice(-7, 99), ALL),
        ):
            part = image[rows, columns]
            assert np.array_equal(part, expected[rows, columns])
            assert part.dtype == expected.dtype
            valid = image.valid(rows, columns)
            assert np.array_equal(lacking[rows, columns], ~valid if valid is not None else np.zeros_like(part[..., 0]))
        assert np.array_equal(image[5:30:3, ::2], expected[5:30:3, ::2])
        assert np.array_equal(np.asarray(image), expected)


def test_what_the_file_says_is_at_hand(tmp_path):
    path = save_raster(tmp_path / "a.tif", GAPS, nodata=0, **PLACED)
    with opened(path, DataConfig(**FOUR_BANDS)) as image:
        assert image.place is not None
        assert (image.place.crs, image.place.transform, image.nodata) == ("EPSG:32750", (10, 0, 5, 0, -10, 7), 0)
    with opened(save_pillow(tmp_path / "b.png", COLOURS[..., 0]), DataConfig()) as image:
        assert (image.place, image.nodata, image.facts) == (None, None, ("are grey, repeated to 3 channels",))


def test_a_file_per_band_is_one_image(tmp_path):
    paths = [save_raster(tmp_path / f"{band}.tif", FOUR[..., band : band + 1]) for band in range(4)]
    with opened(paths[0], DataConfig(**FOUR_BANDS, use=["nir", "red"]), None, *paths[1:]) as image:
        assert np.array_equal(np.asarray(image), FOUR[..., [3, 0]] / np.float32(65535))


def test_the_pixels_before_scaling_are_at_hand_for_networks_of_other_scales(tmp_path):
    config = DataConfig(**FOUR_BANDS, scale={"method": "range", "low": 0, "high": 9})
    with opened(save_raster(tmp_path / "a.tif", GAPS, nodata=0), config) as image:
        filled = np.where(GAPS == 0, np.rint(GAPS[GAPS[..., 0] > 0].mean(axis=0)).astype(np.uint16), GAPS)
        assert (image.pixels.shape, image.pixels.dtype) == (GAPS.shape, np.uint16)
        assert np.array_equal(image.pixels[3:30, 10:50:2], filled[3:30, 10:50:2])


def test_the_limit_of_pixels_is_for_files_that_are_decoded_whole(tmp_path, monkeypatch):
    tiff, array = large(monkeypatch, tmp_path / "a.tif"), save_array(tmp_path / "b.npy", FOUR)
    config = DataConfig(**FOUR_BANDS, max_pixels=2399)
    for path in (tiff, array):
        with opened(path, config) as image:
            assert image.shape == (40, 60, 4)
    monkeypatch.setattr(pictures, "WINDOWED_FROM", 2400)
    text = "60 x 40 pixels are more than data.max_pixels=2399. Raise data.max_pixels if the image is meant to be this"
    for path in (tiff, save_pillow(tmp_path / "c.png", COLOURS), save_array(tmp_path / "d.npy", FOUR.astype(np.int64))):
        with pytest.raises(DataError, match=f"^{re.escape(f'{path}: {text}')}"), opened(path, config):
            pass


def test_a_small_file_of_225_megapixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    def chunk(name: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")

    side = (15_000).to_bytes(4, "big")
    lines = zlib.compress(bytes(15_000 * (1 + 15_000 // 8)), 9)
    path = tmp_path / "a.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", side * 2 + b"\1\0\0\0\0") + chunk(b"IDAT", lines) + chunk(b"IEND", b"")
    )
    assert path.stat().st_size < 29_000
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    with (
        pytest.raises(DataError, match=r"a\.png: 15000 x 15000 pixels are more than data\.max_pixels=100000000"),
        opened(path, DataConfig()),
    ):
        pass


def test_values_that_the_training_did_not_have_are_refused_with_their_file(tmp_path, monkeypatch):
    floats = large(monkeypatch, tmp_path / "a.tif", HOLES * 9)
    with opened(floats, DataConfig(bands=("a", "b"))) as image:
        text = (
            r"^[^:]*a\.tif: holds float32 values 0\.\d+ to \d.*: floats must be in \[0, 1\], as those of the training"
        )
        with pytest.raises(DataError, match=text):
            np.asarray(image)
    signed = save_raster(tmp_path / "b.tif", FOUR.view(np.int16))
    with (
        pytest.raises(DataError, match=r"^[^:]*b\.tif: holds int16, but data\.scale\.method = dtype: a signed type"),
        opened(signed, DataConfig(**FOUR_BANDS)),
    ):
        pass
    with (
        pytest.raises(DataError, match=r"percentile is measured over the training images, but the checkpoint keeps no"),
        opened(signed, DataConfig(**FOUR_BANDS, scale={"method": "percentile"})),
    ):
        pass


@pytest.mark.parametrize(
    ("config", "bands"),
    [(DataConfig(), "3: red, green, blue"), (DataConfig(bands=("red", "nir")), "2: red, nir")],
    ids=["colours", "bands"],
)
def test_other_bands_than_those_of_the_network_have_a_cure_that_is_there(tmp_path, config, bands):
    text = rf"a\.tif: has 4 bands\. The network takes {bands}\. Choose another run, or write these bands to a file"
    with pytest.raises(DataError, match=text), opened(save_raster(tmp_path / "a.tif"), config):
        pass


def test_transparency_taken_as_a_band_is_said(tmp_path):
    path = save_pillow(tmp_path / "a.png", np.dstack([COLOURS, COLOURS[..., 0]]))
    with opened(path, DataConfig(bands=("red", "green", "blue", "nir"))) as image:
        assert image.facts == ("carry an alpha channel, which is taken as the band nir",)


@pytest.mark.parametrize("kind", ["RGBA", "nodata"])
def test_a_picture_for_people_is_that_of_the_reports(tmp_path, kind):
    suffix = ".png" if kind == "RGBA" else ".tif"
    config, store = run(tmp_path, kind, suffix, {} if kind == "RGBA" else FOUR_BANDS)
    expected = displayed(store.image(0))
    with opened(tmp_path / f"images/0{suffix}", config) as image:
        assert np.array_equal(image.display(ALL, ALL), expected)
        part = image.display(slice(3, 38), slice(5, 58), 4)
        assert (part.shape, part.dtype) == ((9, 14, 3), np.uint8)
        assert np.array_equal(part, expected[3:38:4, 5:58:4])


def test_a_picture_of_a_scene_is_drawn_from_some_of_its_rows_and_grey_is_drawn_in_three_channels(tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "_PIECE", 130)
    ramp = np.repeat(np.arange(40, dtype=np.uint16)[:, None, None], 60, axis=1)
    path = large(monkeypatch, tmp_path / "a.tif", ramp)
    found = reads(monkeypatch)
    with opened(path, DataConfig(bands=("red",))) as image:
        part = image.display(ALL, ALL, 3)
        assert part.shape == (14, 20, 3)
        assert len([rows for rows, _ in found if rows.stop - rows.start == 1]) == 24 + 1  # and the last piece
        assert (part == part[..., :1]).all()
        assert part[:, 0, 0].tolist() == sorted(part[:, 0, 0].tolist())
        assert (part[0, 0, 0], part[-1, 0, 0]) == (0, 255)


def test_damage_in_the_middle_is_said_when_it_is_reached(tmp_path, monkeypatch):
    path = large(monkeypatch, tmp_path / "a.tif", compress="deflate")
    data = bytearray(path.read_bytes())
    at = max(index for index in range(len(data) - 2) if data[index : index + 2] == b"\x78\x9c")
    data[at + 9 : at + 40] = bytes(31)
    path.write_bytes(data)
    with opened(path, DataConfig(**FOUR_BANDS)) as image:
        assert np.array_equal(image[0:16, :], FOUR[:16] / np.float32(65535))
        with pytest.raises(DataError, match=r"^[^:]*a\.tif: cannot be decoded"):
            np.asarray(image)


def test_what_is_missing_is_said_at_once(tmp_path):
    with pytest.raises(DataError, match=r"none\.png: cannot be read"), opened(tmp_path / "none.png", DataConfig()):
        pass


def test_the_order_of_files_per_band_is_that_of_the_bands(tmp_path):
    paths = tuple(save_raster(tmp_path / f"{band}.tif", FOUR[..., band : band + 1]) for band in (3, 0, 1, 2))
    item = replace(Item("a", "image", paths), files=(*paths[1:], paths[0]))
    with open_image(item, Reading(DataConfig(**FOUR_BANDS), None)) as image:
        assert np.array_equal(np.asarray(image), FOUR / np.float32(65535))
