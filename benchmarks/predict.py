"""What predicting large images costs: `python benchmarks/predict.py [--sizes 4000,10000] [--classes 2,8] [--rounds 3]`.

Without more, this package's strips, MONAI's `sliding_window_inference` and the recipe of tutorials predict the same
drawn image from file to file, with a network that costs little, a convolution of one pixel; its share is measured, so
that what they add is told too ("beyond the network"). Tiles of 512 px overlap by a quarter, with Gaussian weights. Each
has a process of its own, which tells what memory it took beyond what was there before it began; they take turns, in
reversed order every other round, and in brackets is the ratio to ours of the same round: median and range. The share of
labels that equal ours is printed too.

`--network`: `seg-scse predict` makes a GeoTIFF label map of a GeoTIFF scene (one of more than 16 Mpx, whose strips are
kept as files) with a U-Net, and that network alone is called on tiles that lie in memory, as often; both take turns in
one process. `--memory`: what `seg-scse predict` takes of a GeoTIFF of 20,000 x 20,000 x 4 uint16 values, with a network
that costs next to nothing. With `--sizes` too, all of it is measured. What the command prints of its progress is shown.

Two clocks are read: the processor time of the process, with all of its threads, and the time on the wall. torch has one
thread; what reads ahead has another, which shows on the wall alone.
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from checkpoints import draw_checkpoint
from memory import Peak
from scenes import draw_geotiff, draw_npy
from usual_loading import one_thread
from usual_predicting import BATCH, MEAN, OVERLAP, STD, USUAL, Cheap, Recipe, Task, network

from seg_scse.api.images import opened
from seg_scse.cli import main as seg_scse
from seg_scse.config.loading import nearest
from seg_scse.config.schema import DataConfig
from seg_scse.data.standardize import Standardizer
from seg_scse.evaluation.loaded import build_predictor, load_run
from seg_scse.inference.predictor import Predictor, evaluation_mode
from seg_scse.inference.tiles import Grid
from seg_scse.prediction.inputs.opening import Reading
from seg_scse.provenance import describe_device, versions

OURS, PREDICT = "ours", "seg-scse predict"
CPU = torch.device("cpu")
CHEAP = {"architecture": "classic_unet", "width": 2, "depth": 1}
"""The cheapest network that a configuration can name."""
SCENE, LARGE_SCENE = 4352, 20000
"""Sides of the scenes of `--network` and `--memory`."""
PROCESSES = multiprocessing.get_context("forkserver" if hasattr(os, "fork") else "spawn")
"""Makes processes that begin with the same memory each: what is imported here."""


class Spent(NamedTuple):
    """What something took.

    Attributes:
        processor: time in seconds.
        wall: time in seconds.
        rest: processor time beyond the calls of the cheap network.
        memory: MB beyond what was there before.
    """

    processor: float
    wall: float
    rest: float
    memory: float


def ours() -> Recipe:
    """Return this package's way: strips of labels, written as they are finished."""

    def predict(task: Task) -> None:
        model = network(1 if task.classes == 2 else task.classes)
        applied = Predictor(
            model, Standardizer(MEAN, STD), CPU, "fp32", task.tile, OVERLAP, BATCH, threshold=0.5, blend="gaussian"
        )
        with opened(task.scene, Reading(DataConfig(), None)) as image, task.out.open("wb") as out:
            for strip in applied.strips(image):
                applied.labels(strip.probabilities).tofile(out)

    return predict


METHODS: dict[str, Callable[[], Recipe]] = {OURS: ours, **USUAL}


def spend(work: Callable[[], object]) -> Spent:
    """Do something, and say what it took."""
    peak, started, processor, network_before = Peak(), time.perf_counter(), time.process_time(), Cheap.seconds
    work()
    taken = time.process_time() - processor
    rest = taken - (Cheap.seconds - network_before)
    return Spent(taken, time.perf_counter() - started, rest, peak.megabytes())


def alone(method: str, task: Task) -> Spent:
    """Predict a scene; to be called in a process of its own, whose libraries are loaded first."""
    one_thread()
    torch.set_grad_enabled(False)
    recipe = METHODS[method]()
    return spend(lambda: recipe(task))


