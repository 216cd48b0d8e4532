"""How often intervals over seeds x images hold the truth: `python benchmarks/seeds.py [--studies 1000]`.

Draws paired differences of two variants whose true mean difference is known, over S seeds and N images, and prints for
each kind of interval the share that holds it, in percent:

- ours: `metrics.crossed.compare_crossed`, low and high;
- bootstrap: its two-level percentile bootstrap;
- bootstrap t: estimate +- t x the bootstrap's standard error, with the degrees of freedom of Hillis;
- Hillis: estimate +- t x the standard error of the analysis of variance, as multi-reader multi-case studies have it.

One less the share is the rate at which a test at 5 % calls equal variants different.
"""

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from seg_scse.metrics.bootstrap import Bootstrap
from seg_scse.metrics.crossed import compare_crossed
from seg_scse.metrics.intervals import two_level_intervals
from seg_scse.metrics.two_way import mean_squares

Floats = NDArray[np.float64]
SEEDS, IMAGES = (2, 3, 5, 10), (15, 50, 133)
KINDS = ("ours", "bootstrap", "bootstrap t", "Hillis")
TOGETHER = 100
"""Studies that share their resamples."""
FAILURES = 0.03
"""Share of images, or of images of a run, that fail in one variant alone."""


def normal(seed: float, image: float, rest: float) -> Callable[[np.random.Generator, int, int], Floats]:
    """Differences with these standard deviations between seeds, between images, and beyond both."""
    return lambda random, s, n: (
        random.normal(0, seed, (s, 1)) + random.normal(0, image, (1, n)) + random.normal(0, rest, (s, n))
    )


def failing(of_runs: bool) -> Callable[[np.random.Generator, int, int], Floats]:
    """Small differences, and failures that cost 20 to 60 points: of an image in all runs, or of an image of a run."""

    def draw(random: np.random.Generator, s: int, n: int) -> Floats:
        shape = (s if of_runs else 1, n)
        lost = (random.random(shape) < FAILURES) * random.choice([-1, 1], shape) * random.uniform(0.2, 0.6, shape)
        return normal(0.003, 0.005, 0.01)(random, s, n) + lost

    return draw


def lopsided(random: np.random.Generator, s: int, n: int) -> Floats:
    """As `failing`, but only one variant fails: in one image of twenty it loses 40 points; less the mean loss."""
    lost = 0.4 * (random.random((1, n)) < 0.05) - 0.4 * 0.05
    return normal(0.003, 0.005, 0.01)(random, s, n) + lost


REGIMES = {
    "seeds vary": normal(0.01, 0.005, 0.005),
    "images vary": normal(0.0005, 0.05, 0.01),
    "seed x image varies": normal(0, 0.003, 0.05),
    "all vary": normal(0.01, 0.02, 0.04),
    "failing images": failing(of_runs=False),
    "failing images of runs": failing(of_runs=True),
    "one variant fails": lopsided,
}


def hillis(table: Floats) -> tuple[float, float]:
    """Standard error and degrees of freedom of the mean of seeds x images (Hillis 2007)."""
    found, (seeds, units) = mean_squares(table), table.shape
    total = found.seed + max(found.unit - found.rest, 0)
    return float(np.sqrt(total / (seeds * units))), float((seeds - 1) * (total / found.seed) ** 2)


def bootstrap_error(table: Floats) -> float:
    """Standard deviation of the two-level bootstrap that draws S - 1 of S seeds and N of N images, in closed form."""
    found, (seeds, units) = mean_squares(table), table.shape
    squares = (found.seed / units, found.unit * (units - 1) / (seeds * units**2), found.rest * (units - 1) / units**2)
    return float(np.sqrt(squares[0] / seeds + squares[1] + squares[2] / seeds))


def holds(tables: list[Floats], seed: int) -> Floats:
    """Whether each of `KINDS` holds a true difference of 0, for tables that share their resamples, (T, kinds)."""
    from scipy.stats import t

    runs = [np.column_stack(columns) for columns in zip(*tables, strict=True)]  # by seed, (N, T)
    bootstrap = two_level_intervals(runs, None, Bootstrap(resamples=2000, seed=seed))[1:]
    found = []
    for table, (low, high) in zip(tables, bootstrap, strict=True):
        result = compare_crossed(np.zeros_like(table), table, None, Bootstrap(resamples=1))
        error, df = hillis(table)
        quantile, mean = float(t.isf(0.025, df)), abs(float(table.mean()))
        others = [mean <= quantile * bootstrap_error(table), mean <= quantile * error]
        found.append([result.low <= 0 <= result.high, low <= 0 <= high, *others])
    return np.array(found, dtype=np.float64)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000, help="drawn for each number")
    parser.add_argument("--regimes", type=lambda text: text.split(","), default=list(REGIMES))
    asked = parser.parse_args()
    print(f"| what varies | seeds | images | {' | '.join(KINDS)} |\n|---|---|---|{'---|' * len(KINDS)}")
    for regime in asked.regimes:
        for seeds in SEEDS:
            for images in IMAGES:
                random = np.random.default_rng([seeds, images])
                tables = [REGIMES[regime](random, seeds, images) for _ in range(asked.studies)]
                found = [holds(tables[n : n + TOGETHER], n) for n in range(0, len(tables), TOGETHER)]
                shares = " | ".join(f"{100 * share:.1f}" for share in np.vstack(found).mean(axis=0))
                print(f"| {regime} | {seeds} | {images} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
