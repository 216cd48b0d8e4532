import numpy as np
import pytest
from PIL import Image

from seg_scse.errors import DataError

from .masked import mask_of, palette, saved

INDICES = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
BLACK_WHITE = np.array([[0, 255, 255], [255, 0, 0]], np.uint8)
CLASSES = ("a", "b", "c")
RED_GREEN = {"#000000": 0, "#ff0000": 1, "#00ff00": 2}


def rgb(indices: np.ndarray) -> np.ndarray:
    return np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0]], np.uint8)[indices]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
def test_index_masks_are_class_indices(tmp_path, dtype):
    path = saved(tmp_path / "m.tif", INDICES.astype(dtype))
    result = mask_of(path, classes=CLASSES)
    assert result.dtype == np.uint8
    assert np.array_equal(result, INDICES)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float64])
def test_index_masks_of_numpy_files_are_class_indices(tmp_path, dtype):
    np.save(tmp_path / "m.npy", INDICES.astype(dtype))
    assert np.array_equal(mask_of(tmp_path / "m.npy", classes=CLASSES), INDICES)


def test_one_bit_masks_are_index_binary_and_colours(tmp_path):
    path = saved(tmp_path / "m.png", BLACK_WHITE > 0)
    assert np.array_equal(mask_of(path), BLACK_WHITE // 255)
    assert np.array_equal(mask_of(path, encoding="binary"), BLACK_WHITE // 255)
    colours = {"#000000": 0, "#ffffff": 1}
    assert np.array_equal(mask_of(path, encoding="colours", colours=colours), BLACK_WHITE // 255)


def test_palette_masks_are_palette_indices_not_colours(tmp_path):
    path = palette(tmp_path / "m.png", INDICES)
    assert np.array_equal(mask_of(path, classes=CLASSES, encoding="palette"), INDICES)
    values = {0: 1, 1: 0, 2: 255}
    assert mask_of(path, encoding="palette", values=values).tolist() == [[1, 0, 255], [255, 0, 1]]


def test_transparency_of_a_palette_says_nothing_about_its_indices(tmp_path):
    path = palette(tmp_path / "m.png", INDICES)
    Image.open(path).save(tmp_path / "t.png", transparency=0)
    assert np.array_equal(mask_of(tmp_path / "t.png", classes=CLASSES, encoding="palette"), INDICES)


def test_palette_and_index_are_not_taken_for_each_other(tmp_path):
    coloured, plain = palette(tmp_path / "p.png", INDICES), saved(tmp_path / "m.png", INDICES)
    with pytest.raises(DataError, match=r"is a palette image; set data\.mask\.encoding=palette \(class = palette"):
        mask_of(coloured, classes=CLASSES)
    with pytest.raises(DataError, match=r"is a grey image without a palette; set data\.mask\.encoding=index or binary"):
        mask_of(plain, classes=CLASSES, encoding="palette")
    with pytest.raises(DataError, match=r"is a palette image; set data\.mask\.encoding=palette and data\.mask\.values"):
        mask_of(coloured, encoding="binary")


def test_black_and_white_without_values_is_refused_with_the_line_to_add(tmp_path):
    with pytest.raises(DataError) as caught:
        mask_of(saved(tmp_path / "m.png", BLACK_WHITE))
    text = str(caught.value)
    assert "m.png: undeclared mask value 255; found 0 (3 pixels), 255 (3 pixels)" in text
    assert "put `data.mask.values: {0: 0, 255: 1}` into the configuration" in text


def test_declared_values_are_mapped(tmp_path):
    path = saved(tmp_path / "m.png", BLACK_WHITE)
    assert np.array_equal(mask_of(path, values={0: 0, 255: 1}), BLACK_WHITE // 255)


def test_values_far_apart_are_mapped(tmp_path):
    path = saved(tmp_path / "m.tif", np.array([[-5, 7, 2_000_000_000]], np.int32))
    assert mask_of(path, (1, 3), values={-5: 1, 7: 0, 2_000_000_000: 255}).tolist() == [[1, 0, 255]]


def test_offset_and_ignored_values_are_in_the_values_of_the_file(tmp_path):
    path = saved(tmp_path / "m.png", np.array([[0, 1, 2, 3]], np.uint8))
    found = mask_of(path, (1, 4), classes=CLASSES, offset=-1, ignore=[0])
    assert found.tolist() == [[255, 0, 1, 2]]


def test_a_value_that_the_offset_takes_out_of_the_classes_is_refused(tmp_path):
    path = saved(tmp_path / "m.png", np.array([[0, 1, 2, 3]], np.uint8))
    with pytest.raises(DataError, match=r"undeclared mask value 0; found 0 \(1 pixel\), 1 \(1 pixel\)"):
        mask_of(path, (1, 4), classes=CLASSES, offset=-1)


def test_ignore_must_be_declared_and_is_suggested(tmp_path):
    path = saved(tmp_path / "m.png", np.array([[0, 1, 255]], np.uint8))
    with pytest.raises(DataError, match=r"data\.mask\.values: \{0: 0, 1: 1, 255: 255\}"):
        mask_of(path, shape=(1, 3))
    assert mask_of(path, shape=(1, 3), values={0: 0, 1: 1, 255: 255}).tolist() == [[0, 1, 255]]


def test_a_label_outside_the_classes_is_refused(tmp_path):
    pixels = np.array([[0, 1, 7]], np.uint8)
    with pytest.raises(DataError, match=r"undeclared mask value 7; .* 7 \(1 pixel\)\. .*name more data\.classes"):
        mask_of(saved(tmp_path / "m.png", pixels), shape=(1, 3))


def test_masks_that_count_objects_are_binary_with_threshold_zero(tmp_path):
    path = saved(tmp_path / "m.png", np.array([[0, 1, 2, 3]], np.uint16))
    with pytest.raises(DataError, match=r"count objects, set data\.mask\.encoding=binary and data\.mask\.threshold=0"):
        mask_of(path, (1, 4))
    assert mask_of(path, (1, 4), encoding="binary", threshold=0).tolist() == [[0, 1, 1, 1]]


def test_a_mask_of_one_undeclared_value_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"declare it, such as `data\.mask\.values: \{0: 0, 255: 1\}`"):
        mask_of(saved(tmp_path / "m.png", np.full((2, 3), 255, np.uint8)))


@pytest.mark.parametrize("values", [[0, 254, 255], [0, 3, 250, 255]])
def test_values_near_255_are_a_lossy_mask(tmp_path, values):
    pixels = np.array([values], np.uint8)
    with pytest.raises(DataError, match=r"lossy mask .*encoding=binary and data\.mask\.threshold=127"):
        mask_of(saved(tmp_path / "m.png", pixels), shape=pixels.shape, values={0: 0, 255: 1})


def test_jpeg_masks_are_lossy_as_index_and_right_as_binary(tmp_path):
    truth = np.zeros((64, 64), np.uint8)
    truth[10:40, 20:50] = 255
    path = saved(tmp_path / "m.jpg", truth, quality=75)
    with pytest.raises(DataError, match=r"m\.jpg: .* and \d+ more\. This is a lossy mask"):
        mask_of(path, shape=(64, 64), values={0: 0, 255: 1})
    assert np.array_equal(mask_of(path, shape=(64, 64), encoding="binary"), truth // 255)


@pytest.mark.parametrize("layout", ["L", "LA", "RGB", "RGBA"])
def test_index_and_binary_take_every_layout_with_equal_channels(tmp_path, layout):
    Image.fromarray(BLACK_WHITE).convert(layout).save(tmp_path / "m.png")
    assert np.array_equal(mask_of(tmp_path / "m.png", encoding="binary"), BLACK_WHITE // 255)
    assert np.array_equal(mask_of(tmp_path / "m.png", values={0: 0, 255: 1}), BLACK_WHITE // 255)


def test_binary_threshold_is_exclusive(tmp_path):
    path = saved(tmp_path / "m.png", np.array([[0, 100, 101]], np.uint8))
    assert mask_of(path, shape=(1, 3), encoding="binary", threshold=100).tolist() == [[0, 0, 1]]


def test_deep_masks_are_binary_too(tmp_path):
    path = saved(tmp_path / "d.png", np.array([[0, 1000, 1001, 65535]], np.uint16))
    assert mask_of(path, (1, 4), encoding="binary", threshold=1000).tolist() == [[0, 0, 1, 1]]


def test_binary_never_goes_empty_silently(tmp_path):
    path = saved(tmp_path / "m.png", BLACK_WHITE // 255)
    with pytest.raises(DataError, match=r"no pixel is above data\.mask\.threshold=127; values go up to 1"):
        mask_of(path, encoding="binary")
    assert mask_of(saved(tmp_path / "e.png", BLACK_WHITE * 0), encoding="binary").sum() == 0


def test_binary_masks_can_have_exact_values_to_ignore(tmp_path):
    path = saved(tmp_path / "m.png", np.array([[0, 127, 128, 129, 255]], np.uint8))
    assert mask_of(path, (1, 5), encoding="binary", ignore=[128]).tolist() == [[0, 0, 255, 1, 1]]
    only = saved(tmp_path / "o.png", np.array([[0, 128, 128]], np.uint8))
    assert mask_of(only, (1, 3), encoding="binary", ignore=[128]).tolist() == [[0, 255, 255]]


def test_no_value_of_a_jpeg_is_exact_enough_to_ignore(tmp_path):
    path = saved(tmp_path / "m.jpg", BLACK_WHITE)
    with pytest.raises(DataError, match=r"is a JPEG, in which no value is exact: data\.mask\.ignore=\[128\]"):
        mask_of(path, encoding="binary", ignore=[128])


def test_negative_values_are_no_background(tmp_path):
    path = saved(tmp_path / "m.tif", np.array([[-1, 0, 200]], np.int32))
    with pytest.raises(DataError, match=r"holds negative values, down to -1"):
        mask_of(path, (1, 3), encoding="binary")


def test_fractions_are_no_labels(tmp_path):
    path = saved(tmp_path / "f.tif", np.array([[0, 0.5, 1]], np.float32))
    for encoding in ("index", "binary"):
        with pytest.raises(DataError, match=r"f\.tif: 1 of 3 pixels hold no integer, such as 0\.5: labels are integ"):
            mask_of(path, (1, 3), encoding=encoding)


def test_nan_is_no_label(tmp_path):
    np.save(tmp_path / "m.npy", np.array([[0, np.nan, np.inf]], np.float32))
    with pytest.raises(DataError, match=r"2 of 3 pixels hold no integer, such as nan"):
        mask_of(tmp_path / "m.npy", (1, 3))


def test_colours_are_never_turned_into_brightness(tmp_path):
    path = saved(tmp_path / "m.png", rgb(np.array([[1, 0, 0], [0, 0, 0]])))
    for encoding in ("index", "binary"):
        with pytest.raises(DataError) as caught:
            mask_of(path, encoding=encoding)
        text = str(caught.value)
        assert f"is a colour mask, not one channel of integers as data.mask.encoding={encoding} takes" in text
        assert "Put `data.mask: {encoding: colours, colours: {'#000000': 0, '#ff0000': 1}}` into the config" in text


def test_many_bands_are_no_single_mask(tmp_path):
    np.save(tmp_path / "m.npy", np.zeros((2, 3, 5), np.uint8))
    with pytest.raises(DataError, match=r"has 5 bands, not the one that .*encoding=index takes\. Set .*encoding=bands"):
        mask_of(tmp_path / "m.npy")


def test_transparent_masks_follow_the_alpha_rule(tmp_path):
    pixels = np.dstack([BLACK_WHITE] * 3 + [np.zeros((2, 3), np.uint8)])
    path = saved(tmp_path / "m.png", pixels)
    with pytest.raises(DataError, match=r"6 pixels of the alpha channel are not 255\. Set data\.alpha=drop"):
        mask_of(path, encoding="binary")
    found = mask_of(path, encoding="binary", data={"alpha": "drop"})
    assert np.array_equal(found, BLACK_WHITE // 255)


@pytest.mark.parametrize("layout", ["RGB", "RGBA", "P", "TIFF"])
def test_colours_are_classes_by_the_declared_map(tmp_path, layout):
    pixels = Image.fromarray(rgb(INDICES))
    path = tmp_path / ("m.tif" if layout == "TIFF" else "m.png")
    palette(path, INDICES) if layout == "P" else pixels.convert(layout.replace("TIFF", "RGB")).save(path)
    found = mask_of(path, classes=CLASSES, encoding="colours", colours=RED_GREEN)
    assert np.array_equal(found, INDICES)


def test_two_colours_can_be_one_class_and_one_be_ignored(tmp_path):
    path = saved(tmp_path / "m.png", rgb(INDICES))
    found = mask_of(path, encoding="colours", colours={"#000000": 255, "#ff0000": 1, "#00ff00": 1})
    assert found.tolist() == [[255, 1, 1], [1, 1, 255]]


def test_two_palette_entries_of_one_colour_are_one_class(tmp_path):
    path = palette(tmp_path / "m.png", INDICES, (255, 0, 0, 0, 0, 0, 255, 0, 0))
    colours = {"#000000": 0, "#ff0000": 1}
    assert mask_of(path, encoding="colours", colours=colours).tolist() == [[1, 0, 1], [1, 0, 1]]


def test_a_grey_file_holds_the_colours_with_equal_channels(tmp_path):
    path = saved(tmp_path / "m.png", np.array([[0, 128, 255]], np.uint8))
    colours = {"#000000": 0, "#808080": 255, "#ffffff": 1}
    assert mask_of(path, (1, 3), encoding="colours", colours=colours).tolist() == [[0, 255, 1]]


def test_an_undeclared_colour_is_refused_with_the_line_to_write(tmp_path):
    path = saved(tmp_path / "m.png", rgb(np.array([[0, 1, 2], [0, 0, 0]])))
    with pytest.raises(DataError) as caught:
        mask_of(path, classes=CLASSES, encoding="colours", colours={"#000000": 0, "#ff0000": 1})
    text = str(caught.value)
    assert "m.png: undeclared colour #00ff00; found #000000 (4 pixels), #00ff00 (1 pixel), #ff0000 (1 pixel)" in text
    line = "{encoding: colours, colours: {'#000000': 0, '#ff0000': 1, '#00ff00': 2}}"
    assert f"put `data.mask: {line}` into the configuration" in text


def test_more_colours_than_classes_are_left_to_the_user(tmp_path):
    path = saved(tmp_path / "m.png", rgb(INDICES))
    with pytest.raises(DataError, match=r"declare each colour in `data\.mask\.colours` .*name more data\.classes"):
        mask_of(path, encoding="colours", colours={"#000000": 0, "#0000ff": 1})


def test_many_colours_on_few_pixels_are_a_lossy_mask(tmp_path):
    truth = Image.fromarray(rgb(np.repeat(np.repeat(INDICES, 64, 0), 64, 1)))
    truth.resize((90, 60), Image.Resampling.BICUBIC).save(tmp_path / "m.png")
    with pytest.raises(DataError, match=r"lossy mask: .* such as #\w{6} near #\w{6}\. Get .* lossless format"):
        mask_of(tmp_path / "m.png", (60, 90), classes=CLASSES, encoding="colours", colours=RED_GREEN)


def test_a_mistyped_colour_of_a_clean_file_is_no_lossy_mask(tmp_path):
    path = saved(tmp_path / "m.png", rgb(INDICES))
    with pytest.raises(DataError) as caught:
        mask_of(path, classes=CLASSES, encoding="colours", colours={"#000000": 0, "#fe0000": 1, "#00ff00": 2})
    assert "lossy" not in str(caught.value)
    line = "{encoding: colours, colours: {'#000000': 0, '#ff0000': 1, '#00ff00': 2}}"
    assert f"#ff0000 is close to the declared #fe0000. If that is right, put `data.mask: {line}`" in str(caught.value)


def test_many_forgotten_colours_are_no_lossy_mask(tmp_path):
    colours = np.array([[0, 0, 0], [9, 9, 9], *([25 * k, 255 - 25 * k, 128] for k in range(10))], np.uint8)
    path = saved(tmp_path / "m.png", colours[np.array([*range(12), *[0] * 60])][None])
    with pytest.raises(DataError, match=r"undeclared colour .* If that is right, declare each colour"):
        mask_of(path, (1, 72), encoding="colours", colours={"#000000": 0})


def test_colours_of_a_jpeg_are_a_lossy_mask(tmp_path):
    pixels = rgb(np.repeat(np.repeat(INDICES, 16, 0), 16, 1))
    path = saved(tmp_path / "m.jpg", pixels, quality=80)
    with pytest.raises(DataError, match="lossy mask"):
        mask_of(path, pixels.shape[:2], classes=CLASSES, encoding="colours", colours=RED_GREEN)
    with pytest.raises(DataError, match="Get the masks as PNG"):
        mask_of(path, pixels.shape[:2], classes=CLASSES)


def test_deep_images_have_no_colours(tmp_path):
    path = saved(tmp_path / "m.png", INDICES.astype(np.uint16))
    with pytest.raises(DataError, match=r"is a grey image of uint16, which data\.mask\.encoding=colours does not take"):
        mask_of(path, classes=CLASSES, encoding="colours", colours=RED_GREEN)


def test_transparent_colours_follow_the_alpha_rule(tmp_path):
    pixels = np.dstack([rgb(INDICES), np.zeros((2, 3), np.uint8)])
    path = saved(tmp_path / "m.png", pixels)
    with pytest.raises(DataError, match=r"6 pixels of the alpha channel are not 255"):
        mask_of(path, classes=CLASSES, encoding="colours", colours=RED_GREEN)
