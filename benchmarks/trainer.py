"""What the trainer adds to a step: `python benchmarks/trainer.py [--steps 100] [--rounds 9] [--cuda]`.

The real `Trainer` with all that is on by default (CSV files, TensorBoard, meter, checkpoint clock, clipping, schedule),
a bare PyTorch loop that does the same arithmetic and nothing else, and, where it is installed, Lightning's Trainer
train the same network on the same batches, which are in memory. They take turns in one process, in reversed order every
other round, so that a busy machine slows all alike; differences and ratios of the same round are printed, never
absolute times alone. A turn is a run of its own: its first steps warm up and are not timed, nor is what comes before
and after its steps. `tiny` is a network that takes next to no time, `small` one of a few milliseconds.

Two clocks are read: the processor time of the process, all of its threads included, and the time on the wall. On a GPU
the host is made to wait before and after the timed steps, and not between them.
"""

import argparse
import contextlib
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seg_scse.config import load_config
from seg_scse.config.schema import Config
from seg_scse.data.dataset import Batch
from seg_scse.data.sampler import EpochBatchSampler
from seg_scse.data.standardize import Standardizer
from seg_scse.inference.counting import Scored
from seg_scse.losses import build_loss
from seg_scse.metrics.counts import CountsTable
from seg_scse.models import build_model
from seg_scse.provenance import describe_device, versions
from seg_scse.training.loop import Trainer
from seg_scse.training.optim import Schedule, build_optimizer
from seg_scse.training.step import Learner

WARMUP = 10  # steps of a turn that are not timed
KEPT = 8  # batches in memory, which come again and again
CLIP = 1.0  # `trainer.clip_grad_norm` by default

Times = tuple[float, float]
"""Seconds per step: processor time, time on the wall."""


@dataclass
class Task:
    """What all forms are given.

    Attributes:
        model: makes the network, with the same weights each time.
        config: of our trainer; the others take loss and optimizer from it.
        size: height and width of the images, in pixels.
        steps: those of a turn that are timed.
        device: where to train.
        batches: made once, on the CPU, as a loader gives them.
    """

    model: Callable[[], nn.Module]
    config: Config
    size: int
    steps: int
    device: torch.device
    batches: list[Batch] = field(init=False)

    def __post_init__(self) -> None:
        draw, samples = torch.Generator().manual_seed(0), self.config.trainer.samples
        self.batches = []
        for number in range(KEPT):
            image = torch.randint(0, 256, (samples, 3, self.size, self.size), generator=draw, dtype=torch.uint8)
            index = torch.arange(number * samples, (number + 1) * samples)
            self.batches.append({"image": image, "mask": (image[:, 0] > 127).to(torch.uint8), "index": index})
        if self.device.type == "cuda":
            for batch in self.batches:
                batch |= {"image": batch["image"].pin_memory(), "mask": batch["mask"].pin_memory()}

    @property
    def total(self) -> int:
        """Batches of a turn; the last one ends the timed steps."""
        return WARMUP + self.steps + 1

    def parts(self) -> tuple[nn.Module, nn.Module, nn.Module]:
        """Return network, standardisation and loss, on the device."""
        torch.manual_seed(0)
        network = self.model().to(self.device).to(memory_format=torch.channels_last)
        standardize = Standardizer((0.5,) * 3, (0.25,) * 3).to(self.device)
        return network, standardize, build_loss(self.config.loss, 2).to(self.device)


