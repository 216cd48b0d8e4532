from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg_scse.config.data import DataConfig
from seg_scse.errors import ConfigError, DataError
from seg_scse.evaluation.prediction_files import (
    Expected,
    highest_value,
    prediction_files,
    read_prediction,
    require_encoding,
    require_readable,
    write_prediction,
)
from seg_scse.prediction.writing.rasters import write_label_map

THREE = DataConfig(classes=("background", "round", "long"))
TWO = DataConfig(classes=("background", "cell"))
LABELS = DataConfig(classes=("none", "a", "b", "c"), task="multilabel", mask={"encoding": "bands"}, masks="masks")
DRAWN = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
SIZE = Expected((2, 3))


def png(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def test_a_written_label_map_is_read_back_exactly(tmp_path):
    write_prediction(tmp_path, "patient/slice.07", DRAWN)
    found = prediction_files(tmp_path, ["patient/slice.07"])
    assert found == {"patient/slice.07": tmp_path / "patient" / "slice.07.png"}
    np.testing.assert_array_equal(read_prediction(found["patient/slice.07"], SIZE, "index", THREE), DRAWN)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("config", "encoding"), [(THREE, "palette"), (LABELS, "index")], ids=["classes", "bits"])
def test_pixels_declared_to_hold_no_data_count_as_the_first_class(tmp_path, suffix, config, encoding):
    labels = np.where(DRAWN == 1, 255, DRAWN).astype(np.uint8)
    path, facts = tmp_path / f"a{suffix}", {"classes": config.classes, "task": config.task}
    write_label_map(path, [labels], labels.shape, None, nodata=255, **facts)
    np.testing.assert_array_equal(read_prediction(path, SIZE, encoding, config), np.where(DRAWN == 1, 0, DRAWN))
    write_label_map(path, [labels], labels.shape, None, nodata=None, **facts)
    with pytest.raises(DataError, match="holds the value 255"):
        read_prediction(path, SIZE, encoding, config)


@pytest.mark.parametrize("sample_id", ["../a", "a/../../b", "/a"])
def test_an_id_that_leads_out_of_the_folder_writes_nothing(tmp_path, sample_id):
    with pytest.raises(DataError, match="leads out of the folder"):
        write_prediction(tmp_path / "in", sample_id, DRAWN)
    assert not list(tmp_path.rglob("*.png"))


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint16, np.float32])
def test_arrays_of_any_integer_type_are_read(tmp_path, dtype):
    np.save(tmp_path / "a.npy", DRAWN.astype(dtype))
    np.testing.assert_array_equal(read_prediction(tmp_path / "a.npy", SIZE, "index", THREE), DRAWN)


@pytest.mark.parametrize(
    ("value", "part"),
    [(300, r"holds the value 300 \(1 pixels\), but predictions hold 0 to 2"), (-1, "holds the value -1")],
)
def test_a_value_that_is_no_class_is_never_cut_to_one(tmp_path, value, part):
    labels = DRAWN.astype(np.int64)
    labels[0, 0] = value
    np.save(tmp_path / "a.npy", labels)
    with pytest.raises(DataError, match=part):
        read_prediction(tmp_path / "a.npy", SIZE, "index", THREE)


def test_probabilities_are_no_label_map(tmp_path):
    np.save(tmp_path / "a.npy", np.full((2, 3), 0.4, np.float32))
    with pytest.raises(DataError, match="6 of 6 pixels hold no integer"):
        read_prediction(tmp_path / "a.npy", SIZE, "index", TWO)


def test_black_and_white_is_read_as_binary_and_else_refused_with_the_cure(tmp_path):
    path = png(tmp_path / "a.png", 255 * (DRAWN > 0).astype(np.uint8))
    np.testing.assert_array_equal(read_prediction(path, SIZE, "binary", TWO), DRAWN > 0)
    with pytest.raises(DataError, match="if 255 is foreground, use --encoding binary"):
        read_prediction(path, SIZE, "index", TWO)


def test_a_binary_prediction_that_is_dark_everywhere_is_refused(tmp_path):
    path = png(tmp_path / "a.png", (DRAWN > 0).astype(np.uint8))
    with pytest.raises(DataError, match=r"no pixel is above 127, though values go up to 1.*--encoding index"):
        read_prediction(path, SIZE, "binary", TWO)


