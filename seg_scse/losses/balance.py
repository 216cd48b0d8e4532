"""Class weights from how often each class occurs in the training masks."""

import math
from collections.abc import Sequence
from typing import Literal

from seg_scse.errors import ConfigError

Method = Literal["none", "inverse", "sqrt_inverse", "effective"]


def class_weights(pixels: Sequence[int], method: Method) -> tuple[float, ...]:
    """Return one weight per class for `loss.class_balance`.

    `inverse`: 1 / n for the n pixels of a class. `sqrt_inverse`: 1 / sqrt(n). `effective`: 1 / E(n) with the effective
    number E(n) = (1 - beta^n) / (1 - beta) of Cui et al. 2019, arXiv 1901.05555, equation 2, where beta = (N - 1) / N.
    They leave N open; here it is the mean number of pixels of a class that occurs. So weights do not depend on the size
    of the data set, rare classes have nearly 1 / n, and classes above the mean differ little. The paper's 0.9999 is for
    images: of pixels, it would give all classes above some fifty thousand the same weight.

    The weights are scaled so that their mean over the pixels, sum(n w) / sum(n), is 1: the loss keeps its size beside
    the other terms. A class without a pixel has the weight 0, because none of these formulas gives it one; in training
    it is never asked for, and in validation such a pixel is left out of ce and focal rather than weighed by a guess.

    Args:
        pixels: valid training pixels of each class; of a multilabel task, `answer_counts` of them.
        method: as in the configuration; `none`: all 1.

    Raises:
        ConfigError: no class has a pixel.
    """
    if method == "none":
        return (1.0,) * len(pixels)
    present = [n for n in pixels if n > 0]
    if not present:
        raise ConfigError(f"loss.class_balance={method}: the training masks hold no pixel of a class.")
    mean = max(sum(present) / len(present), 2.0)  # N = 1 would make beta 0 and its logarithm infinite
    raw = [_weight(n, method, mean) if n > 0 else 0.0 for n in pixels]
    scale = sum(pixels) / math.fsum(n * weight for n, weight in zip(pixels, raw, strict=True))
    return tuple(scale * weight for weight in raw)


def answer_counts(pixels: Sequence[int], valid: int) -> tuple[int, ...]:
    """Return what `class_weights` needs of a multilabel task: answers by the class whose weight they have.

    Args:
        pixels: pixels of each class as masks count them: those with no label first, then those with each label.
        valid: pixels that are not ignored.

    Returns:
        How often a label is absent, over all labels, and how often each label is there.
    """
    labels = tuple(pixels[1:])
    return (valid * len(labels) - sum(labels), *labels)


def weights_text(names: Sequence[str], weights: Sequence[float], method: Method) -> str:
    """Return the line that a run prints: each class with its weight, and those that have none.

    Args:
        names: classes, the background first.
        weights: of `class_weights`.
        method: by which they were found.
    """
    pairs = ", ".join(f"{name} {weight:.4g}" for name, weight in zip(names, weights, strict=True))
    absent = ", ".join(name for name, weight in zip(names, weights, strict=True) if weight == 0.0)
    note = f" (no pixel of {absent} in the training masks: ce and focal leave it out)" if absent else ""
    return f"loss.class_balance={method}: weights {pairs}{note}"


def _weight(n: int, method: Method, mean: float) -> float:
    if method == "inverse":
        return 1.0 / n
    if method == "sqrt_inverse":
        return 1.0 / math.sqrt(n)
    # (1 - beta) / (1 - beta^n) with beta = 1 - 1 / N, without the loss of digits of 1 - beta^n for rare classes.
    return (1.0 / mean) / -math.expm1(n * math.log1p(-1.0 / mean))
