import gc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from seg_scse.config.schema import DataConfig
from seg_scse.data.files import pictures
from seg_scse.data.files.decoding import decoding
from seg_scse.data.files.pictures import Picture, file_sample, open_picture
from seg_scse.errors import DataError

from .drawn_files import (
    COLOURS,
    FLOATS,
    FOUR,
    TILED,
    VOXELS,
    read_picture,
    save_array,
    save_pillow,
    save_raster,
    save_volume,
)

RGB = DataConfig()
NAMES = ("red", "green", "blue", "nir")
BANDS = DataConfig(bands=NAMES)
PLACED = {"crs": "EPSG:32750", "transform": rasterio.Affine(10, 0, 5, 0, -10, 7)}


def read(path: Path, config: DataConfig = RGB) -> np.ndarray:
    return read_picture(file_sample(path), config)[0]


def valid(path: Path, config: DataConfig = RGB) -> np.ndarray | None:
    return read_picture(file_sample(path), config)[1]


def test_a_sample_of_a_file_is_named_by_its_stem():
    sample = file_sample(Path("folder/case\n1.nii.gz"), 3)
    assert (sample.id, sample.plane, sample.masks) == (r"case\n1", 3, ())


def test_named_bands_are_read_as_they_are(tmp_path):
    pixels = np.dstack([COLOURS, COLOURS[..., :1]])
    path = save_raster(tmp_path / "a.tif", pixels)  # GDAL marks the fourth band as alpha
    assert np.array_equal(read(path, BANDS), pixels)
    assert read_picture(file_sample(path), BANDS)[2] == ()


def test_chosen_bands_come_in_the_chosen_order(tmp_path):
    path = save_raster(tmp_path / "a.tif", FOUR)
    config = DataConfig(bands=NAMES, use=("nir", "red"))
    pixels = read(path, config)
    assert np.array_equal(pixels, FOUR[..., [3, 0]])
    assert pixels.flags.c_contiguous
    with open_picture(file_sample(path), config) as picture:
        assert (picture.shape, picture.dtype, picture.windowed) == ((40, 60, 2), "uint16", False)


def test_many_bands_without_names_are_refused_with_the_line_to_write(tmp_path):
    path = save_raster(tmp_path / "a.tif", FOUR)
    with pytest.raises(DataError, match=r"a\.tif: has 4 bands\. Name them: data\.bands: \[red, green, blue, nir\]\."):
        read(path)
    with pytest.raises(DataError, match=r"has 2 bands \(an array is read as height x width x bands\)\. Name them:"):
        read(save_array(tmp_path / "a.npy"))
    wide = save_array(tmp_path / "b.npy", np.zeros((2, 2, 200)))
    with pytest.raises(DataError, match=r"data\.bands: \[band1, band2, \.\.\., band200\]"):
        read(wide)


def test_the_proposed_line_is_one_that_works(tmp_path):
    path = save_raster(tmp_path / "a.tif", FLOATS)
    with pytest.raises(DataError) as caught:
        read(path)
    names = str(caught.value).split("data.bands: [")[1].split("]")[0].split(", ")
    assert np.array_equal(read(path, DataConfig(bands=tuple(names))), FLOATS)


@pytest.mark.parametrize(("count", "found"), [(1, "1 band"), (3, "3 bands")])
def test_another_number_of_bands_is_refused(tmp_path, count, found):
    path = save_raster(tmp_path / "a.tif", FOUR[..., :count])
    with pytest.raises(DataError, match=rf"has {found}, but data\.bands names 4 \(red, green, blue, nir\)\. Set data"):
        read(path, BANDS)


def test_bands_in_another_order_than_the_file_names_them_are_refused(tmp_path):
    path = save_raster(tmp_path / "a.tif", FOUR)
    for names, agrees in (("Blue Green Red NIR", False), ("RED GREEN BLUE NIR", True), ("B2 B3 B4 B8", True)):
        with decoding, rasterio.open(path, "r+") as dataset:
            dataset.descriptions = names.split()
        if agrees:
            assert np.array_equal(read(path, BANDS), FOUR)
            continue
        with pytest.raises(DataError, match=r"names its bands Blue, Green, Red, NIR, but data\.bands says red, green"):
            read(path, BANDS)


def test_a_fourth_band_taken_for_alpha_is_refused_with_both_cures(tmp_path):
    path = save_raster(tmp_path / "a.tif", np.dstack([COLOURS, COLOURS[..., :1]]))
    with pytest.raises(DataError) as caught:
        read(path)
    assert "pixels of the alpha channel are not 255. Set data.alpha=drop if that channel may be" in str(caught.value)
    assert "Set data.bands: [red, green, blue, nir] if it is a band, such as near infrared" in str(caught.value)
    assert np.array_equal(read(path, DataConfig(alpha="drop")), COLOURS)


