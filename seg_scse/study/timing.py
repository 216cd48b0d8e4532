"""How long steps of training take next to each other, on a machine that others use too."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

LEAST, FEWEST, AIM, MOST = 3, 7, 15, 60
"""Rounds that are timed: in any case, unless it takes twice the time, for ratios that are good to some percent on a
busy machine, and at most."""

PRECISE = 0.01
"""Standard error, about, of a ratio with which the rounds may end."""

Step = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """What a step takes.

    Attributes:
        seconds: median over the rounds.
        ratio: median over the rounds of its time over that of the first step in the same round.
        low: first quartile of these ratios: the middle half of the rounds lies between the two.
        high: third quartile.
    """

    seconds: float
    ratio: float
    low: float
    high: float


def time_steps(
    steps: Mapping[str, Step], first: str, device: torch.device, seconds: float
) -> tuple[dict[str, Timing], int]:
    """Time steps in turns, so that a busy machine slows all of them alike; every other round in reversed order.

    One round that is not counted warms up. Rounds end when all ratios are known to about one percent (the standard
    error of a median, 0.93 times the distance of the quartiles over the root of the number), or with the time.

    Args:
        steps: what is timed, by name.
        first: name of the one that others are divided by.
        device: where they compute.
        seconds: after which no further round begins, where there are `FEWEST`; twice as many where there are `LEAST`.

    Returns:
        the timings by name, and the number of rounds.
    """
    started, taken = time.monotonic(), {name: list[float]() for name in steps}
    _round(steps, list(steps), device)
    for number in range(MOST):
        if _enough(taken, first, (time.monotonic() - started) / seconds):
            break
        for name, value in _round(steps, list(steps)[:: -1 if number % 2 else 1], device).items():
            taken[name].append(value)
    return {name: _timing(values, taken[first]) for name, values in taken.items()}, len(taken[first])


def _round(steps: Mapping[str, Step], names: Sequence[str], device: torch.device) -> dict[str, float]:
    return {name: seconds_of(steps[name], device) for name in names}


def seconds_of(step: Step, device: torch.device) -> float:
    """Time one call: by the processor time of this process, on a GPU by the clock until the device has done its work.

    On a CPU let torch have one thread: several wait for each other, on a busy machine most of the time.
    """
    if device.type == "cpu":
        begun = time.process_time()
        step()
        return time.process_time() - begun
    torch.cuda.synchronize(device)
    begun = time.perf_counter()
    step()
    torch.cuda.synchronize(device)
    return time.perf_counter() - begun


def _enough(taken: Mapping[str, Sequence[float]], first: str, used: float) -> bool:
    """Tell whether the rounds may end, `used` being the share of the time that is gone."""
    rounds = len(taken[first])
    if rounds < FEWEST:
        return rounds >= LEAST and used > 2.0
    found = [_timing(values, taken[first]) for values in taken.values()]
    return used > 1.0 or all(0.93 * (one.high - one.low) <= PRECISE * one.ratio * rounds**0.5 for one in found)


def _timing(values: Sequence[float], base: Sequence[float]) -> Timing:
    ratios = [value / other for value, other in zip(values, base, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Timing(statistics.median(values), middle, low, high)
