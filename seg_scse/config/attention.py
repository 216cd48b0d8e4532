"""Configuration of the gates and of the sites they are attached to."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, field_validator, model_validator


class Strict(BaseModel):
    """Base of all configuration models: immutable, no unknown key, defaults checked too."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=False)


GateType = Literal[
    "none",
    "cse",
    "sse",
    "scse",
    "eca",
    "cbam",
    "gc",
    "coord",
    "ese",
    "simam",
    "constant",
    "dual_position",
    "dual_channel",
    "attention_gate",
    "sk",
]

REFUSED: dict[str, str] = {
    "se": "squeeze-and-excitation is type = cse here, or preset = se (reduction 16)",
    "ge": "gather-excite is broken in timm (1.0.31: its constructor raises a TypeError); choose cse or gc",
    "gca": "it adds a context to the map and gates nothing, and timm starts it with a last layer of zeros; choose gc",
}
"""Names that others use for a block, and why they are not offered here."""

APPLIES: dict[str, frozenset[str]] = {
    "cse": frozenset({"reduction", "squeeze", "gate", "bias", "min_width", "init"}),
    "sse": frozenset({"gate", "bias", "init"}),
    "scse": frozenset({"reduction", "merge", "squeeze", "gate", "bias", "min_width", "init"}),
    "cbam": frozenset({"reduction", "min_width"}),
    "gc": frozenset({"reduction", "min_width"}),
    "coord": frozenset({"reduction", "min_width"}),
    "constant": frozenset({"init"}),
    "dual_position": frozenset({"reduction", "min_width"}),
    "attention_gate": frozenset({"reduction", "min_width"}),
    "sk": frozenset({"reduction", "min_width"}),
}
"""The fields beside `type` that have a meaning for each gate; none where a gate is not named."""

PRESETS: dict[str, dict[str, Any]] = {
    "se": {"type": "cse", "reduction": 16},
    "paper_miccai": {"type": "scse", "reduction": 2, "merge": "add"},
    "paper_tmi": {"type": "scse", "reduction": 2, "merge": "max"},
    "smp": {"type": "scse", "reduction": 16, "merge": "add"},
}
"""Exact blocks by name. `se`: Hu et al. 2018; `paper_miccai`: Roy et al. 2018; `paper_tmi`: Roy et al. 2019; `smp`:
segmentation-models-pytorch, `decoder_attention_type="scse"`."""

PRESET_SITES: dict[str, tuple[str, ...]] = {
    "se": ("decoder",),
    "paper_miccai": ("encoder", "bottleneck", "decoder"),
    "paper_tmi": ("encoder", "bottleneck", "decoder"),
    "smp": ("decoder_in", "decoder"),
}
"""Default sites of each preset: those of its source, but for `se`, whose source has no decoder."""


def _preset_of(given: object) -> str | None:
    """Return the known preset that a raw section names; anything else is left to the checks of the fields."""
    name = given.get("preset") if isinstance(given, dict) else None
    return name if isinstance(name, str) and name in PRESETS else None


class GateConfig(Strict):
    """One recalibration block, spelled out so that no two readers build different ones."""

    preset: Literal["se", "paper_miccai", "paper_tmi", "smp"] | None = Field(
        None, description="a named combination; it sets the keys of its block, and refuses other values for them"
    )
    type: GateType = Field(
        "none",
        description="cse: channel gate (SE); sse: spatial gate; scse: both, combined by `merge`; constant: one learned "
        "number per channel; attention_gate: for skips; sk: replaces 3x3 convolutions; others by name",
    )
    reduction: Annotated[StrictInt, Field(ge=1)] = Field(
        2, description="channels / hidden units of the channel gate; 2 in Roy et al. 2018, 16 in Hu et al. 2018"
    )
    merge: Literal["add", "max", "mul", "concat"] = Field(
        "add", description="scse: add (MICCAI 2018), max (TMI 2019), mul, or concat followed by a 1x1 convolution"
    )
    squeeze: Literal["avg", "max", "avg+max"] = Field(
        "avg", description="what the channel gate sees of each channel: mean, maximum, or both through the same layers"
    )
    gate: Literal["sigmoid", "hard_sigmoid"] = Field(
        "sigmoid", description="function from a score to a gate in [0, 1]; hard_sigmoid: relu6(x + 3) / 6"
    )
    bias: StrictBool = Field(True, description="bias terms in the gates")
    min_width: Annotated[StrictInt, Field(ge=0)] = Field(
        0, description="fewest hidden units of the channel gate; 0: a reduction that leaves no unit is refused"
    )
    init: Literal["default", "identity"] = Field(
        "default", description="identity: the block starts as the identity map, so that a pretrained host is unchanged"
    )

    @model_validator(mode="before")
    @classmethod
    def _expand_preset(cls, given: Any) -> Any:  # noqa: ANN401 - whatever the user wrote
        """Write the fields of the preset out; a field that contradicts it is refused."""
        name = _preset_of(given)
        if name is None:
            return given
        fields = PRESETS[name]
        for key, value in fields.items():
            if key in given and given[key] != value:
                raise ValueError(
                    f"{key} = {given[key]!r} contradicts preset = {name} ({value!r}): leave one of them out"
                )
        return fields | given

    @field_validator("type", mode="before")
    @classmethod
    def _type_is_offered(cls, given: Any) -> Any:  # noqa: ANN401 - whatever the user wrote
        """Say why a name that others use is not offered."""
        if isinstance(given, str) and given in REFUSED:
            raise ValueError(f"{given!r}: {REFUSED[given]}")
        return given

    @model_validator(mode="after")
    def _fields_mean_something(self) -> Self:
        """Refuse a field that the gate would ignore; `none` keeps them, so that a pair of files can differ in one."""
        if self.type == "none":
            return self
        defaults = GateConfig.model_fields
        meaningful = APPLIES.get(self.type, frozenset()) | {"preset", "type"}
        ignored = [
            name for name, field in defaults.items() if name not in meaningful and getattr(self, name) != field.default
        ]
        if ignored:
            given = ", ".join(
                f"{name} = {getattr(self, name)!r} (default {defaults[name].default!r})" for name in ignored
            )
            raise ValueError(f"{given} has no meaning for type = {self.type}: leave it at its default")
        return self


class AttentionConfig(GateConfig):
    """The gates of a network."""

    sites: tuple[str, ...] = Field(
        ("decoder",),
        description="encoder, bottleneck, skip, decoder, decoder_in; single stages as `decoder.1`; `residual`; or "
        "module paths with * and ?, such as `encoder.layer3.*.bn2`",
    )

    @model_validator(mode="before")
    @classmethod
    def _default_sites_of_preset(cls, given: Any) -> Any:  # noqa: ANN401 - whatever the user wrote
        """Put the gates on the preset's sites, unless others are named."""
        name = _preset_of(given)
        return given if name is None or "sites" in given else given | {"sites": PRESET_SITES[name]}
