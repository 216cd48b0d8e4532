"""Facts of a model card: what the network sees, and what its evaluation says against it."""

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from seg_scse.config.schema import Config
from seg_scse.report.measured import cautions
from seg_scse.report.reading import Results, read_columns
from seg_scse.report.training_facts import Fact
from seg_scse.report.wording import count

_POOR = 0.5
"""Foreground Dice of an image below which more is wrong than right."""


def what_it_sees(config: Config, facts: Mapping[str, Any]) -> list[Fact]:
    """Bands, scale and standardisation of the images, as (term, words)."""
    bands, scale = config.data.band_names, facts["scale"]
    numbers = zip(bands, facts["mean"], facts["std"], strict=True)
    return [
        ("Bands, in order", ", ".join(bands)),
        ("Values", _scale(config) if scale is None else _ranges(bands, scale)),
        (
            "Standardisation (mean, deviation)",
            "; ".join(f"{name} {mean:.4g}, {std:.4g}" for name, mean, std in numbers),
        ),
        (
            "Size",
            f"any; predicted in tiles of {facts['tile']} x {facts['tile']} px that overlap by {facts['overlap']:.0%}",
        ),
    ]


def _scale(config: Config) -> str:
    if config.data.scale.method == "dtype":
        return "the range of the file's type becomes 0 to 1: 0 to 255 of 8 bits"
    return f"{config.data.scale.method} of each file becomes 0 to 1"


def _ranges(bands: tuple[str, ...], scale: Mapping[str, Any]) -> str:
    ranges = zip(bands, scale["low"], scale["high"], strict=True)
    return "; ".join(f"{name} {low:.6g} to {high:.6g}" for name, low, high in ranges) + " become 0 to 1"


def limitations(results: Results, facts: Mapping[str, Any], folder: Path) -> list[str]:
    """Sentences on what the evaluation says against relying on the network.

    Args:
        results: the evaluation.
        facts: what `config.json` says about the network.
        folder: of the evaluation, for the scores of single images.

    Raises:
        DataError: the table of the images is damaged.
    """
    return [*cautions(results), _worst(folder), *_cases(results), *_size(results), *_protocol(results, facts)]


def _worst(folder: Path) -> str:
    column = read_columns(folder / "per_image.csv", ("dice_foreground",))["dice_foreground"]
    scores = [value for value in column if value is not None]
    if not scores:
        return "No image has a foreground Dice."
    poor = sum(value < _POOR for value in scores)
    return (
        f"{poor} of {count(len(scores), 'image')} {'has' if poor == 1 else 'have'} a foreground Dice below {_POOR}; "
        f"the lowest is {min(scores):.4f}, the median {median(scores):.4f}."
    )


def _cases(results: Results) -> list[str]:
    """What happened to each class where truth or prediction has none of it."""
    found = []
    for name in results.foreground:
        cases = results.cases[name]
        told = [
            (cases.missed, "hold it and it was missed altogether"),
            (cases.false, "do not hold it and it was predicted"),
            (cases.empty, "have it in neither truth nor prediction"),
        ]
        words = "; ".join(f"{number} of {results.images} images {what}" for number, what in told if number)
        if words:
            found.append(f"{name}: {words}.")
    return found


def _size(results: Results) -> list[str]:
    bootstrap, interval = results.bootstrap, results.interval("dice_per_image")
    if bootstrap is None or interval is None:
        return [f"No interval: how the scores would vary over others than these {results.images} images is unknown."]
    return [
        f"With {count(bootstrap.n, bootstrap.unit)} scored, the {bootstrap.level:.0%} interval of the foreground Dice "
        f"per image is {interval[0]:.3f} to {interval[1]:.3f}. It says nothing about images of another origin."
    ]


def _protocol(results: Results, facts: Mapping[str, Any]) -> list[str]:
    """What was done in the evaluation and is not done by `predict`."""
    protocol, found = results.protocol, []
    if protocol.threshold is not None and protocol.threshold != facts["threshold"]:
        found.append(
            f"Scored at the threshold {protocol.threshold:g} ({protocol.threshold_from}); predict uses "
            f"{facts['threshold']:g}."
        )
    if protocol.tta != "none":
        found.append(f"Scored with test-time augmentation ({protocol.tta}); predict uses none.")
    if protocol.scales != (1.0,):
        sizes = ", ".join(f"{scale:g}" for scale in protocol.scales or ())
        found.append(f"Scored as the mean over tiles at {sizes} times their size; predict uses one size.")
    return found
