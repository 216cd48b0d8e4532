"""How often intervals hold the truth, and what they cost: `python benchmarks/intervals.py [--studies 4000]`.

Draws studies of scores whose true mean is known, and prints the share of their 95 % intervals that hold it: for images
alone, for patients with ten images each, for several runs, and how often a comparison of equal networks calls them
different. Then the processor time of 10,000 resamples of 1,000 images and 20 classes on one thread.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from seg_scse.metrics.bootstrap import Bootstrap
from seg_scse.metrics.intervals import column_intervals, two_level_intervals
from seg_scse.metrics.paired import compare_columns

Floats = NDArray[np.float64]
METHODS = ("bca", "percentile")
TOGETHER = 100
"""Studies that share their resamples."""
FAILING_MEAN = 0.9 * 0.9 + 0.1 / 3


def even(random: np.random.Generator, *shape: int) -> Floats:
    """Dice of a network without failures: mean 0.80, spread 0.12, skewed to the left."""
    return random.beta(8, 2, shape)


def failing(random: np.random.Generator, *shape: int) -> Floats:
    """Dice of a network that fails in one image of ten: mean 0.84, spread 0.19."""
    return np.where(random.random(shape) < 0.1, random.beta(2, 4, shape), random.beta(18, 2, shape))


def seeds(studies: int) -> Iterator[int]:
    """A seed for each set of studies drawn together."""
    return iter(range(1, max(1, studies // TOGETHER) + 1))


def share(intervals: Callable[[np.random.Generator, int], Floats], truth: float, studies: int) -> str:
    """The share of the intervals that hold the truth, in percent."""
    found = np.concatenate([intervals(np.random.default_rng(seed), seed) for seed in seeds(studies)])
    return f"{100 * ((found[:, 0] <= truth) & (found[:, 1] >= truth)).mean():.1f} %"


def of_images(draw: Callable[..., Floats], n: int, method: str, random: np.random.Generator, seed: int) -> Floats:
    """Intervals of studies of n images."""
    settings = Bootstrap(method, resamples=2000, seed=seed)
    return column_intervals({"dice": draw(random, n, TOGETHER)}, None, settings)["dice_per_image"][1:]


def of_patients(patients: int, grouped: bool, random: np.random.Generator, seed: int) -> Floats:
    """Intervals of studies of patients with ten images each: spread 0.10 between, 0.05 within patients, mean 0."""
    groups = np.repeat(np.arange(patients), 10)
    scores = random.normal(0, 0.1, (patients, TOGETHER))[groups] + random.normal(0, 0.05, (len(groups), TOGETHER))
    settings = Bootstrap(resamples=2000, seed=seed)
    return column_intervals({"dice": scores}, groups.tolist() if grouped else None, settings)["dice_per_image"][1:]


def of_runs(runs: int, between: float, crossed: bool, random: np.random.Generator, seed: int) -> Floats:
    """Intervals of studies of runs on the same 60 images: spread 0.10 between images, `between` runs, 0.05 rest."""
    images, settings = random.normal(0, 0.1, (60, TOGETHER)), Bootstrap(resamples=2000, seed=seed)
    scores = [
        images + random.normal(0, between, (1, TOGETHER)) + random.normal(0, 0.05, images.shape) for _ in range(runs)
    ]
    if crossed:
        return two_level_intervals(scores, None, settings)[1:]
    return column_intervals({"dice": scores[0]}, None, settings)["dice_per_image"][1:]


def false_alarms(n: int, studies: int) -> str:
    """Share of comparisons of equal networks on n images and four classes with any Holm-corrected p of at most .05."""
    random, alarms = np.random.default_rng(0), 0
    for _ in range(studies):
        a = even(random, n, 4)
        b = a + 0.03 * random.standard_t(3, a.shape)
        rows = compare_columns(a, b, None, Bootstrap("percentile", resamples=1))
        alarms += any(row.p_holm is not None and row.p_holm <= 0.05 for row in rows)
    return f"{100 * alarms / studies:.1f} %"


def print_times() -> None:
    """Processor time of 10,000 resamples of 1,000 images and 20 classes."""
    random, settings = np.random.default_rng(0), Bootstrap()
    column = even(random, 1000, 20)
    forms: dict[str, Callable[[], object]] = {
        "one per-image score": partial(column_intervals, {"dice": column}, None, settings),
        "14 per-image scores": partial(column_intervals, {str(n): column for n in range(14)}, None, settings),
        "one score over 5 runs": partial(two_level_intervals, [column] * 5, None, settings),
        "comparison of one score": partial(compare_columns, column, even(random, 1000, 20), None, settings),
    }
    for name, form in forms.items():
        start = time.process_time()
        form()
        print(f"{name}: {time.process_time() - start:.2f} s")


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=4000, help="drawn for each number")
    studies = parser.parse_args().studies
    for name, draw, truth in (("no failures", even, 0.8), ("one failure in ten", failing, FAILING_MEAN)):
        for n in (5, 10, 20, 30, 60, 100, 300):
            shares = [f"{method} {share(partial(of_images, draw, n, method), truth, studies)}" for method in METHODS]
            print(f"{name}, {n} images: {', '.join(shares)}")
    for patients in (10, 20, 40):
        shares = [share(partial(of_patients, patients, grouped), 0, studies) for grouped in (True, False)]
        print(f"{patients} patients of 10 images: patients resampled {shares[0]}, images resampled {shares[1]}")
    for between in (0.01, 0.05):
        for runs in (2, 3, 5, 10):
            shares = [share(partial(of_runs, runs, between, crossed), 0, studies) for crossed in (True, False)]
            print(f"{runs} runs, spread {between} between them: over runs {shares[0]}, of one run {shares[1]}")
    for n in (8, 25, 100):
        print(f"equal networks, {n} images, 4 classes: called different in {false_alarms(n, studies)}")
    print_times()


if __name__ == "__main__":
    main()
