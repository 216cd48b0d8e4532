"""A storm: one training run is killed with SIGKILL again and again, resumed each time, and compared with a quiet one.

Usage: storm.py [--kills 10] [--epochs 10] [--repeats 4] [--seed N] [--folder DIR]

Both runs are `train.py` in processes of their own, on images drawn here, with everything that could remember something
wrongly: shuffled and hard samples, augmentation, cutmix, dropout, BatchNorm, one-cycle rates, accumulation, averaged
weights, the best two checkpoints. Each start of the stormy run draws its number of loader processes (0 to 2) and the
moment of its end anew. Exits with 0 if every tensor, number and row is the same, and prints their SHA-256.
"""

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from seg_scse import checkpoint

ROOT = Path(__file__).parents[2]
CONFIG = """
data: {root: ROOT, mask: {encoding: binary}, split: {train: 0.6, val: 0.2, test: 0.2}}
model: {architecture: pspnet, encoder: tu-mobilenetv3_small_050, attention: {type: scse}}
augmentation: {preset: light, mix: cutmix}
optimizer: {schedule: onecycle}
averaging: {method: ema, decay: 0.9}
trainer: {crop: 32, batch_size: 2, accumulate: 2, repeats: REPEATS, max_epochs: EPOCHS, hard_share: 0.3, threads: 1,
          workers: 0, save_every_steps: 2, save_top_k: 2, tensorboard: false, panel: 0}
"""
TABLES = ("epochs.csv", "steps.csv")
NOT_COMPARED = {"config"}  # the number of loader processes is in it
PATIENCE = 300.0  # seconds until a start that neither saves nor ends has failed


