"""Finding a learning rate: train with a rate that rises by a factor at each step, and look where the loss falls.

Smith 2017 (arXiv 1506.01186, section 3.3) as in fastai's `lr_find`: an exponential ramp, a loss smoothed by an
exponential average with corrected beginning, a stop where it is four times its lowest value.
"""

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

from tqdm import tqdm

from seg_scse.config.schema import AveragingConfig, Config
from seg_scse.data.dataset import Batch
from seg_scse.data.prepare import prepare_data
from seg_scse.errors import DivergedError
from seg_scse.inference.device import choose_device
from seg_scse.training.batch_size import resolve_batch_size
from seg_scse.training.building import build_trainer
from seg_scse.training.loop import Trainer
from seg_scse.training.optim import Schedule

LOWEST, HIGHEST = 1e-7, 10.0
"""Learning rates of the first and the last step."""

SMOOTHING = 0.98
"""Share of the smoothed loss that stays at each step."""

DIVERGED = 4.0
"""The search stops where the smoothed loss is this many times its lowest value."""

FEWEST = 20
"""Steps with which a search makes sense."""

_CUT = 5  # points before the stop that are left out: the loss rises there already


@dataclass(frozen=True)
class Point:
    """A step of the search: its learning rate, its loss, and the smoothed loss after it."""

    step: int
    lr: float
    loss: float
    smoothed: float


@dataclass(frozen=True)
class Finding:
    """What a search saw, and what it suggests.

    Attributes:
        steps: optimizer steps that it was to do.
        points: all steps with a finite loss.
        reason: why the search ended, in words.
        valley: rate in the longest fall of the loss, see `valley`; None where the loss did not fall.
        tenth: a tenth of the rate with the lowest smoothed loss; None where the loss did not fall.
    """

    steps: int
    points: tuple[Point, ...]
    reason: str
    valley: float | None
    tenth: float | None


class Ramp(Schedule):
    """A learning rate that rises from `LOWEST` to `HIGHEST`, by the same factor at each of `total_steps` steps."""

    def rate(self, step: int) -> float:
        """Return the learning rate of step `step`, counted from 0."""
        return LOWEST * math.pow(HIGHEST / LOWEST, step / (self.total_steps - 1))


def find_rate(config: Config, steps: int) -> Finding:
    """Train the network of a configuration for some steps with a rising rate, and forget it.

    Batches, loss, precision, clipping and the factors of parts are those of the training; weights are not averaged and
    nothing is compiled, which has no influence on the loss. No run folder is made.

    Args:
        config: the configuration of the run that a rate is wanted for.
        steps: optimizer steps, at least `FEWEST`.

    Raises:
        SegScseError: as a training would before its first step.
        DivergedError: the loss is not finite at the lowest rate.
    """
    data, device = prepare_data(config.data), choose_device(config.trainer)
    config, _ = resolve_batch_size(config.model_copy(update={"data": data.config}), data, device)
    trainer = config.trainer.model_copy(update={"compile": "none", "panel": 0})
    config = config.model_copy(update={"averaging": AveragingConfig(), "trainer": trainer})
    with tempfile.TemporaryDirectory() as folder:
        made = build_trainer(config, data, device, Path(folder), lambda _: {}, config.model)
        made.learner.schedule = Ramp(config.optimizer, steps)
        points, reason = _search(made, steps)
    if not points:
        raise DivergedError(
            f"the loss is not finite at the first step, with a learning rate of {LOWEST:g}: no rate can be found. Use "
            "trainer.precision=fp32, and look at the data with `seg-scse data check`."
        )
    return suggest(points, reason, steps)


def _search(trainer: Trainer, steps: int) -> tuple[list[Point], str]:
    """Train until the loss has risen, and return the points and why it ended."""
    points: list[Point] = []
    average, lowest, batches = 0.0, math.inf, _endless(trainer)
    for step in tqdm(range(steps), desc="finding a rate", unit="step", disable=None, leave=False):
        result = trainer.learner.step(batches, step, 0)
        loss = result.values[1].item()
        if not math.isfinite(loss):
            return points, f"the loss was not finite at {result.lr:.2g}"
        average = SMOOTHING * average + (1.0 - SMOOTHING) * loss
        smoothed = average / (1.0 - SMOOTHING ** (step + 1))
        points.append(Point(step, result.lr, loss, smoothed))
        lowest = min(lowest, smoothed)
        if smoothed > DIVERGED * lowest:
            return points, f"the loss was {DIVERGED:g} times its lowest value at {result.lr:.2g}"
    return points, f"all {steps} steps were done"


def _endless(trainer: Trainer) -> Iterator[Batch]:
    """Batches of one epoch after the other."""
    for epoch in count():
        trainer.sampler.position(epoch, 0)
        yield from trainer.loader


def suggest(points: Sequence[Point], reason: str, steps: int) -> Finding:
    """Read rates from the points of a search over `steps` steps.

    As in fastai, the first tenth of the steps, in which the smoothing begins, and the last five points, in which the
    loss may rise already, are left out.
    """
    read = list(islice(points, steps // 10, max(0, len(points) - _CUT)))
    place = valley([point.smoothed for point in read])
    if place is None:
        return Finding(steps, tuple(points), reason, None, None)
    lowest = min(read, key=lambda point: point.smoothed)
    return Finding(steps, tuple(points), reason, read[place].lr, lowest.lr / 10.0)


def valley(losses: Sequence[float]) -> int | None:
    """Return the place halfway down the longest fall of a curve, the `valley` rule of fastai 2.

    The longest fall is the longest sequence of ever lower values, others between them left out. Counted back from its
    last value by its length, half of the stretch is the place (fastai: a third and half a third, each rounded down).

    Args:
        losses: the smoothed curve.

    Returns:
        an index into `losses`; None where fewer than three values fall one below the other.
    """
    lengths = [1] * len(losses)
    for end in range(len(losses)):
        earlier = [lengths[start] for start in range(end) if losses[end] < losses[start]]
        lengths[end] = 1 + max(earlier, default=0)
    longest = max(lengths, default=0)
    if longest < 3:
        return None
    third = longest / 3
    return lengths.index(longest) - longest + int(third) + int(third / 2)