class Feed:
    """Gives the batches of a turn and reads the clocks when some are asked for: from one to the next is a whole step.

    Args:
        task: whose batches are given.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self._marks: list[Times] = []

    def __len__(self) -> int:
        return self.task.total

    def __iter__(self) -> Iterator[Batch]:
        for number in range(self.task.total):
            if number in (WARMUP, WARMUP + self.task.steps):
                self._read()
            yield self.task.batches[number % KEPT]

    def _read(self) -> None:
        if self.task.device.type == "cuda":
            torch.cuda.synchronize()
        self._marks.append((time.process_time(), time.perf_counter()))

    def times(self) -> Times:
        """Return what a timed step took."""
        before, after = self._marks
        return (after[0] - before[0]) / self.task.steps, (after[1] - before[1]) / self.task.steps


def ours(task: Task, folder: Path) -> Times:
    """The trainer of this package."""
    network, standardize, loss = task.parts()
    samples = task.config.trainer.samples
    sampler = EpochBatchSampler([1] * (task.total * samples), samples, 0, rank=0, world=1)
    learner = Learner(
        config=task.config,
        model=network,
        standardize=standardize,
        loss=loss,  # type: ignore[arg-type]
        optimizer=build_optimizer(task.config.optimizer, network),
        schedule=Schedule(task.config.optimizer, task.total),
        device=task.device,
        precision=task.config.trainer.precision,
    )
    feed = Feed(task)
    trainer = Trainer(
        learner=learner,
        loader=feed,  # type: ignore[arg-type]
        sampler=sampler,
        validate=lambda _: Scored(CountsTable(2), 0.0),
        names=str,
        folder=folder,
        facts={"config": {}, "data_digest": "", "mean": [], "std": [], "splits": {}},
        on_epoch=lambda _: {},
    )
    with contextlib.redirect_stdout(None):
        trainer.fit()
    return feed.times()


def bare(task: Task, _: Path) -> Times:
    """The loop without a trainer."""
    network, standardize, loss = task.parts()
    optimizer = build_optimizer(task.config.optimizer, network)
    parameters, feed = list(network.parameters()), Feed(task)
    network.train()
    for batch in feed:
        images = standardize(batch["image"].to(task.device, non_blocking=True))
        target = batch["mask"].to(task.device, non_blocking=True)
        total, _terms = loss(network(images), target)
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
    return feed.times()


def lightnings(task: Task, folder: Path) -> Times:
    """Lightning's Trainer with its defaults, but for bar, summary and checkpoints, which a turn has no use for."""
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network, self.standardize, self.loss = task.parts()

        def training_step(self, batch: Batch, _: int) -> Tensor:
            total, terms = self.loss(self.network(self.standardize(batch["image"])), batch["mask"])
            self.log_dict({"loss": total.detach(), **{f"loss_{name}": value for name, value in terms.items()}})
            return total

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return build_optimizer(task.config.optimizer, self.network)

    feed = Feed(task)
    options: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False}
    trainer = lightning.Trainer(
        **options,
        accelerator="gpu" if task.device.type == "cuda" else "cpu",
        devices=1,
        max_epochs=1,
        gradient_clip_val=CLIP,
        enable_checkpointing=False,
        default_root_dir=folder,
    )
    trainer.fit(Module(), feed)
    return feed.times()


FORMS = {"ours": ours, "bare": bare, "Lightning": lightnings}


def tasks(steps: int, device: torch.device) -> dict[str, Task]:
    """The networks that are trained, by name."""
    settings = ["trainer.precision=fp32", "trainer.batch_size=4"]
    small = load_config(None, [*settings, "model.architecture=classic_unet", "model.width=8", "model.depth=3"])

    def tiny_network() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 1))

    return {
        "tiny": Task(tiny_network, load_config(None, settings), 16, steps, device),
        "small": Task(lambda: build_model(small.model, 3, 2), small, 32, steps, device),
    }


def take_turns(task: Task, names: list[str], rounds: int) -> dict[str, list[Times]]:
    """Return the times of each form in each round, after one that warms up."""
    times: dict[str, list[Times]] = {name: [] for name in names}
    for number in range(rounds + 1):
        for name in names if number % 2 else names[::-1]:
            with tempfile.TemporaryDirectory() as folder:
                spent = FORMS[name](task, Path(folder))
            if number:
                times[name].append(spent)
    return times


def row(times: dict[str, list[Times]], name: str, clock: int) -> str:
    """A step of a form: its time, and what it adds to the bare loop, medians of the rounds with their ranges."""
    pairs = [(a[clock], b[clock]) for a, b in zip(times[name], times["bare"], strict=True)]
    added = sorted(1000 * (a - b) for a, b in pairs)
    ratios = sorted(a / b for a, b in pairs)
    return (
        f"{1000 * statistics.median(a for a, _ in pairs):7.3f} ms   {statistics.median(added):+.3f} ms "
        f"({added[0]:+.3f} to {added[-1]:+.3f})   {statistics.median(ratios):.3f} of bare "
        f"({ratios[0]:.3f}-{ratios[-1]:.3f})"
    )


def lightning_version() -> str | None:
    """The version of Lightning, or None where it is not installed."""
    try:
        import lightning
    except ImportError:
        return None
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    return str(lightning.__version__)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100, help="timed steps of a turn")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--cuda", action="store_true", help="on a GPU")
    args = parser.parse_args()
    if args.cuda and not torch.cuda.is_available():
        parser.error("--cuda: torch sees no CUDA device.")
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module="lightning")
    device = torch.device("cuda" if args.cuda else "cpu")
    found = lightning_version()
    known = {**versions(), "lightning": found or "not installed: left out"}
    print(f"{describe_device(device)}; {', '.join(f'{k} {v}' for k, v in known.items())}")
    names = [name for name in FORMS if found or name != "Lightning"]
    for label, task in tasks(args.steps, device).items():
        times = take_turns(task, names, args.rounds)
        for clock, what in enumerate(("processor", "wall")):
            for name in names:
                print(f"{label:6}{what:10}{name:10}{row(times, name, clock)}", flush=True)


if __name__ == "__main__":
    main()
