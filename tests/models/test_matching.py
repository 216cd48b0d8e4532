import re

import pytest
import torch

from seg_scse.config.loading import load_config
from seg_scse.config.schema import ModelConfig
from seg_scse.errors import ConfigError
from seg_scse.models import build_model, describe_model
from seg_scse.models.matching import matched_decoder

SCSE = {"type": "scse"}


def parameters(config: ModelConfig, channels: int = 3, classes: int = 2) -> int:
    return describe_model(build_model(config, channels, classes))["parameters"]


def default_widths(architecture: str) -> tuple[int, ...]:
    return {"unet": (256, 128, 64, 32, 16), "unetplusplus": (256, 128, 64, 32, 16), "pan": (32,)}.get(
        architecture, (256,)
    )


@pytest.mark.parametrize(
    ("architecture", "attention", "near"),
    [
        ("unet", SCSE, 1e-5),
        ("unet", {"type": "sse"}, 1e-5),
        ("unetplusplus", SCSE, 1e-4),
        ("deeplabv3plus", SCSE, 1e-3),
        ("pan", SCSE, 1e-3),
        ("upernet", SCSE, 2e-3),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else None,
)
def test_a_wider_decoder_has_as_many_parameters_as_the_gates_add(
    architecture: str, attention: dict[str, str], near: float
) -> None:
    gated = ModelConfig(architecture=architecture, attention=attention)
    found = matched_decoder(gated)
    assert (found.parameters, found.target) == (parameters(found.model), parameters(gated))
    assert abs(found.parameters - found.target) <= near * found.target
    assert found.model.attention.type == "none"
    widths = found.model.decoder_channels
    assert all(width >= base for width, base in zip(widths, default_widths(architecture), strict=True))
    plain = gated.model_copy(update={"attention": found.model.attention})
    assert found.model.model_copy(update={"decoder_channels": None}) == plain, "and nothing else is different"


def test_no_other_single_channel_comes_nearer() -> None:
    found = matched_decoder(ModelConfig(architecture="deeplabv3plus", attention=SCSE))
    widths, off = found.model.decoder_channels, abs(found.parameters - found.target)
    for stage in range(len(widths)):
        for change in (-1, 1):
            other = tuple(width + change * (number == stage) for number, width in enumerate(widths))
            count = parameters(found.model.model_copy(update={"decoder_channels": other}))
            assert abs(count - found.target) >= off


def test_all_stages_grow_alike() -> None:
    found = matched_decoder(ModelConfig(attention={"preset": "paper_miccai"}))
    assert abs(found.parameters - found.target) < 1e-4 * found.target
    widths = found.model.decoder_channels
    shares = [width / base for width, base in zip(widths[:4], (256, 128, 64, 32), strict=True)]
    assert min(shares) > 1.05
    assert max(shares) - min(shares) < 0.03


@pytest.mark.parametrize(("channels", "classes", "task"), [(1, 5, "multiclass"), (6, 4, "multilabel")])
def test_bands_and_classes_are_those_of_the_data(channels: int, classes: int, task: str) -> None:
    found = matched_decoder(ModelConfig(architecture="pan", attention=SCSE), channels, classes, task)
    assert describe_model(build_model(found.model, channels, classes, task))["parameters"] == found.parameters


def test_the_classic_network_grows_by_its_width() -> None:
    gated = ModelConfig(architecture="classic_unet", width=32, attention={"preset": "paper_miccai"})
    found = matched_decoder(gated)
    assert found.model == ModelConfig(architecture="classic_unet", width=33)
    steps = [parameters(ModelConfig(architecture="classic_unet", width=width)) for width in (32, 33, 34)]
    assert min(steps, key=lambda count: abs(count - found.target)) == found.parameters == steps[1]


def test_an_encoder_that_computes_while_it_is_built_is_counted_too() -> None:
    found = matched_decoder(ModelConfig(encoder="mit_b0", attention=SCSE))
    assert abs(found.parameters - found.target) < 1e-3 * found.target


def test_supervision_is_kept_and_its_heads_are_not_counted() -> None:
    size = {"architecture": "pan", "attention": SCSE}
    supervised, plain = (matched_decoder(ModelConfig(**size, deep_supervision=heads)) for heads in (1, 0))
    assert (supervised.model.deep_supervision, supervised.target) == (1, plain.target)
    assert supervised.model.decoder_channels == plain.model.decoder_channels


def test_weights_of_the_encoder_stay_and_are_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.getaddrinfo", lambda *_: pytest.fail("nothing is downloaded"))
    assert matched_decoder(ModelConfig(encoder_weights="imagenet", attention=SCSE)).model.encoder_weights == "imagenet"


def test_the_random_state_stays_as_it_is() -> None:
    before = torch.random.get_rng_state()
    matched_decoder(ModelConfig(architecture="pan", attention=SCSE))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("attention", [{"preset": "smp"}, {"type": "cse", "reduction": 4, "init": "identity"}])
def test_the_overrides_make_the_wider_network_of_the_gated_one(attention: dict[str, object]) -> None:
    given = [f"model.attention.{name}={value}" for name, value in attention.items()]
    gated = load_config(None, given)
    found = matched_decoder(gated.model)
    assert found.overrides[:2] == ["model.attention.preset=null", "model.attention.type=none"]
    written = load_config(None, [*given, *found.overrides]).model
    assert written.decoder_channels == found.model.decoder_channels
    assert parameters(written) == found.parameters


def test_it_says_how_near_it_comes() -> None:
    found = matched_decoder(ModelConfig(architecture="pan", attention=SCSE))
    assert found.says == (
        "no gates, a wider decoder, [33]: 11,372,940 parameters, +864 (+0.008%) against those with gates"
    )


def refusal(**options: object) -> str:
    with pytest.raises(ConfigError) as error:
        matched_decoder(ModelConfig(**options))
    return str(error.value)


def test_a_decoder_without_widths_is_refused_with_those_that_have_them() -> None:
    assert refusal(architecture="fpn", attention=SCSE) == (
        "model.architecture = fpn: the widths of its decoder cannot be chosen, so that none is as large as the network "
        "with gates. They can in: unet, unetplusplus, manet, deeplabv3, deeplabv3plus, pan, upernet, classic_unet. Or "
        "leave this control out."
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"attention": {"type": "simam"}}, "gates of type simam add 0 parameters to 14,328,209, and one channel more"),
        (
            {"architecture": "classic_unet", "width": 16, "attention": SCSE},
            "gates of type scse add 22,364 parameters to 1,942,577, and one channel more adds 250,169",
        ),
    ],
)
def test_gates_smaller_than_any_step_are_refused(options: dict[str, object], text: str) -> None:
    assert refusal(**options).startswith(text)


def test_without_gates_there_is_nothing_to_match() -> None:
    assert refusal() == "model.attention.type = none: without gates there are no parameters to match."


def test_weights_of_a_whole_network_fit_one_width_only() -> None:
    message = refusal(weights="unet.safetensors", attention=SCSE)
    assert re.match(r"model.weights = 'unet.safetensors' holds the whole network, and a wider decoder cannot", message)
