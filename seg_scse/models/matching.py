"""Networks without gates that are as large as one with gates: the control for what gates gain by their parameters."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import segmentation_models_pytorch as smp
import torch

from seg_scse.config.attention import AttentionConfig
from seg_scse.config.masks import Task
from seg_scse.config.schema import ModelConfig
from seg_scse.errors import ConfigError
from seg_scse.models.build import build_host, build_model, describe_model, output_channels
from seg_scse.models.classic import ClassicUNet

Widths = tuple[int, ...]


@dataclass(frozen=True)
class Matched:
    """A wider network without gates, and how near it comes.

    Attributes:
        model: its configuration.
        parameters: its number of parameters.
        target: that of the network with gates.
    """

    model: ModelConfig
    parameters: int
    target: int

    @property
    def key(self) -> str:
        """Name of the field that makes it wider: `decoder_channels`, or `width` for the classic U-Net."""
        return "width" if self.model.architecture == "classic_unet" else "decoder_channels"

    @property
    def overrides(self) -> list[str]:
        """Texts that make this network of the configuration with gates, for the command line."""
        value = getattr(self.model, self.key)
        written = value if isinstance(value, int) else list(value)
        return ["model.attention.preset=null", "model.attention.type=none", f"model.{self.key}={written}"]

    @property
    def says(self) -> str:
        """What it is, in words."""
        widths = self.overrides[-1].partition("=")[2]
        what = "width" if self.key == "width" else "a wider decoder,"
        off = self.parameters - self.target
        near = f"{off:+,} ({off / self.target:+.3%})" if off else "as many"
        return f"no gates, {what} {widths}: {self.parameters:,} parameters, {near} against those with gates"


def matched_decoder(
    model: ModelConfig, in_channels: int = 3, num_classes: int = 2, task: Task = "multiclass"
) -> Matched:
    """Find the network without gates whose wider decoder has as many parameters as the gates add.

    All stages of the decoder grow alike, in proportion to their channels; what is left goes to single stages, the
    widest first, and no stage is narrower than before. `classic_unet` has one number for all its channels, `width`, so
    that its encoder grows too and it comes as near as one channel allows. Parameters of the heads of deep supervision,
    which do not predict, are not counted.

    Args:
        model: a network with gates.
        in_channels: channels of the image.
        num_classes: classes with the background.
        task: as for `build_model`.

    Raises:
        ConfigError: there are no gates; one channel more is further off than the network without gates; the
            architecture's decoder has no widths to choose; or its weights come from a file that fits one width only.

    Example:
        >>> gated = ModelConfig(attention={"type": "scse"})
        >>> matched_decoder(gated).model.decoder_channels
        (261, 131, 65, 33, 17)
    """
    _check(model)
    base = _widths(model)

    @cache
    def count(widths: Widths) -> int:
        return _host_parameters(_plain(model, widths), in_channels, output_channels(num_classes, task))

    with torch.random.fork_rng(devices=[]):
        gated = build_model(model.without_weights(), in_channels, num_classes, task)
    target = int(describe_model(gated)["parameters"])
    widths = _nearest(count, base, target)
    if widths == base:
        step = min(count(_one_more(base, stage)) for stage in range(len(base))) - count(base)
        raise ConfigError(
            f"gates of type {model.attention.type} add {target - count(base):,} parameters to {count(base):,}, and one "
            f"channel more adds {step:,}: no wider network is nearer in size than the one without gates. Leave this "
            "control out."
        )
    return Matched(_plain(model, widths), count(widths), target)


def _check(model: ModelConfig) -> None:
    """Refuse what has no wider counterpart, before anything is built."""
    if model.attention.type == "none":
        raise ConfigError("model.attention.type = none: without gates there are no parameters to match.")
    if model.weights is not None:
        raise ConfigError(
            f"model.weights = {model.weights!r} holds the whole network, and a wider decoder cannot start from it: set "
            "model.weights = null (model.encoder_weights can stay), or leave this control out."
        )


def _default(architecture: str) -> Widths | None:
    """Return the widths that an architecture has by default; None where they cannot be chosen."""
    if architecture == "classic_unet":
        return (inspect.signature(ClassicUNet).parameters["width"].default,)
    factory = smp.MODEL_ARCHITECTURES_MAPPING[architecture]
    parameter = inspect.signature(factory.__init__).parameters.get("decoder_channels")
    if parameter is None:
        return None
    return (parameter.default,) if isinstance(parameter.default, int) else tuple(parameter.default)


def _widths(model: ModelConfig) -> Widths:
    """Return the widths of a network's decoder, or the classic U-Net's one width."""
    given = model.decoder_channels if model.width is None else (model.width,)
    widths = given or _default(model.architecture)
    if widths is None:
        able = [name for name in (*smp.MODEL_ARCHITECTURES_MAPPING, "classic_unet") if _default(name)]
        raise ConfigError(
            f"model.architecture = {model.architecture}: the widths of its decoder cannot be chosen, so that none is "
            f"as large as the network with gates. They can in: {', '.join(able)}. Or leave this control out."
        )
    return widths


def _plain(model: ModelConfig, widths: Widths) -> ModelConfig:
    """Return a network without gates, of these widths."""
    size = {"width": widths[0]} if model.architecture == "classic_unet" else {"decoder_channels": widths}
    return model.model_copy(update={**size, "attention": AttentionConfig()})


def _host_parameters(model: ModelConfig, in_channels: int, channels: int) -> int:
    """Count the parameters of a network without gates; torch's random state stays as it is."""
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):  # no memory, no random weights
                built = build_host(model.without_weights(), in_channels, channels)
        except ConfigError:  # some encoders compute while they are built
            built = build_host(model.without_weights(), in_channels, channels)
    return sum(parameter.numel() for parameter in built.parameters())


def _nearest(count: Callable[[Widths], int], base: Widths, target: int) -> Widths:
    """Return the widths, none below `base`, whose network has the number of parameters nearest to `target`."""
    low, high = 0, 1
    while count(_alike(base, high)) <= target:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(_alike(base, middle)) <= target else (low, middle)
    widths = _alike(base, low)
    for stage in sorted(range(len(base)), key=lambda stage: -base[stage]):
        while count(_one_more(widths, stage)) <= target:
            widths = _one_more(widths, stage)
    last = [_one_more(widths, stage) for stage in range(len(base))]
    return min([widths, *last], key=lambda one: abs(count(one) - target))


def _alike(base: Widths, channels: int) -> Widths:
    """Widen all stages in proportion, the widest by a number of channels."""
    return tuple(width + width * channels // max(base) for width in base)


def _one_more(widths: Widths, stage: int) -> Widths:
    return (*widths[:stage], widths[stage] + 1, *widths[stage + 1 :])
