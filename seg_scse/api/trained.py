"""One or several trained networks, made ready to predict images."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from seg_scse.api.images import Image, image_item, opened
from seg_scse.config.schema import Config
from seg_scse.inference.device import choose_precision
from seg_scse.inference.predictor import Network, Predictor
from seg_scse.prediction.inputs.left_out import require_other_file
from seg_scse.prediction.inputs.opening import Reading
from seg_scse.prediction.predicting import Predicting, make_ready
from seg_scse.prediction.settings import Choices
from seg_scse.prediction.writing.rasters import NODATA, probability_names, write_label_map


class Trained:
    """A trained network, or several that predict together; made by `seg_scse.load`.

    Attributes:
        name: of the run or runs.
        reading: how images are read and scaled.
    """

    def __init__(self, name: str, network: Network, reading: Reading) -> None:
        self.name = name
        self.reading = reading
        self._network = network

    @property
    def network(self) -> Network:
        """What predicts; the modules are `network.members[0].model` and so on."""
        return self._network

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in index order; the first is the background."""
        return self.reading.config.classes

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the channels of an image, in order."""
        return self.reading.config.band_names

    @property
    def planes(self) -> tuple[str, ...]:
        """The class of each plane of `predict_probabilities`.

        Of two classes the second alone, since the first has the rest; of a multilabel network each after the first.
        """
        return probability_names(self.classes, self.reading.config.task)

    def predict(self, image: Image) -> NDArray[np.uint8]:
        """Predict the class of each pixel of an image of any size.

        Tiles of the size of the training crops overlap and are blended, as in the evaluation of the run. A file that
        can be read by windows is; memory holds one row of tiles of the scene and the labels.

        Args:
            image: a file that training could read, `FILE:12` for slice 12 of a volume; or pixels (H, W, C), or (H, W)
                for one band, one channel for each of `bands`, in the units of those files: uint8 as it is, others are
                scaled as in training.

        Returns:
            uint8 (H, W) class indices; of a multilabel network bit k - 1 is set where class k is.

        Raises:
            DataError: the file cannot be read as declared, or the pixels are not those of such a file.
        """
        network = self.network
        with opened(image, self.reading) as pixels:
            labels = np.empty(pixels.shape[:2], np.uint8)
            for strip in network.strips(pixels):
                labels[strip.rows] = network.labels(strip.probabilities)
        return labels

    def predict_probabilities(self, image: Image) -> NDArray[np.float32]:
        """Predict the probability of each class at each pixel, as `predict` does.

        Returns:
            float32 (len(planes), H, W), one plane in [0, 1] for each name of `planes`. `predict` gives the highest; of
            two classes and of a multilabel network those above `network.threshold`.

        Raises:
            DataError: as `predict`.
        """
        with opened(image, self.reading) as pixels:
            found: NDArray[np.float32] = self.network.probabilities(pixels).cpu().numpy()
        return found

    def predict_file(self, image: str | Path, out: str | Path) -> Path:
        """Predict an image file into a label map on the disk, as `seg-scse predict FILE --output OUT` does.

        A scene may be larger than the memory. Tiles without data are skipped; pixels without data are 255.

        Args:
            image: a file that training could read, but no volume.
            out: `.tif`: GeoTIFF with the coordinate system, transform and size of the image, overviews and colours;
                `.png`: class indices with a palette. Replaced where it exists; complete or absent.

        Returns:
            `out`.

        Raises:
            DataError: the file is not there, cannot be read as declared, or is a volume.
            ConfigError: another suffix, or `out` is the image itself.
            WriteError: it cannot be written, or the disk is full.
        """
        predicting, data = Predicting(self.network, Choices(), passes=1), self.reading.config
        item = image_item(image)
        require_other_file(Path(out), item.files)
        ready = make_ready(item, self.reading, predicting.whole)
        with ready.opened:
            labels = (part["labels"] for part in predicting.strips(ready))
            (height, width), place = ready.image.shape[:2], ready.image.place
            write_label_map(
                Path(out), labels, (height, width), place, classes=data.classes, task=data.task, nodata=NODATA
            )
        return Path(out)

    def __repr__(self) -> str:
        """Name, classes, bands and device in one line; the modules themselves would fill the screen."""
        count, tile = len(self.network.members), self.network.members[0].tile
        several = f"{count} networks, " if count > 1 else ""
        return (
            f"<{type(self).__name__} {self.name}: {several}classes {', '.join(self.classes)}; bands "
            f"{', '.join(self.bands)}; tiles of {tile} px on {self.network.device}>"
        )


class Pretrained(Trained):
    """A network of a shared folder, with the parts at hand for work with torch; made by `seg_scse.from_pretrained`.

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

    def __init__(self, config: Config, predictor: Predictor, facts: Mapping[str, Any]) -> None:
        super().__init__(config.name, predictor, Reading(config.data, facts["scale"]))
        self._predictor = predictor
        self.model: nn.Module = predictor.model
        self.config = config
        self.mean, self.std = tuple(facts["mean"]), tuple(facts["std"])
        self.scale: Mapping[str, Any] | None = facts["scale"]
        self.facts = facts

    @property
    def network(self) -> Predictor:
        """What predicts, where the model is now."""
        device = next(self.model.parameters()).device
        standardize = self._predictor.standardize.to(device)
        precision = choose_precision(self.config.trainer, device)
        return replace(self._predictor, standardize=standardize, device=device, precision=precision)

    def probabilities(self, image: Image) -> Tensor:
        """Predict as `predict_probabilities`, into a tensor on the device of the model."""
        with opened(image, self.reading) as pixels:
            return self.network.probabilities(pixels)
