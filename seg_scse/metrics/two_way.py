"""Two-way analysis of variance without replication: seeds x units, both drawn at random and crossed.

Model: d[s, u] = mean + seed[s] + unit[u] + interaction[s, u]. The mean squares, and the variance of the mean that
follows from them, are those of multi-reader multi-case studies in radiology, with seeds for readers: Dorfman, Berbaum
and Metz, Investigative Radiology 27, 1992, with the variance truncated as in Hillis, Statistics in Medicine 26, 2007.

The critical value is not the one of Hillis (Student's t with estimated degrees of freedom): where the seeds happen to
agree, that estimate is too high, so that with two or three seeds equal variants are called different too often
(docs/seeds.md). Here each part of the variance keeps its own degrees of freedom, and the half-widths add in squares, as
for the sum of two independent means in Howe, Journal of the American Statistical Association 69, 1974; Zou and Donner,
Statistics in Medicine 27, 2008, do so for any two independent estimates (MOVER), and Graybill and Wang, Journal of the
American Statistical Association 75, 1980, for sums of variances. Here it is an approximation: what is estimated are two
variances of one mean. `benchmarks/seeds.py` measures how often its intervals hold the truth.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from seg_scse.metrics.bootstrap import ROUNDING, Floats

SMALLEST = 1e-16
"""Smallest p-value that is computed; what lies below is given as this."""


class MeanSquares(NamedTuple):
    """Mean squares of a table of S seeds x U units, each at least 0, in the square of its unit.

    Attributes:
        seed: U sum (mean of seed - mean)^2 / (S - 1).
        unit: S sum (mean of unit - mean)^2 / (U - 1).
        rest: sum (what neither explains)^2 / ((S - 1) (U - 1)).
    """

    seed: float
    unit: float
    rest: float


@dataclass(frozen=True)
class Components:
    """Standard deviations of the parts of a paired difference, at least 0, in its unit.

    Attributes:
        seed: between seeds, in the mean over all images of the kind.
        image: between units (images or groups), in the mean over all seeds.
        interaction: of a seed in a unit, beyond both.
    """

    seed: float
    image: float
    interaction: float


class Spread(NamedTuple):
    """Standard error of the mean of a table, by its source.

    Attributes:
        seeds: part that more seeds reduce: sqrt(MS seed / (S U)), with the interaction in it.
        units: part that only more units reduce: sqrt(max(MS unit - MS rest, 0) / (S U)).
        seed_df: degrees of freedom of the first, S - 1.
        unit_df: degrees of freedom of the second, U - 1.
        rest: what the rest alone makes of the first, sqrt(MS rest / (S U)), with (S - 1) (U - 1) degrees of freedom.
    """

    seeds: float
    units: float
    seed_df: int
    unit_df: int
    rest: float = 0.0

    @property
    def total(self) -> float:
        """Standard error of the mean."""
        return math.hypot(self.seeds, self.units)

    def half_width(self, p: float) -> float:
        """Half the width of the interval with probability 1 - p.

        sqrt(a^2 + (t_unit_df units)^2), where a is t_seed_df seeds, but at least what the rest alone makes of it: few
        seeds may agree by chance better than their differences within the images allow.
        """
        from scipy.special import stdtrit  # here, since it takes long to import

        both = self.seed_df * self.unit_df
        of_seeds, of_units, of_rest = (-float(stdtrit(df, p / 2)) for df in (self.seed_df, self.unit_df, both))
        return math.hypot(max(of_seeds * self.seeds, of_rest * self.rest), of_units * self.units)


def mean_squares(table: Floats) -> MeanSquares:
    """Mean squares of a table.

    Args:
        table: (S, U), finite, S and U at least 2.
    """
    seeds, units = table.shape
    by_seed = table.mean(axis=1, keepdims=True) - table.mean()
    by_unit = table.mean(axis=0, keepdims=True) - table.mean()
    rest = table - table.mean() - by_seed - by_unit
    squares = [float((part**2).sum()) for part in (by_seed, by_unit, rest)]
    return MeanSquares(
        units * squares[0] / (seeds - 1), seeds * squares[1] / (units - 1), squares[2] / ((seeds - 1) * (units - 1))
    )


def components_of(found: MeanSquares, seeds: int, units: int) -> Components:
    """Standard deviations of the parts, by equating the mean squares to what is expected of them; at least 0."""
    seed = max(found.seed - found.rest, 0) / units
    unit = max(found.unit - found.rest, 0) / seeds
    return Components(math.sqrt(seed), math.sqrt(unit), math.sqrt(found.rest))


def spread_of(found: MeanSquares, seeds: int, units: int) -> Spread:
    """Standard error of the mean of a table with these mean squares."""
    cells = seeds * units
    parts = (found.seed / cells, max(found.unit - found.rest, 0) / cells)
    return Spread(math.sqrt(parts[0]), math.sqrt(parts[1]), seeds - 1, units - 1, math.sqrt(found.rest / cells))


def p_value(mean: float, spread: Spread) -> float:
    """Two-sided p-value of a mean of 0: the p whose interval just reaches 0; 1 where mean and spread are 0.

    Args:
        mean: mean of the table.
        spread: its standard error.
    """
    size = abs(mean)
    if size <= ROUNDING:
        return 1.0
    if spread.half_width(SMALLEST) <= size:
        return SMALLEST
    low, high = math.log(SMALLEST), 0.0
    for _ in range(60):  # halves the logarithm of p down to rounding
        middle = (low + high) / 2
        low, high = (middle, high) if spread.half_width(math.exp(middle)) > size else (low, middle)
    return math.exp(high)


def linearised(by_unit: Floats, images: Floats) -> Floats:
    """Values of the units whose plain mean is the mean over images, (S, U).

    A unit of many images weighs more in a mean over images. Its value is the total mean plus U n_u / N times its
    distance from it, the linearised ratio (Cochran, Sampling Techniques, 1977, section 6.3); with units of equal size,
    and for images as units, the value itself.

    Args:
        by_unit: (S, U), mean over the images of each unit.
        images: (U,), number of images of each unit, at least 1.
    """
    weights = images / images.sum()
    centre = float((by_unit @ weights).mean())
    values: Floats = centre + (by_unit - centre) * (weights * len(images))
    return np.where(np.abs(values) <= ROUNDING, 0.0, values)
