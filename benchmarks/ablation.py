"""How often a study of identical variants finds a difference: `python benchmarks/ablation.py [--scores scores.csv]`.

Simulates studies of a baseline and four variants that are identical: every run of every variant is drawn, with
replacement, from one pool of runs, and the images with replacement from those of the pool. The pool holds the runs of a
finished study, each variant's moved to the mean over all variants in every image, so that only the differences between
runs of one variant are left; without `--scores`, drawn counts of pixels. Printed is the share of studies in which any
of the four Holm-corrected comparisons says "different" (it should be at most 5 %), and how often a variant that is
better by 0.5, 1 or 2 points in every image is found. Next to the test of this package stand the tests in use:

- ours: `metrics.crossed`, over seeds and images;
- radiology: t-test of multi-reader multi-case studies (Hillis 2007), also over seeds and images;
- one seed: Wilcoxon's signed-rank test over the images of one run of each;
- seed means: the same over the images' means over the seeds;
- run means: unpaired t-test (Welch) of the runs' mean scores.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seg_scse.errors import DataError
from seg_scse.metrics.bootstrap import ROUNDING, Bootstrap, unit_sums
from seg_scse.metrics.crossed import compare_crossed, correct
from seg_scse.metrics.signed_rank import holm, signed_rank
from seg_scse.metrics.two_way import mean_squares

Floats = NDArray[np.float64]
SEEDS, VARIANTS, LEVEL = (2, 3, 5, 10), 5, 0.95
SHIFTS = (0.005, 0.01, 0.02)


def drawn_pool(runs: int = 20, images: int = 60, seed: int = 0, handicap: float = 0.0) -> Floats:
    """Dice of drawn counts of pixels: images of different difficulty, runs of different luck, and both together.

    Args:
        runs: R.
        images: N.
        seed: of the drawing.
        handicap: share of the pixels found that these runs lose.

    Returns:
        (R, N), from tp, fp and fn of every run and image.
    """
    random = np.random.default_rng(seed)
    objects = random.integers(500, 20_000, images)
    difficulty = random.normal(1.8, 0.9, images)
    luck = random.normal(0, 0.05, (runs, 1)) + random.normal(0, 0.4, (runs, images))
    found = 1 / (1 + np.exp(-difficulty - luck))
    tp = random.binomial(objects, found * (1 - handicap))
    fp = random.binomial(objects, 0.6 * (1 - found))
    dice: Floats = 2 * tp / (tp + objects + fp)
    return dice


def stored_pool(path: Path, metric: str) -> Floats:
    """The runs of a study as of one variant, (R, N), over images scored in all runs, or the means of their groups.

    From each run its variant's mean is taken in every image, and the mean over all variants added; what is left is
    widened by sqrt(runs / (runs - 1)), since a mean of few runs lies too near to them.

    Raises:
        DataError: no variant has two runs, or too few images are scored in all of them.
    """
    from seg_scse.study.scores import read_scores

    scores = read_scores(path)
    if metric not in scores.metrics:
        raise DataError(f"{path}: holds no {metric}. Known: {', '.join(scores.metrics)}.")
    variants = dict.fromkeys(name for name, _ in scores.runs)
    tables = [scores.foreground(name, scores.seeds(name), metric) for name in variants]
    tables = [table for table in tables if len(table) > 1]
    if not tables:
        raise DataError(f"{path}: no variant has two seeds, so that nothing says how runs differ.")
    scored = ~np.isnan(np.vstack(tables)).any(axis=0)
    if scored.sum() < 2:
        raise DataError(f"{path}: {scored.sum()} images have a {metric} in all runs: at least two are needed.")
    names = scores.units or scores.ids
    groups = [names[image] for image in np.flatnonzero(scored)]
    sizes = unit_sums(np.ones((len(groups), 1)), groups)
    tables = [(unit_sums(table[:, scored].T, groups) / sizes).T for table in tables]
    centre = np.mean([table.mean(axis=0) for table in tables], axis=0)
    widened = [np.sqrt(len(table) / (len(table) - 1)) * (table - table.mean(axis=0)) for table in tables]
    return np.vstack([centre + part for part in widened])


def draw_study(pool: Floats, seeds: int, random: np.random.Generator) -> Floats:
    """Scores of identical variants, (V, S, N)."""
    runs = random.integers(0, len(pool), (VARIANTS, seeds))
    images = random.integers(0, pool.shape[1], pool.shape[1])
    study: Floats = pool[runs][:, :, images]
    return study


def ours(study: Floats) -> list[bool]:
    """Which variants are distinguishable from the first."""
    settings = Bootstrap(resamples=1)  # the test does not need the bootstrap
    results = [compare_crossed(study[0], variant, None, settings) for variant in study[1:]]
    return [result.distinguishable for result in correct(results, LEVEL)]


def hillis(table: Floats) -> float:
    """The p-value of multi-reader multi-case studies for paired differences, (S, U), as in Hillis 2007."""
    from scipy.special import stdtr

    found, (seeds, units) = mean_squares(table), table.shape
    total = found.seed + max(found.unit - found.rest, 0)
    if not found.seed:
        return 0.0 if table.mean() else 1.0
    statistic = abs(table.mean()) / np.sqrt(total / (seeds * units))
    return float(2 * stdtr((seeds - 1) * (total / found.seed) ** 2, -statistic))


def welch(a: Floats, b: Floats) -> float:
    """The p-value of Welch's unpaired t-test of the runs' means."""
    from scipy.special import stdtr

    means = [table.mean(axis=1) for table in (a, b)]
    variances = np.array([mean.var(ddof=1) / len(mean) for mean in means])
    difference = abs(means[0].mean() - means[1].mean())
    if variances.sum() <= ROUNDING**2:
        return float(difference <= ROUNDING)
    df = variances.sum() ** 2 / (variances**2 / (len(a) - 1)).sum()
    return float(2 * stdtr(df, -difference / np.sqrt(variances.sum())))


def by_p(test: Callable[[Floats, Floats], float]) -> Callable[[Floats], list[bool]]:
    """Which variants differ from the first by a test of two tables, (S, N) each, after Holm's correction."""
    return lambda study: [p <= 1 - LEVEL + 1e-12 for p in holm([test(study[0], variant) for variant in study[1:]])]


