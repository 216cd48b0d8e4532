"""The page about starting from a trained network shows what the program prints and reads."""

import re
from pathlib import Path

import yaml

from seg_scse.config.schema import Config, ModelConfig
from seg_scse.models import build_model
from seg_scse.models.source import Source
from seg_scse.models.transfer import transfer
from seg_scse.training.optim import build_optimizer

PAGE = (Path(__file__).parents[1] / "docs" / "finetuning.md").read_text()


def test_the_table_of_the_page_is_that_of_such_a_network() -> None:
    plain = ModelConfig.model_validate({"encoder": "resnet18"})
    bands = ("red", "green", "blue")
    source = Source("runs/nuclei", build_model(plain).state_dict(), plain, ("background", "nucleus"), bands)
    gates = {"type": "scse", "init": "identity", "sites": ["encoder", "decoder"]}
    model = build_model({"encoder": "resnet18", "attention": gates}, 4, 4)
    found = transfer(model, source, ("background", "axon", "myelin", "nucleus"), (*bands, "nir")).table()
    (shown,) = re.findall(r"```\n(start from .*?)```", PAGE, re.DOTALL)
    assert shown == found


def test_the_configuration_of_the_page_is_valid() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert Config.model_validate(yaml.safe_load(example)).data.classes == ("background", "axon", "myelin")


def test_the_factors_of_the_page_are_those_of_a_resnet() -> None:
    model = build_model({"encoder": "resnet18"})
    config = Config.model_validate({"optimizer": {"layer_decay": 0.7}})
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    factors = {
        names[id(parameter)].split(".")[1]: f"{group['factor']:.2g}"
        for group in build_optimizer(config.optimizer, model).param_groups
        for parameter in group["params"]
        if names[id(parameter)].startswith("encoder.")
    }
    expected = {"layer4": "1", "layer3": "0.7", "layer2": "0.49", "layer1": "0.34", "conv1": "0.24", "bn1": "0.24"}
    assert factors == expected
    text = " ".join(PAGE.split())
    assert "`layer4` has 1, `layer3` 0.7, `layer2` 0.49, `layer1` 0.34 and the stem 0.24" in text
