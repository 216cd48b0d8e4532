from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg_scse.config.schema import DataConfig
from seg_scse.data.masks import read_mask
from seg_scse.errors import DataError

IMAGE = Path("image.png")
INDICES = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
BLACK_WHITE = np.array([[0, 255, 255], [255, 0, 0]], np.uint8)
CLASSES = ("a", "b", "c")


def saved(path: Path, pixels: np.ndarray, **options: object) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def palette(path: Path, indices: np.ndarray) -> Path:
    coloured = Image.new("P", indices.shape[::-1])
    coloured.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    coloured.putdata(indices.ravel().tolist())
    coloured.save(path)
    return path


def read(
    path: Path, shape: tuple[int, int] = (2, 3), classes: tuple[str, ...] = ("a", "b"), **mask: object
) -> np.ndarray:
    return read_mask([path], IMAGE, shape, DataConfig(classes=classes, mask=mask))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_index_masks_are_class_indices(tmp_path, dtype):
    path = saved(tmp_path / "m.tif", INDICES.astype(dtype))
    result = read(path, classes=CLASSES)
    assert result.dtype == np.uint8
    assert np.array_equal(result, INDICES)


def test_one_bit_masks_are_index_and_binary(tmp_path):
    path = saved(tmp_path / "m.png", BLACK_WHITE > 0)
    assert np.array_equal(read(path), BLACK_WHITE // 255)
    assert np.array_equal(read(path, encoding="binary"), BLACK_WHITE // 255)


def test_palette_masks_are_palette_indices_not_colours(tmp_path):
    path = palette(tmp_path / "m.png", INDICES)
    assert np.array_equal(read(path, classes=CLASSES, encoding="palette"), INDICES)
    values = {0: 1, 1: 0, 2: 255}
    assert read(path, encoding="palette", values=values).tolist() == [[1, 0, 255], [255, 0, 1]]


def test_palette_and_index_are_not_taken_for_each_other(tmp_path):
    with pytest.raises(DataError, match=r"is a palette image; set data\.mask\.encoding=palette"):
        read(palette(tmp_path / "p.png", INDICES), classes=CLASSES)
    with pytest.raises(DataError, match=r"is a L image without a palette; set data\.mask\.encoding=index"):
        read(saved(tmp_path / "m.png", INDICES), classes=CLASSES, encoding="palette")
    with pytest.raises(DataError, match=r"is a palette image; set data\.mask\.encoding=palette"):
        read(palette(tmp_path / "p.png", INDICES), encoding="binary")


def test_black_and_white_without_values_is_refused_with_the_line_to_add(tmp_path):
    with pytest.raises(DataError) as caught:
        read(saved(tmp_path / "m.png", BLACK_WHITE))
    text = str(caught.value)
    assert "m.png: undeclared mask value 255; found 0 (3 pixels), 255 (3 pixels)" in text
    assert "put `data.mask.values: {0: 0, 255: 1}` into the configuration" in text


def test_declared_values_are_mapped(tmp_path):
    path = saved(tmp_path / "m.png", BLACK_WHITE)
    assert np.array_equal(read(path, values={0: 0, 255: 1}), BLACK_WHITE // 255)


def test_ignore_must_be_declared_and_is_suggested(tmp_path):
    path = saved(tmp_path / "m.png", np.array([[0, 1, 255]], np.uint8))
    with pytest.raises(DataError, match=r"data\.mask\.values: \{0: 0, 1: 1, 255: 255\}"):
        read(path, shape=(1, 3))
    assert read(path, shape=(1, 3), values={0: 0, 1: 1, 255: 255}).tolist() == [[0, 1, 255]]


def test_a_label_outside_the_classes_is_refused(tmp_path):
    pixels = np.array([[0, 1, 7]], np.uint8)
    with pytest.raises(DataError, match=r"undeclared mask value 7; .* 7 \(1 pixels\)\. .*name more data\.classes"):
        read(saved(tmp_path / "m.png", pixels), shape=(1, 3))


def test_a_mask_of_one_undeclared_value_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"declare it, such as `data\.mask\.values: \{0: 0, 255: 1\}`"):
        read(saved(tmp_path / "m.png", np.full((2, 3), 255, np.uint8)))


@pytest.mark.parametrize("values", [[0, 254, 255], [0, 3, 250, 255]])
def test_values_near_255_are_a_lossy_mask(tmp_path, values):
    pixels = np.array([values], np.uint8)
    with pytest.raises(DataError, match=r"lossy mask .*encoding=binary and data\.mask\.threshold=127"):
        read(saved(tmp_path / "m.png", pixels), shape=pixels.shape, values={0: 0, 255: 1})


def test_jpeg_masks_are_lossy_as_index_and_right_as_binary(tmp_path):
    truth = np.zeros((64, 64), np.uint8)
    truth[10:40, 20:50] = 255
    path = saved(tmp_path / "m.jpg", truth, quality=75)
    with pytest.raises(DataError, match=r"m\.jpg: .* and \d+ more\. This is a lossy mask"):
        read(path, shape=(64, 64), values={0: 0, 255: 1})
    assert np.array_equal(read(path, shape=(64, 64), encoding="binary"), truth // 255)


@pytest.mark.parametrize("layout", ["L", "LA", "RGB", "RGBA"])
def test_binary_takes_every_layout_with_equal_channels(tmp_path, layout):
    image = Image.fromarray(BLACK_WHITE).convert(layout)
    image.save(tmp_path / "m.png")
    assert np.array_equal(read(tmp_path / "m.png", encoding="binary"), BLACK_WHITE // 255)


def test_binary_threshold_is_exclusive(tmp_path):
    path = saved(tmp_path / "m.png", np.array([[0, 100, 101]], np.uint8))
    assert read(path, shape=(1, 3), encoding="binary", threshold=100).tolist() == [[0, 0, 1]]


def test_binary_never_goes_empty_silently(tmp_path):
    path = saved(tmp_path / "m.png", BLACK_WHITE // 255)
    with pytest.raises(DataError, match=r"no pixel is above data\.mask\.threshold=127; values go up to 1"):
        read(path, encoding="binary")
    assert read(saved(tmp_path / "e.png", BLACK_WHITE * 0), encoding="binary").sum() == 0


def test_colours_are_never_turned_into_brightness(tmp_path):
    pixels = np.zeros((2, 3, 3), np.uint8)
    pixels[0, 0, 0] = 255
    path = saved(tmp_path / "m.png", pixels)
    with pytest.raises(DataError, match="is a colour mask, and colour-coded classes are not read"):
        read(path, encoding="binary")
    with pytest.raises(DataError, match="is a RGB image, not one channel of integers"):
        read(path)


def test_float_and_deep_binary_masks_are_refused(tmp_path):
    with pytest.raises(DataError, match="is a F image, not one channel of integers"):
        read(saved(tmp_path / "f.tif", INDICES.astype(np.float32)))
    with pytest.raises(DataError, match=r"16- or 32-bit mask; set data\.mask\.encoding=index"):
        read(saved(tmp_path / "d.tif", INDICES.astype(np.uint16)), encoding="binary")


def test_transparent_binary_masks_follow_the_alpha_rule(tmp_path):
    pixels = np.dstack([BLACK_WHITE] * 3 + [np.zeros((2, 3), np.uint8)])
    with pytest.raises(DataError, match=r"data\.alpha=drop"):
        read(saved(tmp_path / "m.png", pixels), encoding="binary")


def test_sizes_must_be_equal_and_both_files_are_named(tmp_path):
    path = saved(tmp_path / "m.png", INDICES)
    with pytest.raises(DataError, match=r"m\.png: the mask is 3 x 2 pixels, but its image image\.png is 4 x 2"):
        read(path, shape=(2, 4))


def test_objects_are_united(tmp_path):
    first = saved(tmp_path / "1.png", np.array([[255, 255, 0]], np.uint8))
    second = saved(tmp_path / "2.png", np.array([[0, 255, 0]], np.uint8))
    config = DataConfig(mask={"encoding": "objects"})
    assert read_mask([first, second], IMAGE, (1, 3), config).tolist() == [[1, 1, 0]]
    assert read_mask([], IMAGE, (1, 3), config).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("orientation", [3, 6])
def test_exif_orientation_is_applied_to_masks(tmp_path, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    path = saved(tmp_path / "m.png", INDICES, exif=exif)
    expected = np.rot90(INDICES, {3: 2, 6: -1}[orientation])
    assert np.array_equal(read(path, shape=expected.shape, classes=CLASSES), expected)
