from pathlib import Path

import pytest

from seg_scse.config import load_config
from seg_scse.data.sets.cards import resolve_card

CONFIGS = Path(__file__).parents[2] / "configs"
FILES = sorted(CONFIGS.glob("*.yaml"))


def test_there_are_configs() -> None:
    assert {path.stem for path in FILES} >= {"quickstart", "nuclei_unet", "nuclei_unet_scse", "amazon_unet_scse"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_shipped_config_loads_and_opens_with_its_command(path: Path) -> None:
    config = load_config(path)
    assert config.name == path.stem
    assert len(resolve_card(config.data).classes) >= 2
    first, *head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert "python train.py" in first or "make quickstart" in first
    assert any("Data" in line for line in head)


def test_the_pair_of_nuclei_configs_differs_in_one_key() -> None:
    plain, scse = (load_config(CONFIGS / f"nuclei_unet{end}.yaml") for end in ("", "_scse"))
    assert plain.model.attention.type == "none"
    same = plain.model_copy(update={"model": scse.model, "name": scse.name})
    assert same == scse
    assert scse.model.attention.model_dump() | {"type": "none"} == plain.model.attention.model_dump()
    assert scse.model.model_copy(update={"attention": plain.model.attention}) == plain.model
