from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg_scse.config.schema import DataConfig
from seg_scse.data.inspection import Findings, guess_mask, inspect_folders
from seg_scse.data.masks import read_mask
from seg_scse.errors import DataError

Draw = Callable[[int], Image.Image]


def grey(value: int = 7) -> Image.Image:
    return Image.fromarray(np.full((8, 12), value, np.uint8))


def blocks(*values: int) -> Image.Image:
    return Image.fromarray(np.repeat(np.array([values], np.uint8), 8, axis=0).repeat(4, axis=1))


def palette(*values: int) -> Image.Image:
    image = blocks(*values).copy()
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0] + [0] * 700)
    return image


def folders(root: Path, image: Draw, mask: Draw, suffix: str = ".png") -> Findings:
    for name, draw, end in (("images", image, ".png"), ("masks", mask, suffix)):
        (root / name).mkdir()
        for index in range(3):
            draw(index).save(root / name / f"s{index}{end}")
    return inspect_folders(root / "images", root / "masks")


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

    findings = folders(tmp_path, lambda _: grey(), mask)
    guessed, classes, _ = guess_mask(findings)
    assert classes == 2
    config = DataConfig(mask=guessed)
    for sample in findings.samples:
        labels = read_mask(sample.masks, sample.image, (8, 12), config)
        assert np.array_equal(np.unique(labels), [0, 1])


def test_palette_masks_are_declared_as_palette(tmp_path: Path) -> None:
    mask, count, _ = guess_mask(folders(tmp_path, lambda _: grey(), lambda _: palette(1, 2, 1)))
    assert (mask.encoding, mask.values, count) == ("palette", {1: 0, 2: 1}, 2)


def test_jpeg_masks_get_a_threshold(tmp_path: Path) -> None:
    mask, _, reason = guess_mask(folders(tmp_path, lambda _: grey(), lambda _: blocks(0, 255, 0), ".jpg"))
    assert (mask.encoding, mask.threshold) == ("binary", 127)
    assert "noise" in reason


def test_one_folder_of_masks_per_image_means_objects(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    grey().save(tmp_path / "images" / "a.png")
    (tmp_path / "masks" / "a").mkdir(parents=True)
    blocks(0, 1, 0).save(tmp_path / "masks" / "a" / "1.png")
    mask = guess_mask(inspect_folders(tmp_path / "images", tmp_path / "masks"))[0]
    assert (mask.encoding, mask.threshold) == ("objects", 0)


def test_colour_masks_are_refused_rather_than_guessed(tmp_path: Path) -> None:
    def colour(_: int) -> Image.Image:
        return Image.new("RGB", (12, 8), (255, 0, 0))

    with pytest.raises(DataError, match="is a colour mask"):
        folders(tmp_path, lambda _: grey(), colour)


def test_masks_of_one_value_and_grey_ramps_are_refused(tmp_path: Path) -> None:
    findings = folders(tmp_path, lambda _: grey(), lambda _: blocks(0, 0, 0))
    with pytest.raises(DataError, match="one value only"):
        guess_mask(findings)
    findings.values.update(range(256))
    findings.values.update({value: 50 for value in range(70, 180)})
    with pytest.raises(DataError, match="neither class indices nor black and white"):
        guess_mask(findings)


def test_images_are_described(tmp_path: Path) -> None:
    def image(index: int) -> Image.Image:
        return Image.new("RGBA", (12, 8), (1, 2, 3, 255 if index else 0))

    findings = folders(tmp_path, image, lambda _: blocks(0, 255, 0))
    assert (findings.grey, findings.alpha) == (False, True)
    assert (findings.heights, findings.widths) == ([8, 8, 8], [12, 12, 12])
    assert findings.inspected == len(findings.samples) == 3


def test_missing_folder_is_named_as_the_argument(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--images: folder .* does not exist"):
        inspect_folders(tmp_path / "images", tmp_path)
