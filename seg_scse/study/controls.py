"""Controls: what a gated network is compared with, so that the answer is about looking at the feature map.

| control | what it is | what the treatment gains over it is not due to |
|---|---|---|
| `wider` | no gates, and a decoder that is wider by their parameters | the number of parameters |
| `constant` | on the same sites one learned number per channel, which does not look at the map | scaling channels |
| `identity` | the same gates, which start as the identity map | the scale at which a fresh gate starts |
| `frozen` | the treatment's networks, each gate replaced after training by its mean over images | training |
"""

from dataclasses import replace

from seg_scse.attention.probe import Separable
from seg_scse.attention.registry import GATES, build_gate
from seg_scse.config.attention import APPLIES, AttentionConfig
from seg_scse.config.schema import Config
from seg_scse.data.sets.cards import resolve_card
from seg_scse.errors import ConfigError
from seg_scse.models.matching import matched_decoder
from seg_scse.study.variants import Variant, variant_of


def controls_of(treatment: Variant, base: Config) -> tuple[list[Variant], list[str]]:
    """Return the controls of a variant, and why others are left out.

    Args:
        treatment: a variant with gates.
        base: the study's configuration.
    """
    found: list[Variant] = []
    left_out: list[str] = []
    for name, make in {"wider": _wider, "constant": _constant, "identity": _identity, "frozen": _frozen}.items():
        try:
            made = make(treatment, treatment.config(base))
        except ConfigError as error:
            left_out.append(f"{name}: {error}")
        else:
            found.append(replace(made, name=name, kind="control", of=treatment.name))
    return found, left_out


def _wider(treatment: Variant, config: Config) -> Variant:
    data = resolve_card(config.data)
    wider = matched_decoder(config.model, len(data.band_names), len(data.classes), data.task)
    return replace(treatment, overrides=(*_beside_gates(treatment), *wider.overrides), says=wider.says)


def _beside_gates(treatment: Variant) -> tuple[str, ...]:
    """What a variant changes beside its gates."""
    return tuple(text for text in treatment.overrides if not text.startswith("model.attention."))


def _constant(treatment: Variant, config: Config) -> Variant:
    attention = config.model.attention
    merge = attention.merge if attention.type == "scse" else ""
    starts_at_one = attention.init == "identity" or merge == "add"
    constant = variant_of("constant", attention.sites, label=False)
    init = f"model.attention.init={'identity' if starts_at_one else 'default'}"
    says = f"one learned number per channel on the sites of {treatment.name}, which does not look at the feature map"
    if merge in ("mul", "concat") and not starts_at_one:  # near 1/4, and in a convolution: no constant starts so
        says += f"; it starts at 1/2, which {treatment.name} does not"
    return replace(treatment, overrides=(*_beside_gates(treatment), *constant.overrides, init), says=says)


def _identity(treatment: Variant, config: Config) -> Variant:
    attention = config.model.attention
    if "init" not in APPLIES.get(attention.type, ()) or attention.init == "identity":
        raise ConfigError(f"{treatment.name} starts as the identity, or cannot.")
    says = f"{treatment.name}, which starts as the identity map"
    return replace(treatment, overrides=(*treatment.overrides, "model.attention.init=identity"), says=says)


def _frozen(treatment: Variant, config: Config) -> Variant:
    attention = config.model.attention
    if not _is_separable(attention):
        raise ConfigError(f"the gates of {treatment.name} cannot be replaced by other values.")
    says = f"the networks of {treatment.name}, each gate replaced after training by its mean over training images"
    return replace(treatment, says=says, trained=False)


def _is_separable(attention: AttentionConfig) -> bool:
    if attention.type not in GATES:
        return attention.type == "attention_gate"
    channels = max(16, attention.reduction)
    return isinstance(build_gate(attention, channels), Separable)