def draw(root: Path, count: int = 14) -> None:
    rows, columns = np.mgrid[:40, :40]
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    for number in range(count):
        chance = np.random.default_rng(number)
        y, x, radius = chance.uniform(12, 28), chance.uniform(12, 28), chance.uniform(5, 10)
        disc = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
        image = np.clip(60 + 110 * disc[..., None] + chance.normal(0, 12, (40, 40, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(image).save(root / "images" / f"{number}.png")
        Image.fromarray((255 * disc).astype(np.uint8)).save(root / "masks" / f"{number}.png")


def start(arguments: list[str], log: Path, cache: Path) -> subprocess.Popen[bytes]:
    """Start train.py in a session of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "SEG_SCSE_CACHE": str(cache)}
    command = [sys.executable, str(ROOT / "train.py"), *arguments]
    with log.open("ab") as stream:
        return subprocess.Popen(command, stdout=stream, stderr=stream, env=environment, start_new_session=True)


def of_session(session: int) -> list[int]:
    """Return the living processes of a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def progress(folder: Path) -> dict[str, Any] | None:
    """Return the progress that the last checkpoint holds; it must load if it is there."""
    last = folder / checkpoint.LAST
    return checkpoint.load(last)[0]["progress"] if last.exists() else None


@dataclass
class Storm:
    """The run that is killed."""

    folder: Path
    config: Path
    log: Path
    cache: Path
    chance: random.Random
    kills: int = 0
    resumes: Counter[int] = field(default_factory=Counter)
    orphans: int = 0

    def blow(self, kills: int) -> None:
        """Start and kill until so many kills are done, then let the run end."""
        while (state := progress(self.folder)) is None or not state["finished"]:
            if state is not None and state["in_epoch"] > 0:
                self.resumes[state["epoch"]] += 1
            workers = self.chance.choice([0, 1, 2])
            where = ["--config", str(self.config), "--out"] if state is None else ["--resume"]
            process = start([*where, str(self.folder), f"trainer.workers={workers}"], self.log, self.cache)
            if self.kills < kills:
                self._kill(process, workers)
            elif process.wait() != 0:
                raise SystemExit(f"the run ended with {process.returncode}:\n{self.log.read_text()[-3000:]}")

    def _kill(self, process: subprocess.Popen[bytes], workers: int) -> None:
        """Kill after a random number of new checkpoints, and a random time: in a step, a save, a validation."""
        saves, pause = self.chance.randint(0, 4), self.chance.uniform(0, 0.2)
        last, seen = self.folder / checkpoint.LAST, set()
        before, ends = _stamp(last), time.monotonic() + PATIENCE
        while len(seen) < max(1, saves) and process.poll() is None and time.monotonic() < ends:
            if saves == 0 and self.chance.random() < 0.001:  # while it starts
                break
            if _stamp(last) not in (before, None):
                seen.add(_stamp(last))
            time.sleep(0.005)
        time.sleep(pause)
        if process.poll() is not None:
            if process.returncode != 0:
                raise SystemExit(f"the run ended with {process.returncode}:\n{self.log.read_text()[-3000:]}")
            return
        members = of_session(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.kills += 1
        state = progress(self.folder) or {"epoch": 0, "in_epoch": 0, "step": 0}
        place = f"step {state['step']:>3} (epoch {state['epoch'] + 1}, step {state['in_epoch']} of it)"
        print(f"kill {self.kills:>2}: {workers} loader processes, checkpoint of {place}", flush=True)
        self._wait_for_orphans(process.pid, members)

    def _wait_for_orphans(self, session: int, members: list[int]) -> None:
        ends = time.monotonic() + 10
        while of_session(session) and time.monotonic() < ends:
            time.sleep(0.05)
        shared = [name.name for name in Path("/dev/shm").glob("torch_*") if _owner(name) in members]
        self.orphans += len(of_session(session)) + len(shared)


def _owner(name: Path) -> int:
    return int(name.name.split("_")[1]) if name.name.split("_")[1].isdigit() else -1


def _stamp(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def feed(value: object, digest: Any) -> None:
    """Add a value of a checkpoint to a hash, with its type, names and bits."""
    if isinstance(value, torch.Tensor):
        digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    elif isinstance(value, dict):
        for key in value:
            digest.update(repr(key).encode())
            feed(value[key], digest)
    elif isinstance(value, list | tuple):
        digest.update(f"[{len(value)}]".encode())
        for item in value:
            feed(item, digest)
    else:
        digest.update(repr(value).encode())


def fingerprint(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each part of each checkpoint and of each table of a run."""
    found = {}
    for file in sorted((folder / "checkpoints").glob("*.ckpt")):
        state, _ = checkpoint.load(file)
        for key in sorted(state.keys() - NOT_COMPARED):
            digest = hashlib.sha256()
            feed(state[key], digest)
            found[f"{file.name}: {key}"] = digest.hexdigest()
    tables = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in TABLES}
    leftovers = {f"leftover {path.name}": "" for path in folder.rglob(".*.partial")}
    return found | tables | leftovers


def compare(quiet: dict[str, str], stormy: dict[str, str]) -> bool:
    """Print both fingerprints and tell whether they are equal."""
    for key in sorted(quiet.keys() | stormy.keys()):
        same = quiet.get(key) == stormy.get(key)
        print(f"{'same     ' if same else 'DIFFERENT'}  {quiet.get(key, 'missing')[:16]:<16}  {key}")
    return quiet == stormy


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10, help="SIGKILLs (default: 10)")
    parser.add_argument("--epochs", type=int, default=10, help="length of the run (default: 10)")
    parser.add_argument("--repeats", type=int, default=4, help="length of an epoch, 2 steps each (default: 4)")
    parser.add_argument("--seed", type=int, help="of the moments; default: drawn and printed")
    parser.add_argument("--folder", type=Path, help="keep the runs here; default: a temporary folder")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    print(f"storm: {options.kills} kills, seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        root = options.folder or Path(temporary)
        draw(root / "data")
        config = CONFIG.replace("ROOT", str(root / "data"))
        config = config.replace("EPOCHS", str(options.epochs)).replace("REPEATS", str(options.repeats))
        (root / "storm.yaml").write_text(config)
        return blow(root, options.kills, random.Random(seed))


def blow(root: Path, kills: int, chance: random.Random) -> int:
    """Do both runs in `root` and compare them."""
    started, config, cache = time.monotonic(), root / "storm.yaml", root / "cache"
    quiet = start(["--config", str(config), "--out", str(root / "quiet")], root / "quiet.log", cache)
    if quiet.wait() != 0:
        raise SystemExit((root / "quiet.log").read_text()[-3000:])
    storm = Storm(root / "stormy", config, root / "stormy.log", cache, chance)
    storm.blow(kills)
    same = compare(fingerprint(root / "quiet"), fingerprint(root / "stormy"))
    within = max(storm.resumes.values(), default=0)
    print(f"{storm.kills} kills, {within} resumes within one epoch, {storm.orphans} orphans after 10 s")
    print(f"{'byte-identical' if same else 'NOT THE SAME'}, {time.monotonic() - started:.0f} s")
    return int(not same or storm.orphans > 0 or storm.kills < kills or within < 2)


if __name__ == "__main__":
    sys.exit(main())