def test_opaque_alpha_of_16_bits_is_dropped(tmp_path):
    from .drawn_files import save_deep_png

    pixels = np.dstack([FOUR[..., :3], np.full((40, 60, 1), 65535, np.uint16)])
    assert np.array_equal(read(save_deep_png(tmp_path / "a.png", pixels)), FOUR[..., :3])
    pixels[0, 0, 3] = 65534
    with pytest.raises(DataError, match=r"1 pixels of the alpha channel are not 65535"):
        read(save_deep_png(tmp_path / "b.png", pixels))


def test_no_data_of_the_file_and_of_the_configuration_is_invalid(tmp_path):
    pixels = FOUR + 1
    pixels[:2] = 0
    pixels[2:4, :, :2] = 9
    path = save_raster(tmp_path / "a.tif", pixels, nodata=0)
    expected = np.ones((40, 60), bool)
    expected[:2] = False
    assert np.array_equal(valid(path, BANDS), expected)
    expected[2:4] = False
    both = DataConfig(bands=NAMES, use=("red", "green"), nodata=9)
    assert np.array_equal(valid(path, both), expected)
    assert np.array_equal(valid(path, DataConfig(bands=NAMES, nodata=9)), valid(path, BANDS))
    with open_picture(file_sample(path), BANDS) as picture:
        assert picture.nodata == 0


def test_nan_and_infinity_in_a_used_band_are_invalid(tmp_path):
    pixels = FLOATS.copy()
    pixels[1, 2, 0], pixels[3, 4, 1] = np.nan, -np.inf
    path = save_raster(tmp_path / "a.tif", pixels)
    found = valid(path, DataConfig(bands=("a", "b")))
    assert found is not None
    assert np.argwhere(~found).tolist() == [[1, 2], [3, 4]]
    found = valid(path, DataConfig(bands=("a", "b"), use=("b",)))
    assert found is not None
    assert np.argwhere(~found).tolist() == [[3, 4]]


def test_no_data_of_a_grey_picture_is_seen_once_repeated(tmp_path):
    pixels = COLOURS[..., 0].copy()
    pixels[0] = 0
    found = valid(save_pillow(tmp_path / "a.png", pixels), DataConfig(nodata=0))
    assert np.array_equal(found, pixels > 0)


def large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "WINDOWED_FROM", 1000)


@pytest.mark.parametrize(
    ("pixels", "options"),
    [
        (FOUR, TILED),
        (FOUR, {"compress": "deflate", "interleave": "band", **TILED}),
        (np.dstack([COLOURS, COLOURS[..., :1]]), {"nodata": 3}),
        (FLOATS, {"nodata": 0, "compress": "lzw"}),
    ],
)
def test_windows_of_a_large_file_are_parts_of_the_whole(tmp_path, monkeypatch, pixels, options):
    path = save_raster(tmp_path / "a.tif", pixels, **options, **PLACED)
    names = DataConfig(bands=NAMES[: pixels.shape[2]], nodata=2)
    whole, where, facts = read_picture(file_sample(path), names)
    large(monkeypatch)
    with open_picture(file_sample(path), names) as picture:
        assert picture.windowed
        assert (picture.shape, picture.facts) == (whole.shape, facts)
        assert picture.place is not None
        for rows, cols in ((slice(3, 17), slice(20, 59)), (slice(39, 40), slice(0, 1)), (slice(None), slice(None))):
            part, mask = picture.read(rows, cols)
            assert np.array_equal(part, whole[rows, cols])
            assert part.dtype.name == picture.dtype
            expected = None if where is None or where[rows, cols].all() else where[rows, cols]
            assert np.array_equal(mask, expected) if expected is not None else mask is None


def test_large_pictures_of_8_bits_are_windowed_too_and_keep_their_rules(tmp_path, monkeypatch):
    large(monkeypatch)
    path = save_pillow(tmp_path / "a.tif", COLOURS)
    with open_picture(file_sample(path), RGB) as picture:
        assert picture.windowed
        assert np.array_equal(picture.read(slice(1, 5), slice(2, 9))[0], COLOURS[1:5, 2:9])
    with (
        open_picture(file_sample(path), DataConfig(channels="gray")) as picture,
        pytest.raises(DataError, match=r"a\.tif: is a colour image, but data\.channels=gray"),
    ):
        picture.read(slice(1, 5), slice(2, 9))


