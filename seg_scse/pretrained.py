"""A trained network with what must be known to use it on images."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from seg_scse.config.schema import Config
from seg_scse.data.files.raster import Array
from seg_scse.data.names import shown
from seg_scse.data.scaling import from_state, of_type
from seg_scse.data.single import find_file, read_scaled
from seg_scse.data.standardize import Standardizer
from seg_scse.errors import DataError
from seg_scse.inference.device import choose_precision
from seg_scse.inference.predictor import Predictor


@dataclass(frozen=True)
class Pretrained:
    """A trained network with what must be known to use it; made by `hub.from_pretrained`.

    Attributes:
        model: the network on the CPU, in evaluation mode: standardised images (N, C, H, W) to logits. Predictions are
            made where it is: `model.to("cuda")` moves both.
        config: its sections `model` and `data` (as far as they describe images and classes), the size of tiles in
            `trainer.crop`, and how they are put together in `evaluation`.
        mean: of each channel of the training images, scaled to [0, 1].
        std: likewise.
        scale: lowest and highest value of each band that become 0 and 1; None where the type or the file tells.
        facts: all of `config.json`.
    """

    model: nn.Module
    config: Config
    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: Mapping[str, Any] | None
    facts: Mapping[str, Any]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in index order; the first is the background."""
        return self.config.data.classes

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the channels that the network sees, in order."""
        return self.config.data.band_names

    def probabilities(self, image: str | Path | Array) -> Tensor:
        """Predict an image of any size, in overlapping tiles of the size that the network was trained with.

        Args:
            image: a file, `FILE:12` for slice 12 of a volume; or pixels (H, W, C), or (H, W) for one band, in the units
                of the files it was trained with, one channel for each of `bands`.

        Returns:
            float32 on the network's device: (1, H, W) of the second of two classes, (K, H, W), or (K - 1, H, W) of each
            label of a multilabel network.

        Raises:
            DataError: the file cannot be read as declared, or the pixels are not those of such a file.
        """
        return self._predictor().probabilities(self._scaled(image))

    def predict(self, image: str | Path | Array) -> NDArray[np.uint8]:
        """Predict the classes of an image, as `probabilities`.

        Returns:
            uint8 (H, W) class indices; of a multilabel network bit k - 1 is set where class k is.

        Raises:
            DataError: as `probabilities`.
        """
        predictor = self._predictor()
        return predictor.labels(predictor.probabilities(self._scaled(image)))

    def _predictor(self) -> Predictor:
        device = next(self.model.parameters()).device
        precision = choose_precision(self.config.trainer, device)
        return Predictor.from_config(
            self.config, self.model, Standardizer(self.mean, self.std).to(device), device, precision
        )

    def _scaled(self, image: str | Path | Array) -> Array:
        """Pixels (H, W, C), uint8 or float32 in [0, 1], as training saw them."""
        if not isinstance(image, str | Path):
            return self._scaled_pixels(np.asarray(image))
        found = find_file(str(image))
        if found is None:
            raise DataError(f"{shown(str(image))}: no such file.")
        return read_scaled(found[0], self.config.data, self.scale, found[1])

    def _scaled_pixels(self, pixels: Array) -> Array:
        pixels = pixels[..., None] if pixels.ndim == 2 and len(self.bands) == 1 else pixels
        if pixels.ndim != 3 or pixels.shape[2] != len(self.bands):
            raise DataError(
                f"an image of shape {pixels.shape}, but the network sees (H, W, {len(self.bands)}): "
                f"{', '.join(self.bands)}, in this order along the last axis."
            )
        if self.scale is not None:
            scaling = from_state(self.scale)
        elif self.config.data.scale.method != "dtype":
            raise DataError("the network scales each file by its own values: name the file instead of its pixels.")
        else:
            _require_range(pixels)
            scaling = None if pixels.dtype == np.uint8 else of_type(str(pixels.dtype), len(self.bands))
        return pixels if scaling is None else scaling.apply(pixels)


def _require_range(pixels: Array) -> None:
    if of_type(str(pixels.dtype), 1) is None:
        raise DataError(f"pixels of type {pixels.dtype}: give uint8, uint16, uint32, or float32 in [0, 1].")
    if pixels.dtype == np.float32 and not (pixels.min(initial=0) >= 0 and pixels.max(initial=1) <= 1):
        raise DataError(f"float32 pixels from {pixels.min():g} to {pixels.max():g}: they must be in [0, 1].")
