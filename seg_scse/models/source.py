"""A trained network that another one starts from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from seg_scse.config.schema import ModelConfig, ScaleConfig
from seg_scse.errors import ConfigError

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of each channel, scaled to [0, 1]."""

Limits = Mapping[str, Sequence[float]]
"""Values of each channel, `low` and `high`, that become 0 and 1."""


@dataclass(frozen=True)
class Source:
    """Weights, and what is known about the network that they are of.

    Attributes:
        name: how the user called it.
        state: tensors by name, on the CPU.
        model: the network, where its file says so.
        classes: names of its classes with the background, where known.
        bands: names of the channels it sees, where known.
        mean: of each of these channels in its training, scaled to [0, 1], where known.
        std: likewise.
        scale: how its images were scaled to [0, 1], where known.
        limits: the values that were scaled to 0 and 1; None where each image, or its type, tells by itself.
        crop: side of its training crops in pixels, where known.
        file: the file of the weights, where there is one.
        sha256: of this file.
    """

    name: str
    state: Mapping[str, Tensor]
    model: ModelConfig | None = None
    classes: tuple[str, ...] | None = None
    bands: tuple[str, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    scale: ScaleConfig | None = None
    limits: Limits | None = None
    crop: int | None = None
    file: str | None = None
    sha256: str | None = None

    def statistics(self, bands: tuple[str, ...]) -> Statistics:
        """Return the source's mean and standard deviation of the named channels, for `finetune.statistics: source`.

        Raises:
            ConfigError: the source does not know them for all of these channels.
        """
        cure = "Set finetune.statistics=data, which takes them from the training images."
        if self.bands is None or self.mean is None or self.std is None:
            raise ConfigError(f"`finetune.statistics` = source: {self.name} holds weights only, no statistics. {cure}")
        missing = [band for band in bands if band not in self.bands]
        if missing:
            raise ConfigError(
                f"`finetune.statistics` = source: {self.name} was trained on {', '.join(self.bands)}, and not on "
                f"{', '.join(missing)}. {cure}"
            )
        places = [self.bands.index(band) for band in bands]
        return tuple(self.mean[place] for place in places), tuple(self.std[place] for place in places)

    def limits_of(self, bands: tuple[str, ...]) -> dict[str, list[float]] | None:
        """Return `limits` of the named channels, which must be among `bands`."""
        if self.limits is None or self.bands is None:
            return None
        places = [self.bands.index(band) for band in bands]
        return {key: [self.limits[key][place] for place in places] for key in ("low", "high")}
