"""The probability above which a class is predicted: given, or chosen on the validation split before scoring."""

from seg_scse.config.schema import Config, DataConfig
from seg_scse.data.prepare import PreparedData
from seg_scse.errors import ConfigError
from seg_scse.evaluation.histograms import table_of
from seg_scse.evaluation.loaded import has_threshold
from seg_scse.evaluation.measuring import PROBABILITIES, histogram_measure
from seg_scse.inference.predictor import Network
from seg_scse.inference.scoring import score_split
from seg_scse.inference.sources import NetworkSource
from seg_scse.metrics.probabilities import best_threshold

TUNED = "tune:val"
"""What asks for a threshold chosen on the validation split."""

CRITERION = "dice_per_image"


def require_threshold(threshold: float | str | None, data: DataConfig, split: str) -> None:
    """Refuse a threshold without meaning, or one that would be chosen on the images that are scored with it.

    Raises:
        ConfigError: several classes of which a pixel has one; or tuning for another split than test.
    """
    if threshold is None:
        return
    if not has_threshold(data):
        raise ConfigError(
            f"--threshold {threshold}: of {len(data.classes)} classes ({', '.join(data.classes)}) the most probable "
            "one is predicted, without a threshold. Leave it out."
        )
    if threshold == TUNED and split != "test":
        what = "chosen on the images that are scored" if split == "val" else "chosen on images the network never saw"
        raise ConfigError(f"--threshold {TUNED} with --split {split}: it would be {what}. Score the test split.")


def with_threshold(
    network: Network, config: Config, data: PreparedData, threshold: float | str | None
) -> tuple[Network, Config, str | None]:
    """Set the threshold that was asked for.

    Args:
        network: with the threshold of the configuration.
        config: the configuration it is scored by.
        data: the samples; `tune:val` predicts those of the validation split.
        threshold: a number, `tune:val`, or None for that of the configuration.

    Returns:
        the network, the configuration with the threshold, and where it is from; None where there is none.

    Raises:
        DataError: there are no validation images.
    """
    if not has_threshold(data.config):
        return network, config, None
    if threshold is None:
        return network, config, "configuration"
    chosen, origin = (threshold, "option") if isinstance(threshold, float) else _tuned(network, config, data)
    settings = config.evaluation.model_copy(update={"threshold": chosen})
    return network.with_threshold(chosen), config.model_copy(update={"evaluation": settings}), origin


def _tuned(network: Network, config: Config, data: PreparedData) -> tuple[float, str]:
    """The threshold with the highest mean Dice of the foreground over the validation images, and how it was found."""
    indices = data.require("val", "A threshold is tuned on it: give a number instead.")
    classes, task = data.config.classes, data.config.task
    measures = {PROBABILITIES: histogram_measure(len(classes), task)}
    found = score_split(NetworkSource(network, data.store), data, indices, measures, "val images, for the threshold")
    table = table_of(found[PROBABILITIES], list(found[PROBABILITIES]), classes, task)
    threshold, reached = best_threshold(table, CRITERION, config.evaluation.empty)
    return threshold, f"val: {CRITERION} = {reached:.4f}, n = {len(indices)}"
