"""Neighbouring slices in the configuration, and in what is kept by it."""

import json
import re
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from seg_scse.config.schema import DataConfig
from seg_scse.data.entries import decoding_of, entry_key
from seg_scse.data.samples import Sample
from seg_scse.data.scaling import Scaling, declared_range


def config(neighbours: int, **data: object) -> DataConfig:
    return DataConfig.model_validate({"channels": "gray", "volume": {"neighbours": neighbours}, **data})


def test_channels_are_named_by_their_distance_from_the_slice():
    assert config(0).band_names == config(0).slice_bands == ("gray",)
    assert config(2).band_names == ("gray-2", "gray-1", "gray", "gray+1", "gray+2")
    two = DataConfig.model_validate({"bands": ["ct", "pet"], "volume": {"neighbours": 1}})
    assert two.band_names == ("ct-1", "pet-1", "ct", "pet", "ct+1", "pet+1")
    assert two.slice_bands == ("ct", "pet")
    assert [two.band_names[two.own_channels], config(2).band_names[config(2).own_channels]] == [
        ("ct", "pet"),
        ("gray",),
    ]
    assert DataConfig().band_names[DataConfig().own_channels] == ("red", "green", "blue")


def test_the_example_of_the_page_is_a_configuration():
    page = (Path(__file__).parents[2] / "docs" / "volumes.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert DataConfig.model_validate(yaml.safe_load(example)["data"]).band_names == ("gray-1", "gray", "gray+1")


def test_hue_means_something_for_single_slices_only():
    assert (config(0).coloured, config(1).coloured, DataConfig().coloured) == (True, False, True)
    assert not DataConfig.model_validate({"bands": ["ct"]}).coloured


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"volume": {"neighbours": 1}}, "would give the network each grey slice three times: set channels = gray"),
        ({"bands": ["a", "a-1"], "volume": {"neighbours": 1}}, "makes the channels a-1, a-1-1, a, a-1, a.1, a-1.1"),
        ({"channels": "gray", "volume": {"neighbours": 17}}, "less than or equal to 16"),
        ({"channels": "gray", "volume": {"neighbours": -1}}, "greater than or equal to 0"),
        ({"channels": "gray", "volume": {"neighbours": True}}, "valid integer"),
    ],
)
def test_neighbours_that_make_no_channels_are_refused(data, reason):
    with pytest.raises(ValidationError, match=reason):
        DataConfig.model_validate(data)


def test_a_range_is_declared_for_the_bands_of_a_slice():
    scale = {"method": "range", "low": [0, 10], "high": [1, 20]}
    two = DataConfig.model_validate({"bands": ["ct", "pet"], "volume": {"neighbours": 1}, "scale": scale})
    assert declared_range(two) == Scaling((0.0, 10.0) * 3, (1.0, 20.0) * 3)


def test_entries_of_the_cache_without_neighbours_are_those_of_earlier_versions():
    decoding = decoding_of(config(0))
    assert json.loads(decoding)[:3] == [3, 2, "axial"]
    sample = Sample("a/001", Path("/none/a.nii"), (), None, "a", plane=1)
    assert entry_key(sample, decoding, {}) == "6b3546f66c9d5f45955c242144560b94f02b43befcc08d4a662be4d6947384c6"
    assert len({decoding_of(config(k)) for k in (0, 1, 2)}) == 3
