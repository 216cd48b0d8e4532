"""What a number of units, or of seeds and units, allows: the difference that a comparison can show.

The mean of n independent units is taken as normal, which for scores with a few failures holds from some tens of units
on: this plans and explains, the intervals themselves are made otherwise.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

from seg_scse.errors import ConfigError
from seg_scse.metrics.two_way import Components

POWER = 0.8
"""Usual probability with which a study shall show a difference that exists."""
MOST = 1_000_000
"""Most seeds, or units, that a plan counts up to."""


@dataclass(frozen=True)
class Needed:
    """What a difference takes to be shown in 4 of 5 studies.

    Attributes:
        difference: the difference.
        seeds: seeds needed with the units of the study; None where no number of seeds is enough, for the units alone
            leave the difference in doubt.
        images: units needed (images, or groups where there are some) with the seeds of the study; None where no number
            of units is enough.
    """

    difference: float
    seeds: int | None
    images: int | None


def detectable_difference(sd: float, units: int, power: float = POWER, level: float = 0.95) -> float:
    """The smallest difference of two means that paired units show with probability `power`.

    (z of the level + z of the power) sd / sqrt(n), for a two-sided test of the mean (Cohen, Statistical Power Analysis,
    1988, section 2.3, with the normal distribution for Student's t). For normal differences the signed-rank test needs
    5 % more units (Lehmann, Nonparametrics, 1975: its efficiency is 3 / pi); for heavy tails it needs fewer.

    Args:
        sd: standard deviation of the paired differences between the units, at least 0.
        units: number of independent units n, at least 1.
        power: in (0, 1).
        level: 1 less the rate of false alarms, in (0, 1).

    Raises:
        ConfigError: an argument is out of its range.
    """
    _require(sd, units, level)
    _require_power(power)
    return (_normal((1 + level) / 2) + _normal(power)) * sd / math.sqrt(units)


def detectable_crossed(
    components: Components, seeds: int, units: int, tests: int = 1, level: float = 0.95, power: float = POWER
) -> float:
    """The smallest difference that seeds x units show with probability `power` (`metrics.crossed`).

    At the strictest level of Holm's correction, (1 - level) / tests. Each part of the variance takes the noncentrality
    with which Student's t of its own degrees of freedom (S - 1, U - 1) exceeds its critical value with that
    probability; the two add in squares, as in the interval. Exact for normal parts where one of them dominates.

    Args:
        components: standard deviations of the paired differences; estimated from two or three seeds, rough.
        seeds: at least 2.
        units: at least 2.
        tests: number of declared comparisons, at least 1.
        level: 1 less the rate of false alarms, in (0, 1).
        power: in (0, 1).

    Raises:
        ConfigError: an argument is out of its range.
    """
    _require_crossed(components, seeds, units, tests, level)
    _require_power(power)
    seed_part = math.sqrt((components.seed**2 + components.interaction**2 / units) / seeds)
    unit_part = components.image / math.sqrt(units)
    strictest = (1 - level) / tests
    return math.hypot(
        _noncentrality(seeds - 1, strictest, power) * seed_part, _noncentrality(units - 1, strictest, power) * unit_part
    )


def needed(
    components: Components,
    seeds: int,
    units: int,
    tests: int = 1,
    level: float = 0.95,
    difference: float = 0.005,
    power: float = POWER,
) -> Needed:
    """How many seeds, or units, show a difference with probability `power`; arguments as of `detectable_crossed`.

    Args:
        components: standard deviations of the paired differences.
        seeds: of the study, at least 2.
        units: of the study, at least 2.
        tests: number of declared comparisons.
        level: 1 less the rate of false alarms.
        difference: the difference to show, above 0.
        power: in (0, 1).

    Raises:
        ConfigError: an argument is out of its range.
    """
    if not 0 < difference < math.inf:
        raise ConfigError(f"difference = {difference} must be above 0: 0.005 is half a point of Dice.")
    with_seeds = _fewest(lambda n: detectable_crossed(components, n, units, tests, level, power), difference)
    with_units = _fewest(lambda n: detectable_crossed(components, seeds, n, tests, level, power), difference)
    return Needed(difference, with_seeds, with_units)


def _fewest(detectable: Callable[[int], float], difference: float) -> int | None:
    """The smallest number from 2 to `MOST` that detects the difference; None without one."""
    if detectable(MOST) > difference:
        return None
    low, high = 1, MOST
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if detectable(middle) <= difference else (middle, high)
    return high


def _noncentrality(df: int, p: float, power: float) -> float:
    """Noncentrality with which Student's t exceeds its two-sided critical value with probability `power`."""
    from scipy.special import nctdtrinc, stdtrit  # here, since it takes long to import

    return float(nctdtrinc(df, 1 - power, -stdtrit(df, p / 2)))


def _normal(share: float) -> float:
    """Quantile of the normal distribution."""
    return NormalDist().inv_cdf(share)


def _require(spread: float, units: int, level: float) -> None:
    """Refuse a spread, a number of units or a level out of its range."""
    if not 0 <= spread < math.inf:
        raise ConfigError(f"a spread of {spread} must be a number of at least 0.")
    if units < 1:
        raise ConfigError(f"units = {units} must be at least 1.")
    if not 0 < level < 1:
        raise ConfigError(f"level = {level} must lie between 0 and 1, such as 0.95.")


def _require_power(power: float) -> None:
    """Refuse a power out of its range."""
    if not 0 < power < 1:
        raise ConfigError(f"power = {power} must lie between 0 and 1: 0.8 is usual.")


def _require_crossed(components: Components, seeds: int, units: int, tests: int, level: float) -> None:
    """Refuse arguments of a plan that are out of their range."""
    for spread in (components.seed, components.image, components.interaction):
        _require(spread, units, level)
    for name, value, least in (("seeds", seeds, 2), ("units", units, 2), ("tests", tests, 1)):
        if value < least:
            raise ConfigError(f"{name} = {value} must be at least {least}.")
