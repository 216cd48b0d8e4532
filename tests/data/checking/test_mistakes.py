"""Every kind of mistake: with the lines that the check suggests, written into a file, it is no error any more."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from seg_scse.config.loading import load_config
from seg_scse.data.checking.check import CheckResult, check_data

from .unlabelled import draw_bands, draw_pictures, draw_volumes, write_tiff

Draw = Callable[[Path], dict[str, Any]]
SHAPE = (32, 40)


def labels(*values: int) -> NDArray[np.uint8]:
    """Stripes of values."""
    mask = np.zeros(SHAPE, np.uint8)
    for at, value in enumerate(values):
        mask[:, at * 40 // len(values) : (at + 1) * 40 // len(values)] = value
    return mask


def masked(root: Path, *masks: NDArray[Any], nodata: int | None = None) -> None:
    """Georeferenced images and masks, these in turn."""
    draw_bands(root, "uint8", 3, 255)
    for index in range(4):
        (root / "masks" / f"t{index}.png").unlink()
        write_tiff(root / "masks" / f"t{index}.tif", masks[index % len(masks)][None], nodata=nodata)


def pictures(root: Path, *images: Image.Image, folder: str = "masks", suffix: str = ".png") -> None:
    draw_pictures(root, 6, (0, 1))
    for index, path in enumerate(sorted((root / folder).iterdir())):
        path.unlink()
        images[index % len(images)].save(path.with_suffix(suffix))


def values(root: Path) -> dict[str, Any]:
    draw_pictures(root, 6, (3, 9))
    return {}


def values_of_most(root: Path) -> dict[str, Any]:
    pictures(root, *(Image.fromarray(labels(0, high)) for high in (2, 2, 1)))
    return {}


def black_and_white(root: Path) -> dict[str, Any]:
    draw_pictures(root, 6)
    return {}


def colours(root: Path) -> dict[str, Any]:
    stripes = np.stack([labels(0, 255, 0), labels(0, 0, 255), labels(0, 0, 0)], axis=-1)
    pictures(root, Image.fromarray(stripes))
    return {}


def palette(root: Path) -> dict[str, Any]:
    image = Image.fromarray(labels(0, 1, 2)).convert("P")
    pictures(root, image)
    return {}


def no_palette(root: Path) -> dict[str, Any]:
    draw_pictures(root, 6, (0, 1))
    return {"mask": {"encoding": "palette"}}


def noise(root: Path) -> dict[str, Any]:
    pictures(root, Image.fromarray(labels(0, 255)), suffix=".jpg")
    return {}


def traces_of_noise(root: Path) -> dict[str, Any]:
    pictures(root, Image.fromarray(labels(0, 0, 254, 255)))
    return {}


def grey_for_colours(root: Path) -> dict[str, Any]:
    draw_pictures(root, 6)
    return {"mask": {"encoding": "colours", "colours": {"#ff0000": 1}}}


def no_data(root: Path) -> dict[str, Any]:
    masked(root, labels(0, 1, 255), nodata=255)
    return {}


def no_data_in_one(root: Path) -> dict[str, Any]:
    masked(root, labels(2, 1, 9), labels(2, 1), labels(2, 1), labels(2, 1), nodata=9)
    return {"mask": {"values": {1: 1, 2: 0}}}


def no_data_and_values(root: Path) -> dict[str, Any]:
    masked(root, labels(3, 7, 255), nodata=255)
    return {}


def no_data_as_background(root: Path) -> dict[str, Any]:
    masked(root, labels(0, 1), nodata=0)
    return {}


def no_data_as_foreground(root: Path) -> dict[str, Any]:
    masked(root, labels(0, 255), nodata=255)
    return {"mask": {"encoding": "binary"}}


def bands(root: Path) -> dict[str, Any]:
    draw_bands(root, "uint16", 5, 4000)
    return {"mask": {"encoding": "binary"}}


def signed(root: Path) -> dict[str, Any]:
    draw_volumes(root, -1024, 1500)
    return {"channels": "gray", "classes": ["a", "b", "c"]}


def transparent(root: Path) -> dict[str, Any]:
    pictures(root, *(Image.new("RGBA", (40, 32), (i, 2, 3, 9)) for i in range(6)), folder="images")
    return {}


def broken(root: Path) -> dict[str, Any]:
    draw_pictures(root, 6, (0, 1))
    (root / "images" / "p00.png").write_bytes(b"")
    Image.new("L", (41, 32)).save(root / "masks" / "p01.png")
    return {}


def elsewhere(root: Path) -> dict[str, Any]:
    masked(root, labels(0, 1))
    write_tiff(root / "masks" / "t0.tif", labels(0, 1)[None], west=320)
    return {}


def run_outside(root: Path) -> dict[str, Any]:
    draw_pictures(root, 6)
    rows = [f"p{i:02}.png,{1200 if i else 1270} 40" for i in range(6)]
    (root / "rle.csv").write_text("\n".join(["ImageId,EncodedPixels", *rows]))
    return {"masks": "rle.csv", "mask": {"encoding": "rle"}}


def one_value(root: Path) -> dict[str, Any]:
    draw_pictures(root, 6, (7, 7))
    return {}


def ramps(root: Path) -> dict[str, Any]:
    pictures(root, Image.fromarray(np.arange(32 * 40).reshape(SHAPE).astype(np.uint8)))
    return {}


SOLVED = (
    *(values, values_of_most, black_and_white, colours, palette, no_palette, noise, traces_of_noise, grey_for_colours),
    *(no_data, no_data_in_one, no_data_and_values, no_data_as_background, no_data_as_foreground),
    *(bands, signed, transparent, broken, elsewhere, run_outside),
)


def errors(result: CheckResult) -> set[str]:
    return {finding.kind for finding in result.findings if finding.level == "error"}


def check(root: Path, draw: Draw) -> tuple[CheckResult, CheckResult]:
    """The check of what was drawn, and that of the lines which it suggests."""
    data = draw(root / "data") | {"root": str(root / "data"), "split": {"train": 0.4, "val": 0.3, "test": 0.3}}
    result = check_data(load_config(None, []).data.model_validate(data))
    (root / "suggested.yaml").write_text(result.suggestion)
    return result, check_data(load_config(root / "suggested.yaml").data)


@pytest.mark.parametrize("draw", SOLVED, ids=lambda draw: draw.__name__)
def test_the_suggested_lines_solve_the_mistake(tmp_path: Path, draw: Draw) -> None:
    first, second = check(tmp_path, draw)
    assert errors(first)
    assert first.suggestion_holds, first.suggestion
    assert errors(second) == set(), [finding.text for finding in second.findings]


def test_a_trace_of_noise_makes_a_mask_lossy_and_no_class(tmp_path: Path) -> None:
    first, _ = check(tmp_path, traces_of_noise)
    (text,) = (finding.text for finding in first.findings if finding.kind == "mask-values")
    assert "This is a lossy mask (values near 0 and 255 are compression noise)." in text
    assert "put `mask: {encoding: binary, threshold: 127}` into `data`" in text


def test_grey_masks_where_colours_are_declared_are_told_by_their_values(tmp_path: Path) -> None:
    first, _ = check(tmp_path, grey_for_colours)
    assert any("together these masks hold 0 (" in finding.text for finding in first.findings)


@pytest.mark.parametrize(
    ("draw", "kind"), [(elsewhere, "mask-place"), (run_outside, "mask-encoding")], ids=["mask-place", "mask-encoding"]
)
def test_a_mask_that_does_not_belong_to_its_image_has_its_own_kind(tmp_path: Path, draw: Draw, kind: str) -> None:
    first, _ = check(tmp_path, draw)
    assert errors(first) == {kind}
    (finding,) = (finding for finding in first.findings if finding.kind == kind)
    assert len(finding.ids) == 1


@pytest.mark.parametrize("draw", [one_value, ramps], ids=lambda draw: draw.__name__)
def test_what_no_lines_solve_is_not_called_a_suggestion(tmp_path: Path, draw: Draw) -> None:
    first, second = check(tmp_path, draw)
    assert errors(first) == errors(second) != set()
    assert not first.suggestion_holds
    assert first.suggestion.startswith("# no suggestion yet: with these lines 6 samples are still refused")
    assert first.as_dict()["suggestion_holds"] is False


def test_pixels_without_data_are_ignored_with_the_reason_and_what_else_they_may_be(tmp_path: Path) -> None:
    first, second = check(tmp_path, no_data)
    assert "mask: {nodata: ignore}" in first.suggestion
    comment = " ".join(line.strip(" #") for line in first.suggestion.splitlines() if "#" in line)
    assert "no data at 255 (1,792 pixels): nodata: ignore leaves them out, value makes them a class" in comment
    assert second.tally.splits["train"].ignored > 0
    assert "nodata: value" in check(tmp_path / "b", no_data_as_background)[0].suggestion
