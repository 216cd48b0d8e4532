from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg_scse.config.schema import DataConfig
from seg_scse.data.checking.inspection import Seen
from seg_scse.data.checking.proposals import group_comment, guess_mask, propose_images, propose_mask
from seg_scse.data.masks.reading import read_mask
from seg_scse.data.samples import Sample
from seg_scse.errors import DataError

from .test_inspection import blocks, folders, grey, inspect_folders, palette
from .unlabelled import draw_bands, draw_volumes


@pytest.mark.parametrize(
    ("values", "encoding", "mapping", "classes"),
    [
        ((0, 255, 0), "binary", None, 2),
        ((0, 1, 0), "index", None, 2),
        ((0, 1, 2), "index", None, 3),
        ((0, 128, 0), "index", {0: 0, 128: 1}, 2),
        ((0, 1, 255), "index", {0: 0, 1: 1, 255: 255}, 2),
        ((3, 7, 9), "index", {3: 0, 7: 1, 9: 2}, 3),
    ],
)
def test_values_of_one_channel_masks_give_the_encoding(
    tmp_path: Path, values: tuple[int, ...], encoding: str, mapping: dict[int, int] | None, classes: int
) -> None:
    mask, count, reason = guess_mask(folders(tmp_path, lambda _: grey(), lambda _: blocks(*values)))
    assert (mask.encoding, mask.values, count) == (encoding, mapping, classes)
    assert f"{values[0]} (" in reason


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB", "I;16"])
@pytest.mark.parametrize("high", [1, 100, 255])
def test_the_reader_accepts_what_was_guessed(tmp_path: Path, mode: str, high: int) -> None:
    def mask(_: int) -> Image.Image:
        if mode == "P":
            return palette(0, high, 0)
        if mode == "I;16":
            return Image.fromarray(np.asarray(blocks(0, high, 0)).astype(np.uint16))
        return blocks(0, 255, 0).convert("1") if mode == "1" else blocks(0, high, 0).convert(mode)

    seen = folders(tmp_path, lambda _: grey(), mask)
    guessed, classes, _ = guess_mask(seen)
    assert classes == 2
    for sample in seen.samples:
        labels = read_mask(sample, (8, 12), None, DataConfig(mask=guessed))
        assert np.array_equal(np.unique(labels), [0, 1])


def test_masks_of_16_bits_are_index_masks(tmp_path: Path) -> None:
    def mask(_: int) -> Image.Image:
        return Image.fromarray(np.asarray(blocks(0, 1, 2)).astype(np.uint16) * 300)

    guessed, classes, _ = guess_mask(folders(tmp_path, lambda _: grey(), mask))
    assert (guessed.encoding, guessed.values, classes) == ("index", {0: 0, 300: 1, 600: 2}, 3)


def test_palette_masks_are_declared_as_palette(tmp_path: Path) -> None:
    mask, count, _ = guess_mask(folders(tmp_path, lambda _: grey(), lambda _: palette(1, 2, 1)))
    assert (mask.encoding, mask.values, count) == ("palette", {1: 0, 2: 1}, 2)


def test_masks_of_two_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"several kinds \(2 palette, 1 single\)"):
        guess_mask(folders(tmp_path, lambda _: grey(), lambda i: palette(0, 1, 2) if i else blocks(0, 1, 2)))


def test_jpeg_masks_get_a_threshold(tmp_path: Path) -> None:
    mask, _, reason = guess_mask(folders(tmp_path, lambda _: grey(), lambda _: blocks(0, 255, 0), ".jpg"))
    assert (mask.encoding, mask.threshold) == ("binary", 127)
    assert "noise" in reason


def test_object_folders_get_a_threshold_between_their_values(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    grey().save(tmp_path / "images" / "a.png")
    (tmp_path / "masks" / "a").mkdir(parents=True)
    blocks(0, 1, 0).save(tmp_path / "masks" / "a" / "1.png")
    mask = guess_mask(inspect_folders(tmp_path / "images", tmp_path / "masks"))[0]
    assert (mask.encoding, mask.threshold) == ("objects", 0)


def stripes(*colours: tuple[int, int, int]) -> Image.Image:
    return Image.fromarray(np.array([colours] * 8, np.uint8).repeat(4, axis=1))


def test_colours_are_classes_named_by_their_colour_with_black_first(tmp_path: Path) -> None:
    seen = folders(tmp_path, lambda _: grey(), lambda i: stripes((255, 0, 0), (255, 0, 0), (0, 0, 255 * (i > 0))))
    chosen, reasons = propose_mask(seen)
    assert chosen["mask"] == {"encoding": "colours", "colours": {"#000000": 0, "#0000ff": 1, "#ff0000": 2}}
    assert chosen["classes"] == ["background", "colour_0000ff", "colour_ff0000"]
    assert "3 colours: #000000 (11.1%)" in reasons["data.mask"]
    labels = read_mask(seen.samples[1], (8, 12), None, DataConfig.model_validate(chosen))
    assert labels[0].tolist() == [2] * 8 + [1] * 4


def test_the_most_frequent_colour_is_first_where_nothing_is_black(tmp_path: Path) -> None:
    seen = folders(tmp_path, lambda _: grey(), lambda _: stripes((255, 0, 0), (0, 255, 0), (0, 255, 0)))
    assert propose_mask(seen)[0]["classes"] == ["colour_00ff00", "colour_ff0000"]


def test_too_many_colours_and_lossy_colours_are_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (8, 12, 3), np.uint8)
    seen = folders(tmp_path, lambda _: grey(), lambda _: Image.fromarray(noise))
    with pytest.raises(DataError, match="96 different colours"):
        guess_mask(seen)
    seen.lossy = True
    with pytest.raises(DataError, match="JPEG files, whose colours are not exact"):
        guess_mask(seen)


