"""From `ModelConfig` to a network with gates, ready for training on any number of devices."""

import inspect
from functools import partial
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import timm
import torch
from torch import Tensor, nn

from seg_scse.attention.attach import PREFIX, GateSet, attach_attention
from seg_scse.attention.registry import build_gate
from seg_scse.attention.trace import undisturbed, unreached_parameters
from seg_scse.config.loading import nearest
from seg_scse.config.schema import ModelConfig
from seg_scse.errors import ConfigError
from seg_scse.models.sites import DECODER_STAGES, find_sites
from seg_scse.models.weights import CURE, is_local_file, load_local, quick_hub

PROBE_SIDES = (64, 128, 224, 256, 384, 448, 512)
"""Image sides tried in turn: some decoders need more than 64 pixels, and some transformers accept one size only."""

BUILD_ERRORS = (ValueError, KeyError, RuntimeError, TypeError, NotImplementedError, AttributeError, AssertionError)
"""What smp and timm raise for a combination of architecture and encoder that they cannot build."""


def build_model(config: ModelConfig, in_channels: int, num_classes: int) -> nn.Module:
    """Build a network of segmentation-models-pytorch with the gates that the configuration names.

    Weights depend on torch's random state only; those of the host network are the same with and without gates.
    Parameters of the host that no output depends on (such as the classifier's last convolution in efficientnet) get
    `requires_grad=False`, so that distributed training needs no search for unused parameters.

    Args:
        config: architecture, encoder, weights and attention.
        in_channels: channels of the image.
        num_classes: classes with the background, 2 or more.

    Returns:
        A network in training mode: (N, in_channels, H, W) float -> logits (N, K, H, W), K = 1 for two classes
        (foreground against background), else `num_classes`.

    Raises:
        ConfigError: an unknown name, or a combination that does not exist; the text names the cure.
    """
    _check_names(config)
    model = _build_host(config, in_channels, 1 if num_classes == 2 else num_classes)
    example = _example(model, config, in_channels)
    if config.attention.type != "none":
        sites = find_sites(model, config.architecture, example).select(config.attention.sites)
        attach_attention(model, sites, partial(build_gate, config.attention), example)
    for name in unreached_parameters(model, example):
        model.get_parameter(name).requires_grad_(False)
    return model


def describe_model(model: nn.Module) -> dict[str, Any]:
    """Describe a network in plain JSON types, for a run folder or a report.

    Returns:
        `parameters` and `trainable_parameters` (numbers of elements) and `gates`, a list in the order of attachment
        with `site`, `module`, `type`, `channels`, `hidden` (0: no bottleneck) and `parameters` of each gate.
    """
    gates = getattr(model, PREFIX, None)
    found = [(gates.sites[key], gate) for key, gate in gates.items()] if isinstance(gates, GateSet) else []
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "trainable_parameters": sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        "gates": [
            {
                "site": site.name,
                "module": site.module,
                "type": gate.kind,
                "channels": gate.channels,
                "hidden": gate.hidden,
                "parameters": sum(parameter.numel() for parameter in gate.parameters()),
            }
            for site, gate in found
        ],
    }


def _check_names(config: ModelConfig) -> None:
    """Refuse unknown architectures, encoders and hub weights, naming the nearest known name."""
    if config.architecture not in DECODER_STAGES:
        raise ConfigError(
            f"`model.architecture` = {config.architecture!r} is not known"
            f"{nearest(config.architecture, DECODER_STAGES) or '.'} Known architectures: {', '.join(DECODER_STAGES)}."
        )
    if not config.attention.sites and config.attention.type != "none":
        raise ConfigError(
            f"`model.attention.type` = {config.attention.type}, but `sites` is empty: name at least one site."
        )
    name = config.encoder
    if name not in smp.encoders.encoders and not (name.startswith("tu-") and timm.is_model(name[3:])):
        known = [*smp.encoders.get_encoder_names(), *(f"tu-{model}" for model in timm.list_models())]
        raise ConfigError(
            f"`model.encoder` = {name!r} is not known{nearest(name, known) or '.'} Encoders are those of "
            "segmentation-models-pytorch, such as resnet18 or efficientnet-b0, and `tu-` with any name of timm."
        )


