"""Configuration of the gates and of the sites they are attached to."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt


class Strict(BaseModel):
    """Base of all configuration models: immutable, no unknown key, defaults checked too."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=False)


class GateConfig(Strict):
    """One recalibration block, spelled out so that no two readers build different ones."""

    type: Literal["none", "cse", "sse", "scse"] = Field(
        "none", description="cse: channel gate (SE); sse: spatial gate; scse: both, combined by `merge`"
    )
    reduction: Annotated[StrictInt, Field(ge=1)] = Field(
        2, description="channels / hidden units of the channel gate; 2 in Roy et al. 2018, 16 in Hu et al. 2018"
    )
    merge: Literal["add", "max", "mul", "concat"] = Field(
        "add", description="scse: add (MICCAI 2018), max (TMI 2019), mul, or concat followed by a 1x1 convolution"
    )
    bias: StrictBool = Field(True, description="bias terms in the gates")
    min_width: Annotated[StrictInt, Field(ge=0)] = Field(
        0, description="fewest hidden units of the channel gate; 0: a reduction that leaves no unit is refused"
    )
    init: Literal["default", "identity"] = Field(
        "default", description="identity: the block starts as the identity map, so that a pretrained host is unchanged"
    )


class AttentionConfig(GateConfig):
    """The gates of a network."""

    sites: tuple[str, ...] = Field(
        ("decoder",),
        description="encoder, bottleneck, skip, decoder, decoder_in; single stages as `decoder.1`",
    )
