"""What a network to start from was given as its input, beside what it is given in the new run."""

from collections.abc import Sequence

import yaml

from seg_scse.config.schema import Config, ScaleConfig
from seg_scse.errors import ConfigError
from seg_scse.models.source import Limits, Source, Statistics


def choose_statistics(source: Source, config: Config, measured: Statistics, limits: Limits | None) -> Statistics:
    """Return mean and standard deviation of the channels for the new run, as `finetune.statistics` asks.

    Args:
        source: the network that the run starts from.
        config: of the new run.
        measured: those of its training images.
        limits: the values that it scales to 0 and 1; None where each image, or its type, tells by itself.

    Raises:
        ConfigError: the source's are asked for, but it has none, none of these channels, or those of pixels that were
            scaled in another way, which would mean something else here.
    """
    if config.finetune.statistics == "data":
        return measured
    bands = config.data.band_names
    chosen = source.statistics(bands)
    there = source.limits_of(bands)
    if there != _plain(limits) or (limits is None and source.scale != config.data.scale):
        raise ConfigError(
            f"`finetune.statistics` = source: {source.name} has them of pixels that were scaled to [0, 1] in another "
            f"way. Set {_as_there(source.scale, there, config.data.scale)}, as there, or finetune.statistics=data, "
            "which takes them from the training images."
        )
    return chosen


def input_notes(source: Source, config: Config, used: Statistics, limits: Limits | None) -> list[str]:
    """Say how the network's input differs from that in the source's training, as far as the source tells.

    Args:
        source: the network that the run starts from.
        config: of the new run.
        used: mean and standard deviation of its channels.
        limits: the values that it scales to 0 and 1; None where each image, or its type, tells by itself.
    """
    if source.bands is None or source.mean is None or source.std is None:
        return []
    scales = _scale_text(config.data.scale, limits), _scale_text(source.scale, source.limits)
    pairs = {
        "mean": (_numbers(used[0]), _numbers(source.mean)),
        "std": (_numbers(used[1]), _numbers(source.std)),
        "data.scale": scales,
        "trainer.crop": (str(config.trainer.crop), str(source.crop or config.trainer.crop)),
    }
    return [f"{name}: {here}; in the source {there}" for name, (here, there) in pairs.items() if here != there]


def _as_there(scale: ScaleConfig | None, limits: Limits | None, here: ScaleConfig) -> str:
    """Return what is to be overridden on the command line for the scaling of the source."""
    there, own = _declared(scale, limits).model_dump(mode="json"), here.model_dump(mode="json")
    return " ".join(f"'data.scale.{key}={_yaml(value)}'" for key, value in there.items() if value != own[key])


def _scale_text(scale: ScaleConfig | None, limits: Limits | None) -> str:
    """Return `data.scale` as it can be written in a configuration."""
    declared = _declared(scale, limits)
    return _yaml({"method": declared.method, **declared.model_dump(mode="json", exclude_defaults=True)})


def _declared(scale: ScaleConfig | None, limits: Limits | None) -> ScaleConfig:
    """Return a scaling of which nothing is measured over a data set."""
    if limits is None:
        return scale or ScaleConfig()
    return ScaleConfig(method="range", low=tuple(limits["low"]), high=tuple(limits["high"]))


def _yaml(value: object) -> str:
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000).split("\n")[0]


def _plain(limits: Limits | None) -> dict[str, list[float]] | None:
    return None if limits is None else {key: list(limits[key]) for key in ("low", "high")}


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)