def _build_host(config: ModelConfig, in_channels: int, classes: int) -> nn.Module:
    """Build the smp network without gates."""
    factory = smp.MODEL_ARCHITECTURES_MAPPING[config.architecture]
    local = config.encoder_weights is not None and is_local_file(config.encoder_weights)
    # smp ignores arguments that it does not know, so only the ones written here and checked are ever passed.
    arguments = {
        "encoder_name": config.encoder,
        "encoder_weights": None if local else _hub_weights(config),
        "in_channels": in_channels,
        "classes": classes,
        **_decoder_channels(config, factory),
    }
    try:
        if arguments["encoder_weights"] is None:
            model: nn.Module = factory(**arguments)
        else:
            with quick_hub():
                model = factory(**arguments)
    except OSError as error:
        raise ConfigError(
            f"`model.encoder_weights` = {config.encoder_weights}: the weights of {config.encoder} are not on this "
            f"machine and cannot be downloaded ({_first_line(error)}). {CURE}"
        ) from error
    except BUILD_ERRORS as error:
        raise _unsupported(config, error) from error
    if local:
        load_local(model.get_submodule("encoder"), Path(str(config.encoder_weights)))
    return model


def _hub_weights(config: ModelConfig) -> str | bool | None:
    """Return smp's argument for weights of the model hub, after checking the name."""
    weights = config.encoder_weights
    if weights is None:
        return None
    if config.encoder.startswith("tu-"):
        if not timm.models.is_model_pretrained(config.encoder[3:]):
            raise ConfigError(f"`model.encoder_weights` = {weights}: timm has no weights for {config.encoder}. {CURE}")
        return True  # timm's names of weights are part of the encoder's name, as in tu-resnet18.a1_in1k
    known = list(smp.encoders.encoders[config.encoder]["pretrained_settings"])
    if weights not in known:
        raise ConfigError(
            f"`model.encoder_weights` = {weights!r} does not exist for {config.encoder}"
            f"{nearest(weights, known) or '.'} Known weights: {', '.join(known) or 'none'}. {CURE}"
        )
    return weights


def _decoder_channels(config: ModelConfig, factory: type[nn.Module]) -> dict[str, Any]:
    """Return the argument `decoder_channels` in the form that the architecture takes it."""
    widths = config.decoder_channels
    if widths is None:
        return {}
    parameter = inspect.signature(factory.__init__).parameters.get("decoder_channels")
    if parameter is None:
        raise ConfigError(f"`model.decoder_channels` does not apply to {config.architecture}: set it to null.")
    single = isinstance(parameter.default, int)
    expected = 1 if single else len(parameter.default)
    if len(widths) != expected:
        raise ConfigError(
            f"`model.decoder_channels` = {list(widths)} has {len(widths)} widths, but {config.architecture} "
            f"takes {expected}, such as {[parameter.default] if single else list(parameter.default)}."
        )
    return {"decoder_channels": widths[0] if single else widths}


def _example(model: nn.Module, config: ModelConfig, in_channels: int) -> Tensor:
    """Return a small image (1, C, side, side) that the network accepts, the same for every random state."""
    problem: Exception | None = None
    for side in PROBE_SIDES:
        example = torch.rand(1, in_channels, side, side, generator=torch.Generator().manual_seed(0))
        try:
            with undisturbed(model), torch.no_grad():
                model(example)
        except BUILD_ERRORS as error:
            problem = problem or error
        else:
            return example
    raise _unsupported(config, problem)


def _unsupported(config: ModelConfig, reason: Exception | None) -> ConfigError:
    return ConfigError(
        f"`model.architecture` = {config.architecture} does not work with `model.encoder` = {config.encoder} "
        f"({_first_line(reason)}). Choose another encoder or architecture."
    )


def _first_line(error: Exception | None) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
