"""Everything a training can start from, made by code: what is read of it, and what is refused with which words."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from seg_scse import checkpoint, save_pretrained
from seg_scse.config.schema import Config, ScaleConfig
from seg_scse.errors import CheckpointError, ConfigError
from seg_scse.models import build_model, weights
from seg_scse.training.sources import KINDS, open_source

MODEL = {"architecture": "classic_unet", "width": 4, "depth": 2, "attention": {"type": "scse"}}
CLASSES = ("background", "axon", "myelin")


def write_run(folder: Path, name: str = checkpoint.BEST, seed: int = 0) -> dict[str, Tensor]:
    """Write a run folder with an untrained network, and return its weights."""
    config = Config.model_validate({"model": MODEL, "data": {"classes": CLASSES, "channels": "gray"}})
    torch.manual_seed(seed)
    state = build_model(config.model, 1, 3).state_dict()
    content = {
        "config": config.model_dump(mode="json"),
        "data_digest": "d" * 64,
        "mean": [0.4],
        "std": [0.2],
        "scale": None,
        "model": state,
        "progress": {"epoch": 3, "step": 30},
        "splits": {"a": "train"},
    }
    checkpoint.save(folder / name, content)
    return state


def equal(state: Any, expected: dict[str, Tensor]) -> bool:
    return list(state) == list(expected) and all(torch.equal(state[key], expected[key]) for key in expected)


def plain() -> nn.Module:
    torch.manual_seed(0)
    return smp.Unet("resnet18", encoder_weights=None, decoder_channels=(8, 8, 8, 8, 8), classes=1)


def test_of_a_run_folder_the_best_checkpoint_is_read_with_all_that_it_says(tmp_path: Path) -> None:
    best = write_run(tmp_path / "run")
    write_run(tmp_path / "run", checkpoint.LAST, seed=1)
    found = open_source(str(tmp_path / "run"))
    assert equal(found.state, best)
    assert found.name == str(tmp_path / "run")
    assert found.model is not None
    assert found.model.label == "classic_unet"
    assert (found.classes, found.bands, found.mean, found.std) == (CLASSES, ("gray",), (0.4,), (0.2,))
    assert (found.scale, found.limits, found.crop) == (ScaleConfig(), None, Config().trainer.crop)
    assert found.file == str(tmp_path / "run" / checkpoint.BEST)
    assert found.sha256 == hashlib.sha256(Path(found.file).read_bytes()).hexdigest()


def test_a_checkpoint_is_read_by_itself(tmp_path: Path) -> None:
    state = write_run(tmp_path / "run", checkpoint.LAST)
    found = open_source(str(tmp_path / "run" / checkpoint.LAST))
    assert equal(found.state, state)
    assert found.classes == CLASSES


def test_a_run_without_a_validation_names_its_last_checkpoint(tmp_path: Path) -> None:
    write_run(tmp_path / "run", checkpoint.LAST)
    with pytest.raises(ConfigError, match=rf"no best checkpoint\. Name {tmp_path / 'run' / checkpoint.LAST}\.$"):
        open_source(str(tmp_path / "run"))


def test_a_safetensors_file_is_weights_alone(tmp_path: Path) -> None:
    state = plain().encoder.state_dict()
    save_file(state, tmp_path / "encoder.safetensors")
    found = open_source(str(tmp_path / "encoder.safetensors"))
    assert set(found.state) == set(state)
    assert found.sha256 == hashlib.sha256((tmp_path / "encoder.safetensors").read_bytes()).hexdigest()
    assert (found.model, found.classes, found.bands, found.mean) == (None, None, None, None)


@pytest.mark.parametrize("ending", ["pt", "pth", "bin", "ckpt"])
@pytest.mark.parametrize(
    "wrap", [dict, lambda state: {"state_dict": dict(state), "epoch": 3}], ids=["plain", "wrapped"]
)
def test_a_state_dict_that_torch_saved_is_read_under_any_ending(tmp_path: Path, ending: str, wrap: Any) -> None:
    state = plain().state_dict()
    path = tmp_path / f"unet.{ending}"
    torch.save(wrap(state), path)
    assert equal(open_source(str(path)).state, dict(state))


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("ending", ["pth", "ckpt"])
def test_code_in_a_file_does_not_run(tmp_path: Path, ending: str) -> None:
    torch.save({"state_dict": Payload(tmp_path / "ran")}, tmp_path / f"evil.{ending}")
    with pytest.raises(CheckpointError, match="could run code"):
        open_source(str(tmp_path / f"evil.{ending}"))
    assert not (tmp_path / "ran").exists()


def test_a_damaged_checkpoint_of_ours_is_refused_as_such(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    path = tmp_path / "run" / checkpoint.BEST
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"cut short|damaged"):
        open_source(str(tmp_path / "run"))


def test_a_checkpoint_of_ours_that_is_not_the_one_of_its_hash_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    path = tmp_path / "run" / checkpoint.BEST
    path.with_name("best.ckpt.sha256").write_text("0" * 64 + "\n")
    with pytest.raises(CheckpointError, match="SHA-256"):
        open_source(str(path))


def test_a_shared_network_is_read_with_all_that_it_says(tmp_path: Path) -> None:
    state = write_run(tmp_path / "run")
    found = open_source(str(save_pretrained(tmp_path / "run", tmp_path / "net")))
    assert set(found.state) == set(state)
    assert all(torch.equal(found.state[key], state[key]) for key in state)
    assert found.model is not None
    assert found.model.attention.type == "scse"
    assert (found.classes, found.bands, found.mean, found.std) == (CLASSES, ("gray",), (0.4,), (0.2,))


def test_a_shared_network_with_other_weights_than_it_says_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    folder = save_pretrained(tmp_path / "run", tmp_path / "net")
    save_file({"weight": torch.zeros(1)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="SHA-256"):
        open_source(str(folder))


def test_a_network_that_smp_saved_is_read_with_its_name(tmp_path: Path) -> None:
    model = plain()
    model.save_pretrained(tmp_path / "smp")
    found = open_source(str(tmp_path / "smp"))
    assert set(found.state) == set(model.state_dict())
    assert found.model is not None
    assert found.model.label == "unet-resnet18"
    assert found.classes is None


@pytest.mark.parametrize("text", ["{}", '{"architecture": "resnet18"}', '{"_model_class": 3}', "[", "[1]"])
def test_a_folder_of_another_program_is_weights_alone(tmp_path: Path, text: str) -> None:
    save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(text)
    found = open_source(str(tmp_path))
    assert list(found.state) == ["weight"]
    assert found.model is None


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A Hub that has one repository, in a folder here, and notes what it is asked for."""
    asked: list[str] = []
    write_run(tmp_path / "hub-run")
    folder = save_pretrained(tmp_path / "hub-run", tmp_path / "hub-net")

    def snapshot_download(repo_id: str, **wanted: Any) -> str:
        asked.append(repo_id)
        assert wanted["allow_patterns"] == ["config.json", "model.safetensors"], "no other file is of interest"
        if repo_id != "somebody/net":
            raise huggingface_hub.errors.LocalEntryNotFoundError("cannot find it\nlong text")
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(weights, "_hub_is_reachable", lambda: False)
    return asked


