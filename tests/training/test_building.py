import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from seg_scse import checkpoint
from seg_scse.config import load_config
from seg_scse.config.loading import override
from seg_scse.config.schema import Config
from seg_scse.data.prepare import PreparedData, prepare_data
from seg_scse.errors import ConfigError
from seg_scse.training import building
from seg_scse.training.building import build_trainer
from seg_scse.training.loop import Trainer

from .small import differing, outcome

SMALL = [
    *("model.architecture=classic_unet", "model.width=4", "model.depth=2", "model.decoder_channels=null"),
    *("trainer.max_epochs=2", "trainer.panel=0", "evaluation.overlap=0"),
]

CONFIG_KEYS = [f"{file}.ckpt//config/trainer/gradient_checkpointing" for file in ("best", "last")]
"""That the setting itself differs."""

Build = Callable[..., Trainer]


@pytest.fixture(scope="module")
def config(tiny: list[str]) -> Config:
    return load_config(None, [*tiny, *SMALL])


@pytest.fixture(scope="module")
def data(config: Config) -> PreparedData:
    return prepare_data(config.data)


@pytest.fixture
def build(config: Config, data: PreparedData, tmp_path: Path) -> Build:
    def make(*overrides: str, name: str = "a", **given: Any) -> Trainer:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        chosen = override(config, overrides)
        network = chosen.model if given.get("state") is None else chosen.model.without_weights()
        return build_trainer(chosen, data, torch.device("cpu"), folder, lambda _: {}, network, **given)

    return make


