import re
from pathlib import Path

import pytest
import yaml

from seg_scse.config.schema import Config
from seg_scse.data.listing.blocks import assign_blocks
from seg_scse.data.listing.splits import assign_groups
from seg_scse.data.samples import Sample

PAGE = (Path(__file__).parents[1] / "docs" / "splits.md").read_text()
EXAMPLES = [Config.model_validate(yaml.safe_load(text)) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


def splits(key: str):
    return [config.data.split for config in EXAMPLES if getattr(config.data.split, key) not in (None, False)]


@pytest.mark.parametrize("key", ["file", "group", "stratify", "block", "position", "folds"])
def test_each_way_has_a_valid_example(key):
    assert splits(key)


def test_the_expressions_fit_the_ids_beside_them():
    grouped = assign_groups([Sample("p07_scan1_012", Path(), (), None, "x")], splits("group")[0].group)
    assert grouped[0].group == "p07"
    tiles = assign_blocks([Sample("Tile 3/r0512_c4096", Path(), (), None, "x")], splits("position")[0])
    assert tiles[0].group == "Tile 3 2 0"