def test_a_repository_of_the_hub_is_downloaded(hub: list[str]) -> None:
    found = open_source("somebody/net")
    assert hub == ["somebody/net"]
    assert (found.name, found.classes) == ("somebody/net", CLASSES)


def test_a_path_that_exists_is_not_asked_of_the_hub(
    hub: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(Path("somebody/net"))
    assert open_source("somebody/net").name == "somebody/net"
    assert hub == []


def test_a_repository_that_is_not_to_be_had_names_the_way_without_a_network(hub: list[str]) -> None:
    with pytest.raises(CheckpointError, match=r"\(cannot find it\).*`hf download somebody/other --local-dir DIR`"):
        open_source("somebody/other")


def test_the_cache_of_the_hub_is_enough_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path / "run")
    repository = tmp_path / "cache" / "models--somebody--net"
    commit = "0" * 40
    save_pretrained(tmp_path / "run", repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert open_source("somebody/net").classes == CLASSES


@pytest.mark.parametrize("name", ["nowhere", "/no/where", "a/b/c", "weights/unet.pth", "x/y.safetensors"])
def test_what_is_not_there_is_refused_with_all_that_could_be_named(hub: list[str], name: str) -> None:
    with pytest.raises(ConfigError) as error:
        open_source(name)
    assert str(error.value) == f"`finetune.source` = {name!r}: no such file or folder. It can be {KINDS}."
    assert hub == []


def test_a_folder_or_file_of_another_kind_is_refused_with_all_that_could_be_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ConfigError, match=r"files of this kind are not read\. It can be a run folder"):
        open_source(str(tmp_path / "notes.txt"))
    with pytest.raises(ConfigError, match=r"neither checkpoints/best\.ckpt nor model\.safetensors\. It can be"):
        open_source(str(tmp_path))


def test_a_damaged_safetensors_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"no")
    with pytest.raises(CheckpointError, match=r"cannot be read as safetensors.*Copy or download it again\."):
        open_source(str(tmp_path / "w.safetensors"))