def in_process(method: str, task: Task) -> Spent:
    """Call `alone` in a new process."""
    with PROCESSES.Pool(1) as pool:
        return pool.apply(alone, (method, task))


def equal_share(one: Path, other: Path) -> float:
    """Share of the bytes of two files that are equal."""
    first, second = (np.memmap(path, np.uint8, "r") for path in (one, other))
    step = 1 << 24
    return sum(int((first[at : at + step] == second[at : at + step]).sum()) for at in range(0, len(first), step)) / len(
        first
    )


def slide(
    sizes: Sequence[int], class_counts: Sequence[int], methods: Sequence[str], tile: int, rounds: int, folder: Path
) -> None:
    """Let methods predict, ours first, and print the rounds and their medians."""
    for side in sizes:
        scene = draw_npy(folder / f"{side}.npy", side)
        for classes in class_counts:
            names = [name for name in methods if classes == 2 or name != "MONAI one map"]
            tasks = {name: Task(scene, side, classes, tile, folder / f"{name}.labels") for name in names}
            print(f"\n{side} x {side} px, {classes} classes, tile {tile}", flush=True)
            found: dict[str, list[Spent]] = {name: [] for name in names}
            for number in range(rounds):
                for name in names if number % 2 == 0 else names[::-1]:
                    found[name].append(in_process(name, tasks[name]))
                    print(f"  round {number + 1}: {name:16} {found[name][-1].processor:7.2f} s", flush=True)
            for name in names:
                share = equal_share(tasks[OURS].out, tasks[name].out)
                rest = _against(found[name], found[OURS], 2)
                print(
                    f"{name:16} {_row(found[name], found[OURS])}, beyond the network {rest}; labels equal {share:.6f}"
                )
        scene.unlink()


def _row(found: Sequence[Spent], base: Sequence[Spent]) -> str:
    return (
        f"processor {_against(found, base, 0)}, wall {_against(found, base, 1)}, memory "
        f"{statistics.median(spent.memory for spent in found):.0f} MB"
    )


def _against(found: Sequence[Spent], base: Sequence[Spent], clock: int) -> str:
    ratios = sorted(one[clock] / max(other[clock], 1e-9) for one, other in zip(found, base, strict=True))
    seconds = statistics.median(one[clock] for one in found)
    return f"{seconds:7.2f} s ({statistics.median(ratios):.3f}; {ratios[0]:.3f}-{ratios[-1]:.3f})"


class Scene(NamedTuple):
    """A drawn GeoTIFF, the checkpoint that predicts it, and where the label map goes."""

    file: Path
    checkpoint: Path
    out: Path

    def predict(self) -> None:
        """Call `seg-scse predict`, all of it but the start of Python."""
        words = ["predict", self.checkpoint, "--input", self.file, "--output", self.out, "--overwrite"]
        with redirect_stdout(StringIO()):
            code = seg_scse([str(word) for word in words])
        if code:
            raise SystemExit(code)


def scene_of(size: tuple[int, int], bands: int, dtype: str, checkpoint: Path) -> Scene:
    """Draw a GeoTIFF beside its checkpoint."""
    folder = checkpoint.parent / f"{size[0]}x{size[1]}"
    folder.mkdir(exist_ok=True)
    return Scene(draw_geotiff(folder / "scene.tif", *size, bands, dtype), checkpoint, folder / "labels.tif")


def call(applied: Predictor, grid: Grid, batch: torch.Tensor) -> None:
    """Call a network as often as a prediction does, on tiles in memory."""
    across = len(grid.lefts)
    with evaluation_mode(applied.model):
        for _ in grid.tops:
            for start in range(0, across, len(batch)):
                applied.model(batch[: across - start])


