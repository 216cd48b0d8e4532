"""Recipes: below everything that is given, spelled out when printed, and part of the package."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg_scse.config import Config, load_config, loading, to_yaml
from seg_scse.config.loading import override
from seg_scse.data.transforms import build_transform
from seg_scse.errors import ConfigError
from seg_scse.training.autoconfig import choose_config

CONFIGS = Path(__file__).parents[2] / "configs"


def write(folder: Path, text: str, name: str = "a.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def differences(a: dict, b: dict, prefix: str = "") -> set[str]:
    found = set()
    for key in a:
        if isinstance(a[key], dict) and f"{prefix}{key}" != "loss.terms":
            found |= differences(a[key], b[key], f"{prefix}{key}.")
        elif a[key] != b[key]:
            found.add(f"{prefix}{key}")
    return found


def test_the_recipe_of_nnunet_changes_these_keys_and_no_other() -> None:
    config = load_config(None, ["recipe=nnunet_like"])
    assert differences(config.model_dump(), Config().model_dump()) == {
        "recipe",
        "augmentation.preset",
        "trainer.crops",
        "trainer.crops_share",
        "trainer.clip_grad_norm",
        "model.deep_supervision",
        "optimizer.name",
        "optimizer.lr",
        "optimizer.momentum",
        "optimizer.weight_decay",
        "optimizer.schedule",
        "optimizer.min_factor",
        "evaluation.tta",
        "evaluation.overlap",
    }
    optimizer, trainer = config.optimizer, config.trainer
    assert (optimizer.name, optimizer.lr, optimizer.momentum) == ("sgd", 0.01, 0.99)
    assert (optimizer.weight_decay, optimizer.schedule, optimizer.min_factor) == (3e-5, "poly", 0)
    assert (trainer.crops, trainer.crops_share, trainer.clip_grad_norm) == ("foreground", 0.33, 12)
    assert config.augmentation.preset == "heavy"
    assert config.loss.terms == {"ce": 1, "dice": 1}
    assert config.model.deep_supervision == 3
    build_transform(config.augmentation, 32)


def test_every_recipe_that_has_a_name_is_part_of_the_package() -> None:
    names = set(Config.model_json_schema()["properties"]["recipe"]["enum"]) - {"default"}
    folder = files("seg_scse.config") / "recipes"
    assert {entry.name for entry in folder.iterdir()} == {f"{name}.yaml" for name in names}


def test_the_default_recipe_is_the_defaults() -> None:
    assert load_config(None, ["recipe=default"]) == Config()


def test_a_recipe_lies_below_the_file_its_base_and_the_command_line(tmp_path: Path) -> None:
    write(tmp_path, "optimizer: {momentum: 0.8}\n", "base.yaml")
    path = write(tmp_path, "base: base.yaml\nrecipe: nnunet_like\ntrainer: {crops_share: 0.9}\n")
    config = load_config(path, ["model.deep_supervision=0"])
    assert config.optimizer.momentum == 0.8
    assert config.trainer.crops_share == 0.9
    assert config.model.deep_supervision == 0
    assert config.optimizer.name == "sgd"
    assert config == load_config(
        write(tmp_path, path.read_text().replace("recipe: nnunet_like", ""), "a.yaml"),
        ["recipe=nnunet_like", "model.deep_supervision=0"],
    )


def test_a_base_may_name_the_recipe_and_the_file_take_it_back(tmp_path: Path) -> None:
    write(tmp_path, "recipe: nnunet_like\n", "base.yaml")
    assert load_config(write(tmp_path, "base: base.yaml\n")).optimizer.name == "sgd"
    assert load_config(write(tmp_path, "base: base.yaml\nrecipe: default\n")).optimizer.name == "adamw"
    assert load_config(write(tmp_path, "base: base.yaml\n"), ["recipe=default"]).optimizer.name == "adamw"


def test_the_resolved_configuration_spells_the_keys_out_and_reads_back_equal(tmp_path: Path) -> None:
    config = load_config(None, ["recipe=nnunet_like", "optimizer.lr=0.02"])
    text = to_yaml(config)
    assert "recipe: nnunet_like" in text
    assert "momentum: 0.99" in text
    path = write(tmp_path, text)
    assert load_config(path) == config
    assert load_config(path, ["optimizer.momentum=0.5"]).optimizer.lr == 0.02
    assert load_config(write(tmp_path, text.replace("recipe: nnunet_like", ""))).optimizer == config.optimizer


def test_a_recipe_given_to_a_loaded_configuration_lies_below_what_was_set() -> None:
    config = override(load_config(None, ["optimizer.lr=0.5", "trainer.crop=64"]), ["recipe=nnunet_like"])
    assert (config.optimizer.lr, config.optimizer.momentum, config.trainer.crop) == (0.5, 0.99, 64)
    assert override(config, ["seed=3"]).optimizer == config.optimizer
    assert override(config, ["recipe=nnunet_like"]) == config, "as the folds of a cross-validation do"


def test_an_unknown_recipe_is_named_with_the_nearest_one(tmp_path: Path) -> None:
    path = write(tmp_path, "seed: 1\nrecipe: nnunet-like\n")
    with pytest.raises(ConfigError, match=r"a\.yaml:2: recipe = 'nnunet-like': .*did you mean `nnunet_like`\?"):
        load_config(path)
    for value in ("[nnunet_like]", "{a: 1}", "null", "3"):
        with pytest.raises(ConfigError, match="command line: recipe"):
            load_config(None, [f"recipe={value}"])


def test_errors_name_the_place_of_the_key_that_is_given(tmp_path: Path) -> None:
    path = write(tmp_path, "recipe: nnunet_like\noptimizer:\n  lr: -1\nmodel:\n  width: 3\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, ["trainer.crops_share=7"])
    text = str(caught.value)
    assert f"{path}:3: optimizer.lr = -1" in text
    assert "command line: trainer.crops_share = 7" in text
    assert f"{path}:5: model: width = 3 has no meaning for architecture = unet" in text
    assert "recipe nnunet_like" not in text


def test_a_rule_between_a_given_key_and_one_of_the_recipe_is_told_at_the_given_one(tmp_path, monkeypatch) -> None:
    write(tmp_path, "model: {architecture: unet}\n", "nnunet_like.yaml")
    monkeypatch.setattr(loading, "RECIPES", tmp_path)
    path = write(tmp_path, "recipe: nnunet_like\nmodel: {width: 3}\n")
    with pytest.raises(ConfigError, match=r"a\.yaml:2: model: width = 3 has no meaning for architecture = unet"):
        load_config(path)


def test_a_recipe_that_would_change_nothing_is_refused(tmp_path: Path) -> None:
    plain = write(tmp_path, to_yaml(Config()))
    with pytest.raises(ConfigError, match=r"recipe=nnunet_like would change nothing: each of its keys is given"):
        load_config(plain, ["recipe=nnunet_like"])
    same = write(tmp_path, to_yaml(load_config(None, ["recipe=nnunet_like"])))
    assert load_config(same, ["recipe=nnunet_like"]).optimizer.name == "sgd"


def draw_folders(root: Path) -> tuple[Path, Path]:
    mask = np.zeros((64, 64), np.uint8)
    mask[:32] = 255
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
        for index in range(4):
            Image.fromarray(mask).save(root / name / f"{index}.png")
    return root / "images", root / "masks"


def test_two_folders_take_a_recipe_that_leaves_sizes_and_overrides_alone(tmp_path: Path) -> None:
    folders = draw_folders(tmp_path)
    plain, _ = choose_config(*folders, [])
    config, reasons = choose_config(*folders, ["recipe=nnunet_like", "optimizer.momentum=0.7"])
    assert (config.optimizer.name, config.optimizer.momentum, config.augmentation.preset) == ("sgd", 0.7, "heavy")
    sizes = ("crop", "batch_size", "repeats", "max_epochs", "max_steps")
    assert [getattr(config.trainer, key) for key in sizes] == [getattr(plain.trainer, key) for key in sizes]
    assert config.data == plain.data
    assert config.model.attention == plain.model.attention
    assert load_config(write(tmp_path, to_yaml(config, reasons))) == config


def test_the_shipped_nuclei_configs_differ_in_the_recipe_only() -> None:
    plain, like = (load_config(CONFIGS / f"nuclei_{name}.yaml") for name in ("unet", "nnunet_like"))
    assert like.recipe == "nnunet_like"
    recipe = load_config(None, ["recipe=nnunet_like"])
    changed = differences(recipe.model_dump(), Config().model_dump())
    assert differences(plain.model_dump(), like.model_dump()) <= changed | {"name", "optimizer.warmup_steps"}
    assert like.optimizer == recipe.optimizer
