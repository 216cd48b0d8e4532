"""The network of a checkpoint without what only training needs."""

from collections.abc import Mapping

from torch import Tensor, nn

from seg_scse import checkpoint
from seg_scse.config.schema import ModelConfig
from seg_scse.evaluation.loaded import Loaded
from seg_scse.models import build_model
from seg_scse.models.supervision import PREFIX


def plain_config(loaded: Loaded) -> ModelConfig:
    """The network of a checkpoint without the heads of deep supervision, on which no prediction depends."""
    return loaded.config.model.without_weights().model_copy(update={"deep_supervision": 0})


def plain_weights(loaded: Loaded) -> dict[str, Tensor]:
    """The weights of that network."""
    return {key: value for key, value in loaded.state["model"].items() if not key.startswith(f"{PREFIX}.")}


def plain_network(loaded: Loaded, weights: Mapping[str, Tensor] | None = None) -> nn.Module:
    """Build that network on the CPU, in evaluation mode.

    Args:
        loaded: the checkpoint.
        weights: other weights than those of the checkpoint, by the same names.

    Raises:
        CheckpointError: the weights are those of another network.
    """
    config = loaded.config
    bands, classes = len(loaded.state["mean"]), len(config.data.classes)
    model = build_model(plain_config(loaded), bands, classes, config.data.task)
    found = plain_weights(loaded) if weights is None else dict(weights)
    checkpoint.load_weights(model, {"model": found}, loaded.file)
    return model.eval()