def compare_network(encoder: str, side: int, tile: int, rounds: int, folder: Path) -> None:
    """Predict a scene by a real network, and call that network alone, in turns."""
    one_thread()
    model = {"encoder": encoder, "encoder_weights": None}
    checkpoint = draw_checkpoint(folder / "network.ckpt", 3, "uint8", tile, model)
    applied = build_predictor(load_run(checkpoint, "best"), CPU)
    scene, grid = scene_of((side, side), 3, "uint8", checkpoint), Grid.of(side, side, tile, OVERLAP)
    batch = torch.randn(applied.batch_size, 3, tile, tile).to(memory_format=torch.channels_last)
    work = {"network alone": partial(call, applied, grid, batch), PREDICT: scene.predict}
    tiles = len(grid.tops) * len(grid.lefts)
    print(f"\nunet-{encoder}, float32, {tiles} tiles of {tile} px of a GeoTIFF of {side} x {side} x 3", flush=True)
    scene_of((tile, tile), 3, "uint8", checkpoint).predict()  # libraries load
    call(applied, Grid.of(tile, tile, tile, OVERLAP), batch[:1])
    found: dict[str, list[Spent]] = {name: [] for name in work}
    for number in range(rounds):
        for name in list(work) if number % 2 == 0 else list(work)[::-1]:
            found[name].append(spend(work[name]))
            print(f"  round {number + 1}: {name:16} {found[name][-1].processor:7.2f} s", flush=True)
    for name, spent in found.items():
        print(f"{name:16} {_row(spent, found['network alone'])}", flush=True)


def measure_memory(height: int, width: int, tile: int, folder: Path) -> None:
    """Predict a large scene by a network that costs next to nothing, and say what memory that took."""
    checkpoint = draw_checkpoint(folder / "cheap.ckpt", 4, "uint16", tile, CHEAP)
    scene = scene_of((height, width), 4, "uint16", checkpoint)
    small = scene_of((min(tile, height), min(tile, width) - 1), 4, "uint16", checkpoint)
    grid, size = Grid.of(height, width, tile, OVERLAP), scene.file.stat().st_size / 1e6
    what = f"GeoTIFF of {height} x {width} x 4 uint16, {size:.0f} MB deflated"
    print(f"\n{what}, {len(grid.tops) * len(grid.lefts)} tiles of {tile} px", flush=True)
    with PROCESSES.Pool(1) as pool:  # in this one drawing has left free memory behind
        spent = pool.apply(_by_itself, (scene, small))
    print(
        f"{PREDICT}: {spent.memory:.0f} MB beyond what was there before, processor {spent.processor:.1f} s, wall "
        f"{spent.wall:.1f} s; label map {scene.out.stat().st_size / 1e6:.1f} MB"
    )


def _by_itself(scene: Scene, small: Scene) -> Spent:
    one_thread()
    small.predict()  # libraries load
    return spend(scene.predict)


@contextmanager
def scratch(folder: Path | None) -> Iterator[Path]:
    """Yield a folder for scenes and label maps, which is removed at the end."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        yield Path(name)


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _methods(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in METHODS:
            raise argparse.ArgumentTypeError(
                f"`{name}` is not known{nearest(name, METHODS)}. Known: {', '.join(METHODS)}"
            )
    return [OURS, *(name for name in names if name != OURS)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=_numbers, help="sides of the images, with commas; default: 4000,10000")
    parser.add_argument("--classes", type=_numbers, default=[2, 8], help="numbers of classes, with commas")
    parser.add_argument(
        "--methods", type=_methods, default=",".join(METHODS), help="which, with commas; default: %(default)s"
    )
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--network", action="store_true", help="a real network against its calls alone")
    parser.add_argument("--encoder", default="resnet34", help="of --network")
    parser.add_argument("--memory", action="store_true", help="memory of a large scene")
    parser.add_argument("--side", type=int, help=f"of the scene; --network: {SCENE}, --memory: {LARGE_SCENE}")
    parser.add_argument("--height", type=int, help="of the scene of --memory; default: its side")
    parser.add_argument("--folder", type=Path, help="for scenes and label maps; default: that of the system")
    args = parser.parse_args()
    print(f"{describe_device(CPU)}; torch {versions()['torch']}")
    with scratch(args.folder) as folder:
        if args.network:
            compare_network(args.encoder, args.side or SCENE, args.tile, args.rounds, folder)
        if args.memory:
            width = args.side or LARGE_SCENE
            measure_memory(args.height or width, width, args.tile, folder)
        if args.sizes or not (args.network or args.memory):
            slide(args.sizes or [4000, 10000], args.classes, args.methods, args.tile, args.rounds, folder)


if __name__ == "__main__":
    main()
