import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FORMS = ["ours: pixels", "ours: all", "torchmetrics MeanIoU, DiceScore", "smp get_stats", "MONAI Dice, hd95"]


def test_evaluation_benchmark_prints_the_share_of_each_form_and_all_find_the_same_dice() -> None:
    small = ["--encoder", "resnet18", "--size", "64", "--images", "1", "--classes", "2,3", "--memory-images", "0"]
    command = [sys.executable, "benchmarks/evaluation.py", *small]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    lines = [line for line in result.stdout.splitlines() if " % of the forward pass (" in line]
    assert [re.split(r"  +", line)[0] for line in lines] == 2 * FORMS
    dice = [line.rsplit(" ", 1)[1] for line in lines]
    assert len(set(dice[:5])) == len(set(dice[5:])) == 1, "the recipes score the same label maps"
    assert all(0 < float(value) < 1 for value in dice)
    assert result.stdout.count("of ours: probabilities ") == 2
