"""Several networks that predict together: the mean of their probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from seg_scse.data.lazy import ArrayLike
from seg_scse.data.scaling import Scaled, Scaling
from seg_scse.data.standardize import Standardizer
from seg_scse.errors import ConfigError
from seg_scse.inference.labelling import Label, decide
from seg_scse.inference.predictor import Predictor


@dataclass(frozen=True)
class Ensemble:
    """Averages the probabilities of networks, each applied by its own tiles to images standardised in its own way.

    Attributes:
        members: the networks, with the same classes, bands, threshold and device.
        scalings: for each member the scaling over the training split that its checkpoint keeps, None where each file
            tells by itself. Images come scaled for the first member; others see them in their own scale.

    Raises:
        ConfigError: fewer than two members, or they cannot predict together.
    """

    members: tuple[Predictor, ...]
    scalings: Sequence[Scaling | None] = ()

    def __post_init__(self) -> None:
        if len(self.members) < 2:
            raise ConfigError(f"an ensemble of {len(self.members)}: name at least two networks.")
        for name, values in self._facts().items():
            if len(set(values)) > 1:
                raise ConfigError(
                    f"these networks cannot predict together: {name} = {', '.join(map(str, values))}. Name networks "
                    "trained for the same task on the same kind of images; one threshold for all is set by "
                    "evaluation.threshold=0.5."
                )

    def _facts(self) -> dict[str, list[object]]:
        """What all members must have in common, with the value of each."""
        standardizers = [member.standardize for member in self.members]
        return {
            "number of bands": [each.mean.numel() for each in standardizers if isinstance(each, Standardizer)],
            "multilabel": [member.multilabel for member in self.members],
            "threshold": [member.threshold for member in self.members],
            "device": [str(member.device) for member in self.members],
            "scaling measured over the training images": [scaling is not None for scaling in self.scalings],
        }

    @property
    def threshold(self) -> float:
        """Two classes, and each class of multilabel: present above this mean probability."""
        return self.members[0].threshold

    @property
    def multilabel(self) -> bool:
        """Whether a pixel may have several classes."""
        return self.members[0].multilabel

    @property
    def device(self) -> torch.device:
        """Where all members are."""
        return self.members[0].device

    def with_threshold(self, threshold: float) -> Self:
        """The same networks with another threshold in (0, 1)."""
        return replace(self, members=tuple(member.with_threshold(threshold) for member in self.members))

    def probabilities(self, image: ArrayLike) -> Tensor:
        """Map an image to the members' mean class probabilities.

        Args:
            image: (H, W, C), uint8 or float32 in [0, 1], as the store that was scaled for the first member gives it.

        Returns:
            float32 (K', H, W) on the device, as `Predictor.probabilities`.

        Raises:
            ConfigError: the members have different numbers of classes.
        """
        total = self.members[0].probabilities(image).clone()
        for number, member in enumerate(self.members[1:], start=1):
            found = member.probabilities(self._scaled(image, number))
            if found.shape != total.shape:
                raise ConfigError(
                    f"network {number + 1} of the ensemble gives {len(found)} probabilities per pixel, the first "
                    f"{len(total)}: name networks trained for the same classes."
                )
            total += found
        return total.div_(len(self.members))

    def _scaled(self, image: ArrayLike, number: int) -> ArrayLike:
        scaling = self.scalings[number] if self.scalings else None
        return image if scaling is None or not isinstance(image, Scaled) else Scaled(image.pixels, scaling)

    def labels(self, probabilities: Tensor) -> Label:
        """Map (K', H, W) probabilities to uint8 (H, W) class indices, or bits of a multilabel task."""
        return decide(probabilities, self.threshold, self.multilabel).labels
