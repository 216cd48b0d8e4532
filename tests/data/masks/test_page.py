"""The examples of docs/masks.md are valid, and say what the page says."""

import re
from pathlib import Path

import pytest
import yaml

from seg_scse.config.masks import APPLIES
from seg_scse.config.schema import DataConfig

PAGE = (Path(__file__).parents[3] / "docs" / "masks.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_example_is_a_valid_configuration(example):
    assert DataConfig.model_validate(yaml.safe_load(example)["data"]).mask


def test_each_encoding_has_an_example():
    shown = {DataConfig.model_validate(yaml.safe_load(example)["data"]).mask.encoding for example in EXAMPLES}
    assert shown == set(APPLIES)


def test_the_table_names_the_keys_that_mean_something():
    rows = re.findall(r"^\| `(\w+)`[^|]*\|[^|]*\|[^|]*\|([^|]*)\|$", PAGE, re.MULTILINE)
    assert {name: set(re.findall(r"`(\w+)`", keys)) for name, keys in rows} == APPLIES
