"""Kill a process that saves checkpoints in a loop at random moments, and load what is there after each kill.

Usage: killed_saves.py FILE KILLS [SEED]. Prints the checkpoints that loaded and the kills that came within a save.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import torch

from seg_scse import checkpoint
from seg_scse.files import remove_leftovers

SIZE = 300_000


def state(number: int) -> dict[str, Any]:
    rest: dict[str, Any] = {"config": {}, "data_digest": "", "mean": [], "splits": {}, "std": []}
    model = {str(part): torch.full((SIZE,), float(number)) for part in range(3)}
    return {**rest, "model": model, "progress": {"epoch": number}}


def save_for_ever(path: Path, number: int) -> NoReturn:
    while True:
        number += 1
        checkpoint.save(path, state(number))


def main(path: Path, kills: int, seed: int) -> None:
    chance, number, loaded, within = random.Random(seed), 1, 0, 0
    checkpoint.save(path, state(number))
    for _ in range(kills):
        child = os.fork()
        if child == 0:
            save_for_ever(path, number)
        time.sleep(chance.uniform(0, 0.04))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        within += any(path.parent.glob(".*.partial")) or len(checkpoint.hash_file(path).read_text().split()) > 1
        content, _ = checkpoint.load(path)
        assert content["progress"]["epoch"] >= number
        number = content["progress"]["epoch"]
        assert all(torch.equal(value, torch.full((SIZE,), float(number))) for value in content["model"].values())
        loaded += 1
        remove_leftovers(path.parent)
    print(loaded, within)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