def test_arrays_are_mapped_not_read(tmp_path):
    pixels = np.random.default_rng(0).normal(size=(50, 40, 3)).astype(np.float64)
    path = save_array(tmp_path / "a.npy", pixels)
    with open_picture(file_sample(path), RGB) as picture:
        assert (picture.windowed, picture.dtype) == (True, "float32")
        part, _ = picture.read(slice(5, 9), slice(1, 40))
    assert np.array_equal(part, pixels[5:9, 1:40].astype(np.float32))
    wide = save_array(tmp_path / "b.npy", np.arange(12).reshape(3, 4))
    with open_picture(file_sample(wide), DataConfig(channels="gray")) as picture:
        assert (picture.windowed, picture.dtype) == (False, "int32")


def stack(folder: Path, count: int = 4, **options: Any) -> list[Path]:
    return [save_raster(folder / f"{number}.tif", FOUR[..., number : number + 1], **options) for number in range(count)]


def read_stack(paths: list[Path], config: DataConfig = BANDS) -> tuple[np.ndarray, np.ndarray | None]:
    sample = replace(file_sample(paths[0]), bands=tuple(paths[1:]))
    return read_picture(sample, config)[:2]


def test_one_file_per_band_is_one_picture(tmp_path):
    paths = stack(tmp_path, **PLACED)
    assert np.array_equal(read_stack(paths)[0], FOUR)
    assert np.array_equal(read_stack(paths, DataConfig(bands=NAMES, use=("nir", "green")))[0], FOUR[..., [3, 1]])


def test_a_stack_of_large_files_is_read_by_windows(tmp_path, monkeypatch):
    large(monkeypatch)
    paths = stack(tmp_path, **TILED)
    sample = replace(file_sample(paths[0]), bands=tuple(paths[1:]))
    with open_picture(sample, BANDS) as picture:
        assert picture.windowed
        assert np.array_equal(picture.read(slice(3, 9), slice(7, 11))[0], FOUR[3:9, 7:11])


def test_no_data_of_a_stack_is_where_all_bands_say_so(tmp_path):
    paths = []
    for number in range(2):
        pixels = FOUR[..., number : number + 1] + 1
        pixels[: number + 1] = 0
        paths.append(save_raster(tmp_path / f"{number}.tif", pixels, nodata=0))
    _, found = read_stack(paths, DataConfig(bands=("a", "b")))
    assert found is not None
    assert np.array_equal(found[:3, 0], [False, True, True])


@pytest.mark.parametrize(
    ("other", "options", "reason"),
    [
        (FOUR[:20, :, :1], PLACED, r"is 60 x 20 pixels large, but the band in 0\.tif 60 x 40"),
        (FLOATS[..., :1], PLACED, r"holds float32, but the band in 0\.tif uint16"),
        (FOUR[..., :2], PLACED, "has 2 bands or a palette, but is to be one band"),
        (FOUR[..., :1], {**PLACED, "crs": "EPSG:32650"}, r"lies elsewhere than the band in 0\.tif \(EPSG:32650"),
    ],
)
def test_bands_that_do_not_fit_are_refused(tmp_path, other, options, reason):
    paths = stack(tmp_path, 3, **PLACED)
    save_raster(paths[2], other, **options)
    with pytest.raises(DataError, match=rf"2\.tif: {reason}"):
        read_stack(paths, DataConfig(bands=("a", "b", "c")))


def test_a_missing_band_is_named(tmp_path):
    paths = stack(tmp_path)
    paths[1].unlink()
    with pytest.raises(DataError, match=r"1\.tif: cannot be read"):
        read_stack(paths)


def test_a_slice_of_a_volume_is_a_picture(tmp_path):
    path = save_volume(tmp_path / "a.nii.gz", VOXELS, np.eye(4))
    config = DataConfig(channels="gray", volume={"plane": "coronal"})
    pixels, _, _ = read_picture(file_sample(path, 4), config)
    assert np.array_equal(pixels[..., 0], VOXELS[:, 4].T[::-1])


def test_a_picture_is_decoded_once_for_many_windows(tmp_path, monkeypatch):
    path = save_pillow(tmp_path / "a.png")
    applied, original = [], pictures.Channels.apply
    monkeypatch.setattr(pictures.Channels, "apply", lambda *given: applied.append(1) or original(*given))
    with open_picture(file_sample(path), RGB) as picture:
        assert isinstance(picture, Picture)
        parts = [picture.read(slice(row, row + 10), slice(0, 60))[0] for row in range(0, 40, 10)]
    assert np.array_equal(np.concatenate(parts), COLOURS)
    assert applied == [1]


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files by /proc")
def test_no_file_stays_open(tmp_path, monkeypatch):
    large(monkeypatch)
    paths = stack(tmp_path, **TILED)
    gc.collect()
    before = open_files()
    for _ in range(3):
        read_stack(paths)
        with pytest.raises(DataError):
            read_stack(paths, DataConfig(bands=("a", "b")))
    gc.collect()
    assert open_files() == before