TESTS: dict[str, Callable[[Floats], list[bool]]] = {
    "ours": ours,
    "radiology": by_p(lambda a, b: hillis(b - a)),
    "one seed": by_p(lambda a, b: signed_rank(b[0] - a[0]).p),
    "seed means": by_p(lambda a, b: signed_rank((b - a).mean(axis=0)).p),
    "run means": by_p(welch),
}


def rates(pool: Floats, seeds: int, studies: int, shift: float = 0.0) -> dict[str, float]:
    """Share of studies with an alarm by any test, for identical variants; with a shift, of those that find it.

    Args:
        pool: (R, N), runs of one variant.
        seeds: runs of each variant in a study.
        studies: drawn.
        shift: what the last variant's scores gain in every image; counted is then the last variant alone.
    """
    random = np.random.default_rng(seeds)
    hits = dict.fromkeys(TESTS, 0)
    for _ in range(studies):
        study = draw_study(pool, seeds, random)
        study[-1] += shift
        for name, test in TESTS.items():
            found = test(study)
            hits[name] += found[-1] and study[-1].mean() > study[0].mean() if shift else any(found)
    return {name: number / studies for name, number in hits.items()}


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scores", type=Path, help="scores.csv of a study; without it, drawn counts")
    parser.add_argument("--metric", default="dice")
    parser.add_argument("--studies", type=int, default=1000, help="drawn for each number")
    asked = parser.parse_args()
    try:
        pool = stored_pool(asked.scores, asked.metric) if asked.scores else drawn_pool()
    except DataError as error:
        parser.error(str(error))
    print(f"{pool.shape[0]} runs x {pool.shape[1]} images, mean {pool.mean():.3f}, {asked.studies} studies each; in %,")
    print(f"with a standard error of {100 * np.sqrt(0.05 * 0.95 / asked.studies):.1f} at 5 % and at most ", end="")
    print(f"{100 * np.sqrt(0.25 / asked.studies):.1f}.")
    print(f"| difference | seeds | {' | '.join(TESTS)} |\n|---|---|{'---|' * len(TESTS)}")
    for shift in (0.0, *SHIFTS):
        for seeds in SEEDS:
            found = rates(pool, seeds, asked.studies, shift)
            shares = " | ".join(f"{100 * share:.1f}" for share in found.values())
            gain = f"{100 * shift:g} point{'' if shift == 0.01 else 's'}" if shift else "none"
            print(f"| {gain} | {seeds} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
