"""Weights that come from elsewhere: of whole networks with and without gates, and of single blocks.

Names and shapes are translated by fixed tables, and all tensors must fit: nothing is skipped but what is said to be.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor, nn

from seg_scse.attention.attach import PREFIX, GateSet, Site
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

_SUPERVISION = "supervision."

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
            own, state, notes = _without_supervision(model, state)
            load_fitting(model, state, f"{_CURE} The gates must be those of the weights too.", own)
            return notes
        return load_host(model, state)
    except ConfigError as error:
        raise ConfigError(f"`model.weights` = {path}: {error}") from error


def load_host(model: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Load the state dict of a network without gates into the same network with or without gates.

    Gates stay as they are: with `init="identity"` the network then computes what the plain one did.

    Args:
        model: a network; its own keys are those that do not start with `gates.`.
        state: the state dict of the plain network, such as that of `smp.Unet(...)`.

    Returns:
        What was left out or left as it is, and why: heads of deep supervision that only one of both has.

    Raises:
        ConfigError: a name is missing or unknown, or a shape differs. Nothing was changed.
    """
    own, state, notes = _without_supervision(model, state)
    load_fitting(model, state, _CURE, [key for key in own if not _is_gate(key)])
    return notes


def _without_supervision(
    model: nn.Module, state: Mapping[str, Tensor]
) -> tuple[list[str], dict[str, Tensor], list[str]]:
    """Return the keys of both and what to say, without the heads of deep supervision where only one of them has any.

    They are there for training alone: no prediction depends on them.
    """
    own = list(model.state_dict())
    here, there = ([key for key in keys if key.startswith(_SUPERVISION)] for keys in (own, state))
    if bool(here) == bool(there):
        return own, dict(state), []
    own, state = [key for key in own if key not in here], {key: state[key] for key in state if key not in there}
    reason = "is not in this network" if there else "is not in the weights, and starts anew"
    return own, state, [f"left out {', '.join(here or there)}: deep supervision {reason}."]


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
    own, translated, notes = _without_supervision(model, translated)
    load_fitting(model, translated, _SMP_CURE, own)
    reason = "its decoder block has no skip, so that segmentation-models-pytorch never used it"
    return [f"left out {', '.join(left_out)}: {reason}.", *notes] if left_out else notes


def smp_scse_names(model: nn.Module, names: Iterable[str]) -> dict[str, str]:
    """Return our names for the tensors of smp's scse blocks, as far as the gate at their place computes the same.

    Args:
        model: a network with or without gates.
        names: of a state dict; those of other tensors are passed over.
    """
    gates = getattr(model, PREFIX, None)
    sites = gates.sites if isinstance(gates, GateSet) else {}
    places = {
        _smp_place(site): f"{PREFIX}.{key}"
        for key, site in sites.items()
        if gates is not None and isinstance(gates[key], SCSE) and gates[key].recipe == _SMP_RECIPE
    }
    matches = {name: match for name in names if (match := _SMP_KEY.fullmatch(name))}
    return {
        name: f"{places[match.group(1, 2)]}.{_SMP_LAYERS[match[3]]}.{match[4]}"
        for name, match in matches.items()
        if match.group(1, 2) in places
    }


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
        places[_smp_place(site)] = f"{PREFIX}.{key}"
    return places


def _smp_place(site: Site) -> tuple[str, ...]:
    """Return smp's decoder block of a site and the number of the attention in it."""
    block = site.module.removesuffix(".conv1") if site.where == "input" else site.module
    return block, "1" if site.where == "input" else "2"


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
