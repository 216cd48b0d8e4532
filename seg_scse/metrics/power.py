"""What a number of units allows: the difference that a comparison can show.

The mean of n independent units is taken as normal, which for scores with a few failures holds from some tens of units
on: this plans and explains, the intervals themselves come from the bootstrap.
"""

import math
from statistics import NormalDist

from seg_scse.errors import ConfigError

POWER = 0.8
"""Usual probability with which a study shall show a difference that exists."""


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
    if not 0 < power < 1:
        raise ConfigError(f"power = {power} must lie between 0 and 1: 0.8 is usual.")
    return (_normal((1 + level) / 2) + _normal(power)) * sd / math.sqrt(units)


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