@pytest.fixture(scope="module")
def source(config: Config, data: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run, with standardisation of its own."""
    folder = tmp_path_factory.mktemp("source") / "run"
    folder.mkdir()
    one = build_trainer(config, data, torch.device("cpu"), folder, lambda _: {}, config.model)
    one.facts |= {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    one.fit()
    return folder


def numbers(state: Any) -> list[float]:
    return [round(float(value), 6) for value in state.flatten()]


def test_a_source_fills_the_network_and_is_reported(
    build: Build, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = build(f"finetune.source={source}", "averaging.method=ema")
    trained = checkpoint.load(source / checkpoint.BEST)[0]["model"]
    for network in (one.model, one.learner.scored):
        assert all(torch.equal(value, trained[name]) for name, value in network.state_dict().items())
    printed, (note, *_) = capsys.readouterr().out, json.loads((one.folder / building.TRANSFER).read_text())["input"]
    assert "loaded" in printed
    assert note.endswith("in the source 0.1, 0.2, 0.3")
    assert f"\ninput: {note}\n" in printed
    assert one.facts["mean"] != [0.1, 0.2, 0.3]


def test_the_statistics_of_the_source_are_used_where_asked_for(build: Build, source: Path) -> None:
    one = build(f"finetune.source={source}", "finetune.statistics=source")
    assert (numbers(one.standardize.mean), numbers(one.standardize.std)) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    assert (one.facts["mean"], one.facts["std"]) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])


def test_a_source_without_statistics_is_refused_where_they_are_asked_for(
    build: Build, source: Path, tmp_path: Path
) -> None:
    file = tmp_path / "weights.safetensors"
    checkpoint.export_weights(source / checkpoint.BEST, file)
    with pytest.raises(ConfigError, match=r"finetune\.statistics.*Set finetune\.statistics=data"):
        build(f"finetune.source={file}", "finetune.statistics=source")


def test_a_resumed_run_asks_for_no_source_and_keeps_its_statistics(
    build: Build, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [f"finetune.source={source}", "finetune.statistics=source"]
    build(*settings, "trainer.max_epochs=1").fit()
    state = checkpoint.load(source.parent / "run" / checkpoint.LAST)[0]
    monkeypatch.setattr(building, "open_source", lambda _: pytest.fail("asked for"))
    one = build(*settings, state=state)
    assert (one.facts["mean"], numbers(one.standardize.mean)) == ([0.1, 0.2, 0.3], [0.1, 0.2, 0.3])


def test_class_weights_come_from_the_training_masks(
    build: Build, data: PreparedData, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = [data.store.entries[index].class_pixels for index in data.require("train", "")]
    background, foreground = (sum(count[label] for count in counts) for label in (0, 1))
    one = build("loss.class_balance=inverse")
    weights = one.loss.pixel_weights[:2]
    assert float(weights[1] / weights[0]) == pytest.approx(background / foreground, rel=1e-4)
    assert "loss.class_balance=inverse: weights" in capsys.readouterr().out
    assert build().loss.pixel_weights[:2].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("last", [True, False], ids=["channels last", "rows"])
def test_weights_and_images_lie_in_memory_as_asked(build: Build, last: bool) -> None:
    one = build(f"trainer.channels_last={str(last).lower()}")
    layout = torch.channels_last if last else torch.contiguous_format
    kernel = next(value for value in one.model.parameters() if value.ndim == 4 and min(value.shape) > 1)
    images = one.learner.images(next(iter(one.loader)))
    assert kernel.is_contiguous(memory_format=layout)
    assert images.is_contiguous(memory_format=layout)
    assert not images.is_contiguous(memory_format=torch.contiguous_format if last else torch.channels_last)


def test_recomputed_stages_train_to_the_same_network(build: Build) -> None:
    settings = ["averaging.method=ema", "model.deep_supervision=1"]
    plain, again = build(*settings), build(*settings, "trainer.gradient_checkpointing=true", name="b")
    assert len([module for module in again.model.modules() if "forward" in vars(module)]) > 2
    plain.fit()
    again.fit()
    assert differing(outcome(plain.folder), outcome(again.folder)) == CONFIG_KEYS


def test_deep_supervision_trains_coarser_maps_too(build: Build) -> None:
    one = build("model.deep_supervision=1")
    assert isinstance(one.model(torch.rand(2, 3, 32, 32)), list)
    before = {name: value.clone() for name, value in one.model.named_parameters()}
    one.fit()
    same = [name for name, value in one.model.named_parameters() if torch.equal(value, before[name])]
    assert same == []
    assert any(name.startswith("supervision.") for name in before)


def test_network_and_average_are_compiled_where_asked_for(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **_: compiled.append(type(self).__name__))
    for part in ("none", "gates", "network"):
        build(f"trainer.compile={part}", "averaging.method=ema")
    assert compiled.count("ClassicUNet") == 2


@pytest.mark.parametrize(
    ("part", "device", "times"), [("gates", "cpu", 0), ("none", "cuda", 0), ("network", "cuda", 1)]
)
def test_the_loss_is_compiled_on_a_gpu_alone(
    monkeypatch: pytest.MonkeyPatch, part: str, device: str, times: int
) -> None:
    compiled: list[nn.Module] = []
    monkeypatch.setattr(building, "compile_loss", lambda loss: compiled.append(loss) or loss)
    loss, config = nn.Identity(), load_config(None, [f"trainer.compile={part}"])
    assert building._compiled_loss(loss, config.trainer, torch.device(device)) is loss
    assert len(compiled) == times


def test_a_share_of_hard_images_needs_their_errors(build: Build) -> None:
    assert build().learner.difficulty is None
    assert build("trainer.hard_share=0.25").learner.difficulty is not None


def test_samples_of_a_step_stay_those_of_the_start(build: Build) -> None:
    one = build("trainer.max_epochs=1")
    one.fit()
    state = {**checkpoint.load(one.folder / checkpoint.LAST)[0], "processes": 2}
    again = build("trainer.max_epochs=4", state=state, batch=1)
    assert again.facts["processes"] == 2
    assert again.samples_per_step == 1
    assert again.steps_per_epoch == 6


@pytest.mark.parametrize(
    ("progress", "total"),
    [
        ({"step": 3, "epoch": 1, "in_epoch": 0}, 3 + 3 * 6),
        ({"step": 4, "epoch": 1, "in_epoch": 0}, 4 + 3 * 6),
        ({"step": 6, "epoch": 1, "in_epoch": 3, "closed": True}, 6 + 2 * 6),
    ],
    ids=["between epochs", "an epoch begun anew", "before a validation"],
)
def test_the_end_of_a_run_counts_the_steps_done_where_epochs_have_another_length(
    build: Build, progress: dict[str, Any], total: int
) -> None:
    one = build("trainer.max_epochs=4")
    assert one.schedule.total_steps == 4 * 3
    state = {"mean": one.facts["mean"], "std": one.facts["std"], "processes": 1, "progress": progress}
    again = build("trainer.max_epochs=4", state=state, batch=1)
    assert again.schedule.total_steps == again.facts["steps"] == total
    assert build("trainer.max_epochs=4", "trainer.max_steps=7", state=state, batch=1).schedule.total_steps == 7


def test_an_average_over_fewer_than_two_epochs_is_refused(build: Build) -> None:
    with pytest.raises(ConfigError, match=r"averaging\.method=swa"):
        build("averaging.method=swa", "trainer.max_epochs=2")


def test_the_panel_shows_images_of_the_validation_split(build: Build, data: PreparedData) -> None:
    ends = []
    one = build("trainer.panel=2", "trainer.max_epochs=2", "trainer.val_every=2")
    one.on_epoch = lambda end: ends.append(end) or {}
    one.fit()
    validated = {data.manifest.samples[index].id for index in data.require("val", "")}
    assert [len(end.panel) for end in ends] == [0, 2]
    assert {image.id for image in ends[1].panel} < validated | {""}
