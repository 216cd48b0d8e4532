"""Controls follow from their treatment: what it changes beside its gates stays, and scales begin where its own do."""

import pytest

from seg_scse.config.loading import load_config
from seg_scse.config.schema import Config
from seg_scse.study.controls import controls_of
from seg_scse.study.variants import Variant, added, variant_of


@pytest.fixture(scope="module")
def config() -> Config:
    own = ["model.encoder=resnet18", "model.encoder_weights=null", "model.decoder_channels=[32, 16, 16, 16, 16]"]
    return load_config(None, ["data.root=/nowhere", "data.mask.encoding=binary", *own, "model.attention.reduction=2"])


def controls(treatment: Variant, config: Config) -> dict[str, Variant]:
    return {one.name: one for one in controls_of(treatment, config)[0]}


def test_an_scse_that_adds_has_all_four(config: Config) -> None:
    found, left_out = controls_of(variant_of("scse-add", None, label=False), config)
    assert [one.name for one in found] == ["wider", "constant", "identity", "frozen"]
    assert left_out == []
    assert {(one.kind, one.of) for one in found} == {("control", "scse-add")}
    wider, constant, identity, frozen = (one.config(config).model for one in found)
    assert (wider.attention.type, constant.attention.type) == ("none", "constant")
    assert sum(wider.decoder_channels or []) > sum(config.model.decoder_channels or [])
    assert (identity.attention.type, identity.attention.init) == ("scse", "identity")
    assert frozen == variant_of("scse-add", None, label=False).config(config).model


@pytest.mark.parametrize(
    ("name", "init"),
    [
        ("scse-add", "identity"),
        ("scse-max", "default"),
        ("scse-concat", "default"),
        ("cse", "default"),
        ("sse", "default"),
    ],
)
def test_a_constant_begins_at_the_scale_of_its_treatment(config: Config, name: str, init: str) -> None:
    found = controls(variant_of(name, None, label=False), config)
    assert found["constant"].config(config).model.attention.init == init


@pytest.mark.parametrize(("name", "says_so"), [("scse-add", False), ("scse-mul", True), ("scse-concat", True)])
def test_a_constant_that_cannot_begin_where_its_treatment_does_says_so(
    config: Config, name: str, says_so: bool
) -> None:
    says = controls(variant_of(name, None, label=False), config)["constant"].says
    assert (f"it starts at 1/2, which {name} does not" in says) is says_so


def test_a_constant_is_on_the_sites_of_its_treatment(config: Config) -> None:
    found = controls(variant_of("scse-add", ["encoder", "decoder"], label=True), config)
    assert list(found["constant"].config(config).model.attention.sites) == ["encoder", "decoder"]


def test_what_a_treatment_changes_beside_its_gates_is_changed_in_its_controls_too(config: Config) -> None:
    treatment = added("mine: model.attention.type=cse optimizer.lr=5e-4")
    found = controls(treatment, config)
    assert {one.config(config).optimizer.lr for one in found.values()} == {5e-4}
    types = {name: one.config(config).model.attention.type for name, one in found.items()}
    assert types == {"wider": "none", "constant": "constant", "identity": "cse", "frozen": "cse"}


def test_gates_that_start_as_the_identity_have_no_such_control(config: Config) -> None:
    found, left_out = controls_of(added("mine: model.attention.type=cse model.attention.init=identity"), config)
    assert "identity" not in [one.name for one in found]
    assert "identity: mine starts as the identity, or cannot." in left_out


def test_gates_that_cannot_be_replaced_have_no_frozen_control(config: Config) -> None:
    found, left_out = controls_of(variant_of("simam", None, label=False), config)
    assert "frozen" not in [one.name for one in found]
    assert any(line.startswith("frozen: the gates of simam cannot be replaced") for line in left_out)
