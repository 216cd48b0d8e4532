from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio import Affine

from seg_scse.config.schema import DataConfig, SplitConfig
from seg_scse.data.listing.blocks import assign_blocks
from seg_scse.data.listing.manifest import build_manifest
from seg_scse.data.listing.splits import crossing_groups
from seg_scse.data.samples import Sample
from seg_scse.errors import ConfigError, DataError


def by_id(*ids: str) -> list[Sample]:
    return [Sample(id_, Path(f"{id_}.png"), (), None, id_) for id_ in ids]


def tile(path: Path, west: float, north: float, crs: str = "EPSG:32750") -> Sample:
    with rasterio.open(
        path, "w", "GTiff", 8, 8, 1, crs, transform=Affine(10, 0, west, 0, -10, north), dtype="uint8"
    ) as file:
        file.write(np.zeros((1, 8, 8), np.uint8))
    return Sample(path.stem, path, (), None, path.stem)


def groups(samples: list[Sample], config: SplitConfig) -> dict[str, str]:
    return {sample.id: sample.group for sample in assign_blocks(samples, config)}


def test_tiles_of_one_square_of_the_map_are_one_group(tmp_path):
    # Tiles of 80 m in squares of 160 m: the corner of every second tile lies on the border of two squares.
    samples = [tile(tmp_path / f"{x}_{y}.tif", 80.0 * x, 80.0 * (y + 1)) for x in range(4) for y in range(2)]
    samples.append(tile(tmp_path / "zone.tif", 0, 80, "EPSG:32651"))
    found = groups(samples, SplitConfig(block=160.0))
    assert found == {
        **{f"{x}_{y}": f"EPSG:32750 {x // 2} 0" for x in range(4) for y in range(2)},
        "zone": "EPSG:32651 0 0",
    }


def test_tiles_without_coordinates_are_refused(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "plain.png")
    samples = [tile(tmp_path / "a.tif", 0, 0), Sample("plain", tmp_path / "plain.png", (), None, "plain")]
    with pytest.raises(DataError, match=r"1 of 2 samples have no position: plain\. Their files hold no map coordin"):
        assign_blocks(samples, SplitConfig(block=100.0))


def test_all_files_that_cannot_be_read_are_named(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.tif").write_bytes(b"")
    samples = [Sample(name, tmp_path / f"{name}.tif", (), None, name) for name in ("a", "b")]
    with pytest.raises(DataError, match=r"(?s)2 of 2 .*a\.tif.*b\.tif"):
        assign_blocks(samples, SplitConfig(block=100.0))


def test_the_position_may_be_in_the_id():
    config = SplitConfig(block=4, position=r"(?P<scene>.*)_r(?P<y>\d+)_c(?P<x>\d+)$")
    found = groups(by_id("a_r0_c3", "a_r3_c0", "a_r4_c0", "b_r0_c0"), config)
    assert found == {"a_r0_c3": "a 0 0", "a_r3_c0": "a 0 0", "a_r4_c0": "a 0 1", "b_r0_c0": "b 0 0"}


def test_ids_without_a_position_are_refused():
    with pytest.raises(DataError, match=r"1 of 2 samples have no position: odd\. data\.split\.position=.* correct it"):
        assign_blocks(by_id("1_2", "odd"), SplitConfig(block=4, position=r"(?P<x>\d+)_(?P<y>\d+)"))


@pytest.mark.parametrize(
    ("expression", "reason"),
    [("(", "is not a regular expression"), (r"(\d+)_(\d+)", "of the column and the row x and")],
)
def test_wrong_positions_are_refused(expression, reason):
    with pytest.raises(ConfigError, match=reason):
        assign_blocks(by_id("1_2"), SplitConfig(block=4, position=expression))


def test_blocks_stay_whole_and_are_counted(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        for x in range(8):
            for y in range(4):
                (tmp_path / folder / f"{x}_{y}.png").touch()
    split = {"block": 2, "position": r"(?P<x>\d+)_(?P<y>\d+)", "train": 0.5, "val": 0.25, "test": 0.25}
    manifest = build_manifest(DataConfig.model_validate({"root": str(tmp_path), "split": split}))
    assert crossing_groups(manifest.samples) == []
    assert manifest.notes == (
        "32 samples: 16 train, 8 val, 8 test; divided at random with seed 41, 8 squares of side 2 kept whole",
    )