def test_one_bit_per_pixel_is_read_both_ways(tmp_path):
    Image.fromarray(DRAWN > 0).save(tmp_path / "a.png")
    for encoding in ("binary", "index"):
        np.testing.assert_array_equal(read_prediction(tmp_path / "a.png", SIZE, encoding, TWO), DRAWN > 0)


def test_a_palette_is_read_by_index_where_it_is_declared(tmp_path):
    picture = Image.fromarray(DRAWN, "L").convert("P")
    picture = Image.frombytes("P", (3, 2), DRAWN.tobytes())
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    picture.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_prediction(tmp_path / "a.png", SIZE, "palette", THREE), DRAWN)
    with pytest.raises(DataError, match=r"has a palette, but --encoding is index: use --encoding palette"):
        read_prediction(tmp_path / "a.png", SIZE, "index", THREE)
    path = png(tmp_path / "b.png", DRAWN)
    with pytest.raises(DataError, match=r"has no palette, but --encoding is palette: use --encoding index"):
        read_prediction(path, SIZE, "palette", THREE)


def test_equal_channels_are_one_and_colours_are_refused(tmp_path):
    grey = png(tmp_path / "grey.png", np.repeat(DRAWN[..., None], 3, axis=2))
    np.testing.assert_array_equal(read_prediction(grey, SIZE, "index", THREE), DRAWN)
    coloured = np.zeros((2, 3, 3), np.uint8)
    coloured[..., 1] = DRAWN
    with pytest.raises(DataError, match="3 channels that differ"):
        read_prediction(png(tmp_path / "b.png", coloured), SIZE, "index", THREE)


def test_another_size_is_refused(tmp_path):
    path = png(tmp_path / "a.png", DRAWN)
    with pytest.raises(DataError, match=r"is 3 x 2 pixels, its truth 2 x 3"):
        read_prediction(path, Expected((3, 2)), "index", THREE)


def test_bits_of_a_multilabel_map_are_kept(tmp_path):
    assert (highest_value(LABELS), highest_value(THREE)) == (7, 2)
    bits = np.array([[0, 7, 5]], np.uint8)
    write_prediction(tmp_path, "a", bits)
    np.testing.assert_array_equal(read_prediction(tmp_path / "a.png", Expected((1, 3)), "index", LABELS), bits)
    write_prediction(tmp_path, "a", np.array([[0, 8, 5]], np.uint8))
    with pytest.raises(DataError, match=r"holds the value 8 .* 0 to 7, one bit for each class"):
        read_prediction(tmp_path / "a.png", Expected((1, 3)), "index", LABELS)


@pytest.mark.parametrize(("encoding", "config"), [("binary", THREE), ("binary", LABELS), ("palette", LABELS)])
def test_an_encoding_that_cannot_hold_the_classes_is_refused(encoding, config):
    with pytest.raises(ConfigError, match=f"--encoding {encoding}"):
        require_encoding(encoding, config)
    require_encoding("index", config)


def test_all_files_that_do_not_fit_by_name_are_listed_at_once(tmp_path):
    for name in ("a.png", "b.png", "x/y.png"):
        png(tmp_path / name, DRAWN)
    np.save(tmp_path / "b.npy", DRAWN)
    (tmp_path / "notes.txt").write_text("not read")
    with pytest.raises(DataError) as caught:
        prediction_files(tmp_path, ["a", "b", "c"])
    message = str(caught.value)
    assert "c: no prediction (c.png or .tif or .tiff or .npy)" in message
    assert "x/y.png: belongs to no sample" in message
    assert "b: 2 predictions, b.npy and b.png" in message
    assert "notes.txt" not in message


def test_all_files_that_cannot_be_scored_are_listed_at_once(tmp_path):
    files = {name: png(tmp_path / f"{name}.png", DRAWN) for name in "abcd"}
    png(tmp_path / "b.png", DRAWN[:1])
    png(tmp_path / "c.png", DRAWN + 5)
    (tmp_path / "d.png").write_bytes(b"\x89PNG cut")
    with pytest.raises(DataError) as caught:
        require_readable(files, lambda _: SIZE, "index", THREE)
    message = str(caught.value)
    assert message.startswith("3 of 4 predictions cannot be scored")
    assert all(part in message for part in ("b.png: is 3 x 1", "c.png: holds the value 5 (2 pixels)", "d.png: "))


def test_more_problems_than_twenty_are_counted(tmp_path):
    tmp_path.joinpath("p").mkdir()
    with pytest.raises(DataError, match=r"\.\.\. and 80 more"):
        prediction_files(tmp_path / "p", [f"s{index:03}" for index in range(100)])
