from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg_scse.config.schema import DataConfig, MaskConfig
from seg_scse.data.checking.inspection import Seen, inspect, require_sound
from seg_scse.data.checking.layout import folder_config
from seg_scse.errors import DataError

from .unlabelled import draw_bands, draw_volumes, write_tiff

Draw = Callable[[int], Image.Image]


def grey(value: int = 7) -> Image.Image:
    return Image.fromarray(np.full((8, 12), value, np.uint8))


def blocks(*values: int) -> Image.Image:
    return Image.fromarray(np.repeat(np.array([values], np.uint8), 8, axis=0).repeat(4, axis=1))


def palette(*values: int) -> Image.Image:
    image = blocks(*values).copy()
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0] + [0] * 700)
    return image


def inspect_folders(images: Path, masks: Path) -> Seen:
    seen = inspect(folder_config(images, masks)[0])
    require_sound(seen, images, masks)
    return seen


def folders(root: Path, image: Draw, mask: Draw, suffix: str = ".png", end: str = ".png") -> Seen:
    for name, draw, ending in (("images", image, end), ("masks", mask, suffix)):
        (root / name).mkdir(parents=True)
        for index in range(3):
            draw(index).save(root / name / f"s{index}{ending}")
    return inspect_folders(root / "images", root / "masks")


def test_images_are_described(tmp_path: Path) -> None:
    def image(index: int) -> Image.Image:
        return Image.new("RGBA", (12, 8), (1, 2, 3, 255 if index else 0))

    seen = folders(tmp_path, image, lambda _: blocks(0, 255, 0))
    assert (seen.grey, seen.alpha, seen.spectral) == (False, True, False)
    assert (seen.heights, seen.widths) == ([8, 8, 8], [12, 12, 12])
    assert seen.inspected == len(seen.samples) == 3
    assert (seen.dtypes, seen.bands, seen.low, seen.high) == ({"uint8": 3}, {3: 3}, 1, 3)


def test_opaque_alpha_is_no_alpha(tmp_path: Path) -> None:
    seen = folders(tmp_path, lambda _: Image.new("RGBA", (12, 8), (1, 2, 3, 255)), lambda _: blocks(0, 255, 0))
    assert (seen.alpha, seen.spectral) == (False, False)


def test_masks_are_counted_by_value_and_kind(tmp_path: Path) -> None:
    seen = folders(tmp_path, lambda _: grey(), lambda _: palette(1, 2, 1))
    assert seen.values == {1: 3 * 64, 2: 3 * 32}
    assert seen.mask_kinds == {"palette": 3}
    assert (seen.lossy, seen.coloured, seen.fractions) == (False, False, False)


def test_colours_are_counted_where_masks_have_them(tmp_path: Path) -> None:
    seen = folders(tmp_path, lambda _: grey(), lambda _: Image.new("RGB", (12, 8), (255, 0, 16)))
    assert seen.coloured
    assert seen.colours == {"#ff0010": 3 * 96}


def test_bands_and_their_names_are_found(tmp_path: Path) -> None:
    root = draw_bands(tmp_path, "uint16", 5, 4000, ("blue", "green", "red", "nir", "swir"))
    seen = inspect_folders(root / "images", root / "masks")
    assert (seen.bands, seen.dtypes, seen.formats) == ({5: 4}, {"uint16": 4}, {"TIFF": 4})
    assert seen.names == ("blue", "green", "red", "nir", "swir")
    assert 3000 < seen.high < 4000


def test_slices_of_volumes_are_opened(tmp_path: Path) -> None:
    root = draw_volumes(tmp_path, -1000, 1000)
    seen = inspect_folders(root / "images", root / "masks")
    assert len(seen.samples) == 12
    assert set(seen.values) == {0, 1, 2}
    assert seen.formats == {"NIfTI": 12}


def test_values_that_are_not_finite_do_not_hide_the_others(tmp_path: Path) -> None:
    pixels = np.full((1, 32, 40), 2.0, np.float32)
    pixels[0, 0] = np.nan
    pixels[0, 1] = np.inf
    write_tiff(tmp_path / "images" / "a.tif", pixels)
    (tmp_path / "masks").mkdir()
    Image.new("L", (40, 32)).save(tmp_path / "masks" / "a.png")
    seen = inspect_folders(tmp_path / "images", tmp_path / "masks")
    assert (seen.low, seen.high) == (2, 2)


def test_folders_that_images_have_too_are_no_objects(tmp_path: Path) -> None:
    for kind, draw in (("images", grey()), ("masks", blocks(0, 255, 0))):
        (tmp_path / kind / "tile").mkdir(parents=True)
        draw.save(tmp_path / kind / "tile" / "a.png")
    assert folder_config(tmp_path / "images", tmp_path / "masks")[0].mask == MaskConfig()


def test_split_folders_become_a_pattern(tmp_path: Path) -> None:
    for kind in ("images", "masks"):
        for split in ("Train", "valid"):
            (tmp_path / kind / split).mkdir(parents=True)
    config = folder_config(tmp_path / "images", tmp_path / "masks")[0]
    assert config == DataConfig(images=f"{tmp_path}/images/{{split}}", masks=f"{tmp_path}/masks/{{split}}")


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    folders(tmp_path, lambda _: grey(), lambda _: blocks(0, 255, 0))
    (tmp_path / "images" / "s0.png").write_bytes(b"")
    (tmp_path / "masks" / "s1.png").write_text("no picture")
    grey().save(tmp_path / "images" / "orphan.png")
    with pytest.raises(DataError) as caught:
        inspect_folders(tmp_path / "images", tmp_path / "masks")
    text = str(caught.value)
    assert text.startswith("3 problems in ")
    assert all(name in text for name in ("s0.png", "s1.png", "orphan"))


def test_missing_folder_is_named_as_the_argument(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--images: folder .* does not exist"):
        inspect_folders(tmp_path / "images", tmp_path)
