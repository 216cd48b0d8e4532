"""From `ModelConfig` to a network with gates, ready for training on any number of devices."""

import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import timm
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from seg_scse import distributed
from seg_scse.attention.attach import PREFIX, GateSet
from seg_scse.attention.probe import kind_of
from seg_scse.attention.selective import replaced_convolutions
from seg_scse.attention.trace import unreached_parameters
from seg_scse.config.loading import nearest, problem_of
from seg_scse.config.masks import Task
from seg_scse.config.schema import ModelConfig
from seg_scse.errors import ConfigError, numbered
from seg_scse.models.attach import attach_configured, example_for
from seg_scse.models.classic import ClassicUNet
from seg_scse.models.foreign import load_file_into
from seg_scse.models.sites import DECODER_STAGES
from seg_scse.models.supervision import PREFIX as SUPERVISION
from seg_scse.models.supervision import attach_supervision
from seg_scse.models.weights import CURE, adaptation_note, is_local_file, load_local, quick_hub

BUILD_ERRORS = (ValueError, KeyError, RuntimeError, TypeError, NotImplementedError, AttributeError, AssertionError)
"""What smp and timm raise for a combination of architecture and encoder that they cannot build."""


def build_model(
    config: ModelConfig | Mapping[str, Any], in_channels: int = 3, num_classes: int = 2, task: Task = "multiclass"
) -> nn.Module:
    """Build a network with the gates that the configuration names.

    The network is one of segmentation-models-pytorch, or the classic U-Net of the scSE papers. Its weights depend on
    torch's random state only; those of the host network are the same with and without gates. Parameters that no output
    depends on (as in efficientnet) get `requires_grad=False`: distributed training need not search for unused ones.

    Args:
        config: the section `model`, or a mapping with its keys, such as `{"attention": {"preset": "paper_tmi"}}`.
        in_channels: channels of the image.
        num_classes: classes with the background, 2 or more.
        task: `multiclass`, a pixel has one class; or `multilabel`, any number of those after the first.

    Returns:
        A network in training mode: (N, in_channels, H, W) float -> logits (N, K, H, W). K = `num_classes`, or one less
        for two classes and for labels, whose channels are sigmoids. With `deep_supervision`, a list in training mode:
        these logits, then (N, K, h, w) of each coarser stage.

    Raises:
        ConfigError: unknown keys or names, a value out of range, no such combination, weights that do not fit.

    Example:
        >>> model = build_model({"architecture": "classic_unet", "width": 16, "attention": {"preset": "paper_miccai"}})
        >>> model(torch.rand(2, 3, 64, 64)).shape
        torch.Size([2, 1, 64, 64])
    """
    config = _checked(config)
    _check_sizes(in_channels, num_classes)
    _check_names(config)
    model = build_host(config, in_channels, output_channels(num_classes, task))
    example = _example(model, config, in_channels)
    with torch.random.fork_rng(devices=[]):  # so that what is drawn afterwards is the same whatever the gates
        attach_configured(model, config.attention, example)
    if config.weights is not None:
        _report("model.weights", load_file_into(model, config.weights))
    _freeze_unreached(model, example)
    if config.deep_supervision:
        attach_supervision(model, config.deep_supervision, example)
    return model


def _freeze_unreached(model: nn.Module, example: Tensor) -> None:
    for name in unreached_parameters(model, example):
        model.get_parameter(name).requires_grad_(False)


def output_channels(num_classes: int, task: Task = "multiclass") -> int:
    """Channels of the logits of a network for `num_classes` classes, the background counted."""
    return num_classes - 1 if num_classes == 2 or task == "multilabel" else num_classes


def describe_model(model: nn.Module) -> dict[str, Any]:
    """Describe a network in plain JSON types, for a run folder or a report.

    Returns:
        `parameters` and `trainable_parameters` (numbers of elements) of the network that predicts;
        `supervision_parameters`, those that deep supervision adds in training; and `gates`, a list in the order of
        attachment with `site`, `module`, `type`, `channels`, `hidden` (0: no bottleneck) and `parameters` of each gate.
        A module of another kind than this package's gates has its class's name as `type`, and None for `channels` and
        `hidden` where it has no such number. The convolutions that `sk` replaced follow, with their path as `site` and
        `module`.
    """
    gates = getattr(model, PREFIX, None)
    found = [(gates.sites[key], gate) for key, gate in gates.items()] if isinstance(gates, GateSet) else []
    heads = set(getattr(model, SUPERVISION, nn.ModuleDict()).parameters())
    own = [parameter for parameter in model.parameters() if parameter not in heads]
    return {
        "parameters": _size(own),
        "trainable_parameters": _size(parameter for parameter in own if parameter.requires_grad),
        "supervision_parameters": _size(heads),
        "gates": [
            *(_described(site.name, site.module, gate) for site, gate in found),
            *(_described(path, path, block) for path, block in replaced_convolutions(model).items()),
        ],
    }


