"""Weights that come from elsewhere: of whole networks with and without gates, and of single blocks.

Names and shapes are translated by fixed tables, and all tensors must fit: nothing is skipped but what is said to be.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from seg_scse.attention.attach import PREFIX, GateSet
from seg_scse.attention.functional import Recipe
from seg_scse.attention.gates import SCSE
from seg_scse.errors import ConfigError
from seg_scse.models.weights import load_fitting, read_state, require_safetensors

_SMP_KEY = re.compile(r"(.+)\.attention([12])\.attention\.(cSE\.1|cSE\.3|sSE\.0)\.(weight|bias)")
_SMP_LAYERS = {"cSE.1": "channel.squeeze", "cSE.3": "channel.excite", "sSE.0": "spatial.project"}
_SMP_RECIPE = Recipe(merge="add")

_AIMED_KEY = re.compile(r"(?:cSE\.|sSE\.)?(fc1|fc2|conv)\.(weight|bias)")
_AIMED_LAYERS = {"fc1": "channel.squeeze", "fc2": "channel.excite", "conv": "spatial.project"}
_AIMED_RECIPE = Recipe(merge="max")

_CURE = "Build the network with the architecture, encoder, widths, image channels and classes of the weights."
_SMP_CURE = f"{_CURE} Its gates must be those of `attention: {{preset: smp}}`."
_AIMED_CURE = "Build the block with the channels, reduction and gates of the weights."


def load_file_into(model: nn.Module, path: str) -> list[str]:
    """Load a .safetensors file of a whole network, for the configuration key `model.weights`.

    What the file is shows in its names: a network of segmentation-models-pytorch with `scse` (`load_smp_scse`), one of
    this package with gates (everything must fit), or one without gates (`load_host`).

    Args:
        model: a network with the gates it shall have.
        path: the file.

    Returns:
        What was left out and why, one sentence each.

    Raises:
        ConfigError: the file is missing, of another kind or damaged, or does not fit.
    """
    require_safetensors(path, "model.weights")
    try:
        state = read_state(Path(path))
        if any(_SMP_KEY.fullmatch(key) for key in state):
            return load_smp_scse(model, state)
        if any(_is_gate(key) for key in state):
            load_fitting(model, state, f"{_CURE} The gates must be those of the weights too.")
        else:
            load_host(model, state)
    except ConfigError as error:
        raise ConfigError(f"`model.weights` = {path}: {error}") from error
    return []


def load_host(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load the state dict of a network without gates into the same network with or without gates.

    Gates stay as they are: with `init="identity"` the network then computes what the plain one did.

    Args:
        model: a network; its own keys are those that do not start with `gates.`.
        state: the state dict of the plain network, such as that of `smp.Unet(...)`.

    Raises:
        ConfigError: a name is missing or unknown, or a shape differs. Nothing was changed.
    """
    load_fitting(model, state, _CURE, [key for key in model.state_dict() if not _is_gate(key)])


def load_smp_scse(model: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Load a network of segmentation-models-pytorch built with `decoder_attention_type="scse"`: Unet or UnetPlusPlus.

    The network must have been built with the preset `smp`, that is sites [decoder_in, decoder], reduction 16 and
    addition. It then gives the same output. In a decoder block of smp, `attention1` works on the concatenation that
    enters `conv1` and `attention2` on the output; a gate is found by the place it is attached to. The last block has no
    skip and never calls its `attention1`, so that these six tensors have no influence and are left out.

    Args:
        model: a network with gates.
        state: the state dict of smp's network.

    Returns:
        What was left out and why: one sentence that names the six tensors.

    Raises:
        ConfigError: a name is missing or unknown, a shape differs, or a gate computes something else than smp's.
            Nothing was changed.
    """
    places = _smp_places(model)
    translated: dict[str, Tensor] = {}
    left_out: list[str] = []
    for key, value in state.items():
        match = _SMP_KEY.fullmatch(key)
        place = match.group(1, 2) if match else ("", "")
        if match and place in places:
            translated[f"{places[place]}.{_SMP_LAYERS[match[3]]}.{match[4]}"] = _matrix(value)
        elif place == (_last_block(model), "1"):
            left_out.append(key)
        else:
            translated[key] = value
    load_fitting(model, translated, _SMP_CURE)
    reason = "its decoder block has no skip, so that segmentation-models-pytorch never used it"
    return [f"left out {', '.join(left_out)}: {reason}."] if left_out else []


def load_aimed_block(block: SCSE, state: Mapping[str, Tensor]) -> None:
    """Load a block of ai-med's `squeeze_and_excitation`: ChannelSELayer, SpatialSELayer or ChannelSpatialSELayer.

    The first two fit a block with one gate only; the third, whose keys start with `cSE.` and `sSE.`, one with both
    gates and `merge="max"`. That takes max(c U, s U), this one U max(c, s): the same where U >= 0, as after a ReLU;
    where U < 0 theirs is U min(c, s).

    Args:
        block: a block of the same channels and reduction (theirs is 2 by default).
        state: the state dict of their block; of a network, the part below the block, without the block's name.

    Raises:
        ConfigError: a name is missing or unknown, a shape differs, or the block computes something else. Nothing was
            changed.
    """
    _require_recipe(block, _AIMED_RECIPE, "ai-med's block")
    matches = {key: _AIMED_KEY.fullmatch(key) for key in state}
    names = {key: f"{_AIMED_LAYERS[match[1]]}.{match[2]}" if match else key for key, match in matches.items()}
    load_fitting(block, {names[key]: _matrix(value) for key, value in state.items()}, _AIMED_CURE)


def _is_gate(key: str) -> bool:
    return key.startswith(f"{PREFIX}.")


def _matrix(value: Tensor) -> Tensor:
    """Return the kernel of a 1x1 convolution (O, I, 1, 1) as a matrix (O, I), anything else as it is."""
    return value.flatten(1) if value.dim() == 4 and value.shape[2:] == (1, 1) else value


def _smp_places(model: nn.Module) -> dict[tuple[str, ...], str]:
    """Return the state-dict prefix of each gate by smp's decoder block and the number of the attention in it."""
    gates = getattr(model, PREFIX, None)
    if not isinstance(gates, GateSet):
        raise ConfigError(f"the network has no gates, but the weights have scse blocks. {_SMP_CURE}")
    places: dict[tuple[str, ...], str] = {}
    for key, site in gates.sites.items():
        _require_recipe(gates[key], _SMP_RECIPE, f"smp's scse block at `{site.name}`")
        block = site.module.removesuffix(".conv1") if site.where == "input" else site.module
        places[block, "1" if site.where == "input" else "2"] = f"{PREFIX}.{key}"
    return places


def _last_block(model: nn.Module) -> str:
    """Return the path of the decoder's last block, the only one of smp's without a skip."""
    names = [name for name, _ in model.get_submodule("decoder.blocks").named_children()]
    return f"decoder.blocks.{names[-1]}"


def _require_recipe(block: nn.Module, recipe: Recipe, source: str) -> None:
    """Refuse a block that has the right weights for `source` but does something else with them."""
    if not isinstance(block, SCSE):
        raise ConfigError(f"{source} has another arithmetic than a {type(block).__name__}: use a scse block.")
    merged = block.kind == "scse"  # with a single gate, nothing is merged
    differing = [
        f"{name} = {own!r} instead of {wanted!r}"
        for name, own, wanted in zip(Recipe._fields, block.recipe, recipe, strict=True)
        if own != wanted and (merged or name != "merge")
    ]
    if differing:
        raise ConfigError(f"{source} has another arithmetic than this block, whose {', '.join(differing)}.")