def test_masks_of_one_value_and_grey_ramps_are_refused(tmp_path: Path) -> None:
    seen = folders(tmp_path, lambda _: grey(), lambda _: blocks(0, 0, 0))
    with pytest.raises(DataError, match="one value only"):
        guess_mask(seen)
    seen.values.update(range(256))
    seen.values.update({value: 50 for value in range(70, 180)})
    with pytest.raises(DataError, match="neither class indices nor black and white"):
        guess_mask(seen)


def test_masks_of_several_bands_and_of_fractions_are_refused_with_what_to_declare() -> None:
    seen = Seen([], 1)
    seen.mask_kinds.update({"several": 1, "bands": 1})
    with pytest.raises(DataError, match=r"data\.mask\.encoding=bands"):
        guess_mask(seen)
    with pytest.raises(DataError, match="not whole"):
        guess_mask(Seen([], 1, fractions=True))


def test_pictures_of_8_bits_need_nothing_but_their_channels(tmp_path: Path) -> None:
    assert propose_images(folders(tmp_path / "g", lambda _: grey(), lambda _: blocks(0, 255, 0)))[0] == {
        "channels": "gray"
    }
    colour = folders(tmp_path / "c", lambda _: Image.new("RGB", (12, 8), (1, 2, 3)), lambda _: blocks(0, 255, 0))
    assert propose_images(colour) == ({}, {})


def test_transparency_is_dropped_and_said(tmp_path: Path) -> None:
    seen = folders(tmp_path, lambda _: Image.new("RGBA", (12, 8), (1, 2, 3, 9)), lambda _: blocks(0, 255, 0))
    chosen, reasons = propose_images(seen)
    assert chosen == {"alpha": "drop"}
    assert "not opaque" in reasons["data.alpha"]


def test_a_fourth_tiff_channel_that_varies_is_a_band(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 200, (64, 64, 4), np.uint8)
    seen = folders(
        tmp_path,
        lambda _: Image.fromarray(pixels, "RGBA"),
        lambda _: Image.fromarray(np.eye(64, dtype=np.uint8) * 255),
        end=".tif",
    )
    chosen, reasons = propose_images(seen)
    assert chosen == {"bands": ["red", "green", "blue", "nir"]}
    assert "transparency" in reasons["data.bands"]


@pytest.mark.parametrize(
    ("dtype", "high", "scale"),
    [
        ("uint8", 200, None),
        ("float32", 0.9, None),
        ("uint16", 4000, {"method": "percentile"}),
        ("float32", 3.0, {"method": "percentile"}),
    ],
)
def test_bands_are_numbered_and_scaled_where_the_type_does_not_say_it(
    tmp_path: Path, dtype: str, high: float, scale: dict[str, str] | None
) -> None:
    root = draw_bands(tmp_path, dtype, 5, high)
    chosen, reasons = propose_images(inspect_folders(root / "images", root / "masks"))
    assert chosen.get("bands") == ["band1", "band2", "band3", "band4", "band5"]
    assert chosen.get("scale") == scale
    if scale:
        assert f"{dtype} with values from" in reasons["data.scale"]


def test_bands_take_the_names_that_the_file_gives(tmp_path: Path) -> None:
    root = draw_bands(tmp_path, "uint8", 4, 255, ("b2", "b3", "b4", "b8"))
    chosen, reasons = propose_images(inspect_folders(root / "images", root / "masks"))
    assert chosen["bands"] == ["b2", "b3", "b4", "b8"]
    assert "as the first file names them" in reasons["data.bands"]


def test_different_numbers_of_bands_are_refused(tmp_path: Path) -> None:
    seen = Seen([], 2)
    seen.kinds.update({"bands": 2})
    seen.bands.update({4: 1, 5: 1})
    with pytest.raises(DataError, match="different numbers of bands: 1 of 4, 1 of 5"):
        propose_images(seen)


def test_hounsfield_units_get_their_range_and_other_scans_their_own_percentiles(tmp_path: Path) -> None:
    tomograms = draw_volumes(tmp_path / "ct", -1024, 1500)
    chosen, reasons = propose_images(inspect_folders(tomograms / "images", tomograms / "masks"))
    assert chosen["scale"] == {"method": "range", "low": -1000.0, "high": 1000.0}
    assert "Hounsfield" in reasons["data.scale"]
    scans = draw_volumes(tmp_path / "mr", 0, 900)
    chosen, _ = propose_images(inspect_folders(scans / "images", scans / "masks"))
    assert chosen["scale"] == {"method": "percentile", "per": "file"}


def test_series_are_only_hinted_at() -> None:
    def samples(names: list[str]) -> list[Sample]:
        return [Sample(name, Path(name), (), None, name) for name in names]

    hint = group_comment(samples([f"lung{c}x_{i}" for c in "abc" for i in range(3)]))
    assert hint.endswith(r"These names look like 3 series: group: '^(.+)[_-]\d+$'")
    assert "such as '^(.+?)_'" in group_comment(samples(["a", "b", "c"]))
