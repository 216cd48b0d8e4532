import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from seg_scse.errors import DataError

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ablation_benchmark", ROOT / "benchmarks" / "ablation.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("seeds", [3, 5])
def test_of_200_studies_of_identical_variants_at_most_one_in_twenty_finds_a_difference(
    benchmark: ModuleType, seeds: int
) -> None:
    alarms = benchmark.rates(benchmark.drawn_pool(), seeds, 200)
    assert alarms["ours"] <= 0.05
    assert min(alarms["one seed"], alarms["seed means"]) > 0.3  # what tests over images alone make of luck


def test_a_variant_handicapped_by_construction_is_found_in_most_studies(benchmark: ModuleType) -> None:
    pool, handicapped = benchmark.drawn_pool(), benchmark.drawn_pool(handicap=0.08)
    random, found, others = np.random.default_rng(0), 0, 0
    for _ in range(50):
        study = benchmark.draw_study(pool, 5, random)
        study[-1] = handicapped[random.integers(0, len(pool), 5)]
        study[:-1] = pool[random.integers(0, len(pool), (len(study) - 1, 5))]
        verdicts = benchmark.ours(study)
        found += verdicts[-1] and study[-1].mean() < study[0].mean()
        others += any(verdicts[:-1])
    assert found >= 40
    assert others <= 5


def test_handicapped_counts_lose_what_they_were_told_to(benchmark: ModuleType) -> None:
    loss = benchmark.drawn_pool().mean() - benchmark.drawn_pool(handicap=0.05).mean()
    assert loss == pytest.approx(0.027, abs=0.01)


def test_the_runs_of_a_study_are_pooled_without_what_their_variants_differ_by(
    benchmark: ModuleType, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    base = random.uniform(0.5, 0.9, 6)
    lines = ["variant,seed,fold,id,group,class,dice"]
    for variant, gain in (("none", 0.0), ("scse-add", 0.3)):
        for seed in range(4):
            for image in range(6):
                dice = base[image] + gain + random.normal(0, 0.01)
                lines += [f"{variant},{seed},,i{image},i{image},{name},{dice}" for name in ("foreground", "nucleus")]
    path = tmp_path / "scores.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    pool = benchmark.stored_pool(path, "dice")
    assert pool.shape == (8, 6)
    assert pool.mean(axis=0) == pytest.approx(base + 0.15, abs=0.02)
    assert pool.std(axis=0).max() < 0.03  # not 0.15


def test_the_benchmark_prints_a_row_for_each_difference_and_number_of_seeds() -> None:
    command = [sys.executable, "-W", "error", "benchmarks/ablation.py", "--studies", "1"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    rows = [line.split("|")[1:3] for line in result.stdout.splitlines() if line.startswith("| ")][1:]
    names = ("none", "0.5 points", "1 point", "2 points")
    assert [[cell.strip() for cell in row] for row in rows] == [[n, s] for n in names for s in ("2", "3", "5", "10")]


@pytest.mark.parametrize(
    ("metric", "seeds", "said"),
    [("iou", 2, "holds no iou. Known: dice"), ("dice", 1, "no variant has two seeds"), ("dice", 2, "0 images have a")],
    ids=["metric", "seeds", "images"],
)
def test_scores_that_say_nothing_of_how_runs_differ_are_refused(
    benchmark: ModuleType, tmp_path: Path, metric: str, seeds: int, said: str
) -> None:
    path = tmp_path / "scores.csv"
    rows = [f"none,{seed},,i{image},i{image},foreground," for seed in range(seeds) for image in range(3)]
    path.write_text("\n".join(["variant,seed,fold,id,group,class,dice", *rows]) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=said):
        benchmark.stored_pool(path, metric)


def test_the_benchmark_of_intervals_prints_a_row_for_each_size() -> None:
    command = [sys.executable, "-W", "error", "benchmarks/seeds.py", "--studies", "1", "--regimes", "all vary"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    rows = result.stdout.splitlines()
    assert rows[0] == "| what varies | seeds | images | ours | bootstrap | bootstrap t | Hillis |"
    assert len(rows) == 2 + 4 * 3