def _described(site: str, module: str, gate: nn.Module) -> dict[str, Any]:
    return {
        "site": site,
        "module": module,
        "type": kind_of(gate),
        "channels": _number(gate, "channels"),
        "hidden": _number(gate, "hidden"),
        "parameters": _size(gate.parameters()),
    }


def _number(gate: nn.Module, name: str) -> int | None:
    value = getattr(gate, name, None)
    return value if isinstance(value, int) else None  # in a gate of another's making, it can be a layer


def _size(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters)


def _checked(config: ModelConfig | Mapping[str, Any]) -> ModelConfig:
    """Return the configuration that a mapping means, with all its problems in one error."""
    if isinstance(config, ModelConfig):
        return config
    try:
        return ModelConfig.model_validate(dict(config) if isinstance(config, Mapping) else config)
    except ValidationError as error:
        problems = [problem_of(details, ModelConfig, ("model",)) for details in error.errors()]
        raise ConfigError(f"the network cannot be built:\n{numbered(problems)}") from error


def _check_sizes(in_channels: int, num_classes: int) -> None:
    if in_channels < 1 or num_classes < 2:
        raise ConfigError(
            f"`in_channels` = {in_channels} and `num_classes` = {num_classes}: an image has 1 channel or more, and "
            "classes are 2 or more with the background."
        )


def _check_names(config: ModelConfig) -> None:
    """Refuse unknown architectures and encoders, naming the nearest known name."""
    if config.architecture not in DECODER_STAGES:
        raise ConfigError(
            f"`model.architecture` = {config.architecture!r} is not known"
            f"{nearest(config.architecture, DECODER_STAGES) or '.'} Known architectures: {', '.join(DECODER_STAGES)}."
        )
    name = config.encoder
    if name not in smp.encoders.encoders and not (name.startswith("tu-") and timm.is_model(name[3:])):
        known = [*smp.encoders.get_encoder_names(), *(f"tu-{model}" for model in timm.list_models())]
        raise ConfigError(
            f"`model.encoder` = {name!r} is not known{nearest(name, known) or '.'} Encoders are those of "
            "segmentation-models-pytorch, such as resnet18 or efficientnet-b0, and `tu-` with any name of timm."
        )


def build_host(config: ModelConfig, in_channels: int, classes: int) -> nn.Module:
    """Build a network without what `build_model` adds to it: gates, weights of a file, heads of deep supervision."""
    if config.architecture != "classic_unet":
        return _build_smp(config, in_channels, classes)
    sizes = {"width": config.width, "depth": config.depth}
    return ClassicUNet(in_channels, classes, **{name: value for name, value in sizes.items() if value is not None})


def _build_smp(config: ModelConfig, in_channels: int, classes: int) -> nn.Module:
    """Build a network of smp with the weights of its encoder."""
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
        notes = load_local(model.get_submodule("encoder"), Path(str(config.encoder_weights)))
    else:
        notes = [adaptation_note(in_channels)] if arguments["encoder_weights"] and in_channels != 3 else []
    _report("model.encoder_weights", notes)
    return model


def _report(key: str, notes: Iterable[str]) -> None:
    if distributed.is_main():
        print("".join(f"{key}: {note}\n" for note in notes), end="")


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
    """Return a small image that the network accepts; some combinations fail on their first image only."""
    try:
        return example_for(model, in_channels)
    except ConfigError as error:
        raise _unsupported(config, error.__cause__ or error) from error


def _unsupported(config: ModelConfig, reason: BaseException) -> ConfigError:
    return ConfigError(
        f"`model.architecture` = {config.architecture} does not work with `model.encoder` = {config.encoder} "
        f"({_first_line(reason)}). Choose another encoder or architecture."
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
