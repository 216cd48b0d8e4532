import json
from pathlib import Path

import pytest

from seg_scse.config import Config, json_schema, load_config, to_yaml
from seg_scse.config.attention import APPLIES, PRESET_SITES, PRESETS, REFUSED, AttentionConfig, GateConfig
from seg_scse.config.loading import override
from seg_scse.errors import ConfigError

EXPANDED = {
    "se": ("cse", 16, "add", ("decoder",)),
    "paper_miccai": ("scse", 2, "add", ("encoder", "bottleneck", "decoder")),
    "paper_tmi": ("scse", 2, "max", ("encoder", "bottleneck", "decoder")),
    "smp": ("scse", 16, "add", ("decoder_in", "decoder")),
}
EVERY_PRESET = pytest.mark.parametrize("preset", EXPANDED)


def attention(*overrides: str, path: Path | None = None) -> AttentionConfig:
    return load_config(path, [f"model.attention.{text}" for text in overrides]).model.attention


def refusal(*overrides: str, path: Path | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        attention(*overrides, path=path)
    return str(caught.value)


def write(folder: Path, lines: str) -> Path:
    path = folder / "a.yaml"
    path.write_text(f"model:\n  attention:\n{lines}", encoding="utf-8")
    return path


@EVERY_PRESET
def test_a_preset_sets_the_fields_and_the_sites_of_its_source(preset: str) -> None:
    config = attention(f"preset={preset}")
    assert (config.type, config.reduction, config.merge, config.sites) == EXPANDED[preset]
    assert (config.bias, config.min_width, config.init, config.squeeze, config.gate) == (
        True, 0, "default", "avg", "sigmoid",
    )  # fmt: skip


def test_every_preset_is_tested() -> None:
    assert PRESETS.keys() == PRESET_SITES.keys() == EXPANDED.keys()


@EVERY_PRESET
def test_the_resolved_configuration_spells_the_preset_out_and_reads_back_equal(preset: str, tmp_path: Path) -> None:
    config = load_config(None, [f"model.attention.preset={preset}"])
    text = to_yaml(config)
    kind, reduction, merge, sites = EXPANDED[preset]
    for line in (f"preset: {preset}", f"type: {kind}", f"reduction: {reduction}", f"merge: {merge}"):
        assert f"    {line}\n" in text
    assert f"    sites: [{', '.join(sites)}]\n" in text
    path = tmp_path / "resolved.yaml"
    path.write_text(text, encoding="utf-8")
    assert load_config(path) == config
    assert Config.model_validate(config.model_dump(mode="json")) == config
    assert override(config, ["seed=3"]).model == config.model


def test_fields_that_the_preset_leaves_open_can_be_set() -> None:
    config = attention("preset=smp", "init=identity", "min_width=1", "sites=[decoder.1]")
    assert (config.init, config.min_width, config.sites, config.reduction) == ("identity", 1, ("decoder.1",), 16)


def test_a_field_that_repeats_the_preset_is_no_contradiction() -> None:
    assert attention("preset=smp", "reduction=16") == attention("preset=smp")


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("reduction=8", "reduction = 8 contradicts preset = smp (16): leave one of them out"),
        ("merge=max", "merge = 'max' contradicts preset = smp ('add'): leave one of them out"),
        ("type=none", "type = 'none' contradicts preset = smp ('scse'): leave one of them out"),
        ("reduction=[16]", "reduction = [16] contradicts preset = smp (16): leave one of them out"),
    ],
)
def test_a_contradiction_is_refused_with_key_value_and_place(override: str, problem: str, tmp_path: Path) -> None:
    assert refusal("preset=smp", override).endswith(f"command line: model.attention: {problem}")
    key, value = override.split("=")
    path = write(tmp_path, f"    preset: smp\n    {key}: {value}\n")
    assert refusal(path=path).endswith(f"{path}:3: model.attention: {problem}")


def test_a_number_of_another_type_is_not_taken_for_that_of_the_preset() -> None:
    assert "model.attention.reduction = 16.0: must be a valid integer" in refusal("preset=smp", "reduction=16.0")


def test_a_preset_on_the_command_line_replaces_that_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "    preset: smp\n    init: identity\n")
    config = attention("preset=paper_tmi", path=path)
    assert (config.preset, config.reduction, config.merge, config.init) == ("paper_tmi", 2, "max", "identity")
    assert config.sites == EXPANDED["paper_tmi"][-1]
    assert attention("preset=null", path=path).type == "none"


@pytest.mark.parametrize("value", ["[se]", "3", "true", "{a: 1}", "''", "paper", "1.5", "[]"])
def test_a_preset_that_is_none_lists_the_known_ones(value: str) -> None:
    text = refusal(f"preset={value}")
    assert "command line: model.attention.preset = " in text
    assert "must be 'se', 'paper_miccai', 'paper_tmi' or 'smp'" in text


def test_no_preset_is_the_default() -> None:
    assert attention("preset=null") == attention() == AttentionConfig()


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [(kind, field, value)
     for kind in ("cse", "sse", "scse", "eca", "cbam", "gc", "coord", "ese", "simam", "constant", "dual_position",
                  "dual_channel", "attention_gate", "sk")
     for field, value in (("reduction", 4), ("merge", "max"), ("squeeze", "max"), ("gate", "hard_sigmoid"),
                          ("bias", False), ("min_width", 3), ("init", "identity"))],
)  # fmt: skip
def test_a_field_is_taken_where_it_has_a_meaning_and_refused_elsewhere(kind: str, field: str, value: object) -> None:
    if field in APPLIES.get(kind, ()):
        assert getattr(GateConfig(**{"type": kind, field: value}), field) == value
        return
    default = GateConfig.model_fields[field].default
    assert refusal(f"type={kind}", f"{field}={json.dumps(value)}").endswith(
        f"model.attention: {field} = {value!r} (default {default!r}) has no meaning for type = {kind}: "
        "leave it at its default"
    )


def test_fields_stay_without_a_gate_so_that_two_files_can_differ_in_the_type_alone() -> None:
    assert attention("type=none", "reduction=4", "merge=max").reduction == 4


@pytest.mark.parametrize("name", REFUSED)
def test_a_name_that_is_not_offered_is_refused_with_the_reason(name: str) -> None:
    assert refusal(f"type={name}").endswith(f"command line: model.attention.type: {name!r}: {REFUSED[name]}")


def test_an_unknown_type_lists_the_known_ones_and_the_nearest() -> None:
    text = refusal("type=scsee")
    assert "model.attention.type = 'scsee': must be 'none', 'cse', 'sse', 'scse', 'eca'" in text
    assert text.endswith("did you mean `scse`?")


def test_the_json_schema_names_presets_and_types() -> None:
    fields = json.loads(json_schema())["$defs"]["AttentionConfig"]["properties"]
    assert fields["preset"]["anyOf"][0]["enum"] == list(EXPANDED)
    assert {"scse", "eca", "attention_gate", "sk"} < set(fields["type"]["enum"])
    assert not REFUSED.keys() & set(fields["type"]["enum"])
