"""A trainer of a few hundred weights over drawn tensors, and what must be the same after an interruption."""

import csv
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seg_scse import checkpoint, distributed
from seg_scse.config import load_config
from seg_scse.config.schema import Config
from seg_scse.data.dataset import Batch
from seg_scse.data.sampler import EpochBatchSampler
from seg_scse.inference.counting import Scored
from seg_scse.inference.predictor import evaluation_mode
from seg_scse.losses import build_loss
from seg_scse.metrics.counts import CountsTable, count_pixels
from seg_scse.training.averaging import build_averager
from seg_scse.training.difficulty import Difficulty
from seg_scse.training.loop import Trainer
from seg_scse.training.optim import Schedule, build_optimizer
from seg_scse.training.step import Learner

IMAGES = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))
MASKS = (IMAGES[:, 0] + IMAGES[:, 1] > 0.3).to(torch.uint8)
CPU = torch.device("cpu")

SETTINGS = ["trainer.tensorboard=false", "trainer.batch_size=4", "loss.terms={ce: 1.0}", "optimizer.name=sgd"]

EVERYTHING = [
    *("optimizer.name=adamw", "optimizer.schedule=onecycle", "optimizer.lr=0.05", "averaging.method=ema"),
    *("augmentation.mix=cutmix", "trainer.accumulate=2", "trainer.batch_size=2", "trainer.hard_share=0.5"),
    *("trainer.max_epochs=3", "trainer.save_top_k=2", "trainer.early_stopping=5"),
]
"""All that has a state, at once: three epochs of four steps."""


SWA = [
    *("averaging.method=swa", "averaging.start=0.3", "optimizer.schedule=plateau", "optimizer.patience=0"),
    *("augmentation.mix=mixup", "trainer.max_epochs=4", "optimizer.lr=0.05", "trainer.val_every=2"),
]


RUNS = {"everything": EVERYTHING, "swa": SWA, "plain": ["trainer.max_epochs=3", "trainer.max_steps=10"]}

"""Runs of which each has other states."""


class Killed(BaseException):
    """Stands for SIGKILL: nothing handles it."""


class Net(nn.Module):
    """Two parts and a head, with dropout and BatchNorm; supervised at two sizes where `deep`."""

    def __init__(self, deep: bool = True) -> None:
        super().__init__()
        self.deep = deep
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.decoder = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2))
        self.segmentation_head = nn.Conv2d(4, 1, 1)

    def forward(self, images: Tensor) -> Tensor | list[Tensor]:
        logits = self.segmentation_head(self.decoder(self.encoder(images)))
        return [logits, nn.functional.avg_pool2d(logits, 2)] if self.deep and self.training else logits


class Loader:
    """Gives the samples that the sampler names, without a data set."""

    def __init__(self, sampler: EpochBatchSampler) -> None:
        self.sampler = sampler
        self.given: list[tuple[int, int, int]] = []

    def __iter__(self) -> Iterator[Batch]:
        for keys in self.sampler:
            self.given += keys
            index = torch.tensor([key[2] for key in keys])
            yield {"image": IMAGES[index], "mask": MASKS[index], "index": index}


def validation(learner: Learner, images: int = 3) -> Callable[[Callable[[], None]], Scored]:
    """Score the network on some images as `count_split` does."""

    def validate(check: Callable[[], None]) -> Scored:
        table, losses = CountsTable(2), []
        for number in range(images):
            check()
            image, mask = IMAGES[number : number + 1], MASKS[number : number + 1]
            with evaluation_mode(learner.scored):
                logits = learner.scored(image)
                losses.append(float(learner.loss(logits, mask)[0]))
            labels = (logits[0, 0] > 0).to(torch.uint8).numpy()
            table.add(str(number), count_pixels(labels, mask[0].numpy(), 2))
        return Scored(table, sum(losses) / len(losses))

    return validate


def settings(*overrides: str) -> Config:
    return load_config(None, [*SETTINGS, *overrides])


def trainer(
    folder: Path, *overrides: str, model: Callable[[], nn.Module] | None = None, device: torch.device = CPU
) -> Trainer:
    config = settings(*overrides)
    torch.manual_seed(0)
    network = nn.Conv2d(3, 1, 3, padding=1) if model is None else model()
    network = network.to(device)
    place = distributed.rank(), distributed.world_size()
    sampler = EpochBatchSampler(
        [1] * len(IMAGES), config.trainer.samples, config.seed, *place, config.trainer.hard_share
    )
    per_epoch = len(sampler) // config.trainer.accumulate
    steps = min(per_epoch * config.trainer.max_epochs, config.trainer.max_steps or 10**9)
    folder.mkdir(exist_ok=True)
    learner = Learner(
        config=config,
        model=network,
        standardize=nn.Identity(),
        loss=build_loss(config.loss, 2).to(device),
        optimizer=build_optimizer(config.optimizer, network),
        schedule=Schedule(config.optimizer, steps, config.averaging),
        device=device,
        precision="fp32" if config.trainer.precision == "auto" else config.trainer.precision,
        averager=build_averager(config.averaging, network, steps),
        difficulty=Difficulty(range(len(IMAGES)), device) if config.trainer.hard_share else None,
    )
    return Trainer(
        learner=learner,
        loader=Loader(sampler),
        sampler=sampler,
        validate=validation(learner),
        names=str,
        folder=folder,
        facts={"config": {}, "data_digest": "", "mean": [], "std": [], "splits": {}},
        on_epoch=lambda _: {},
    )


def continued(folder: Path, *overrides: str, model: Callable[[], nn.Module] | None = None) -> Trainer:
    """Return a trainer that goes on from the last checkpoint, or starts where there is none."""
    one = trainer(folder, *overrides, model=model)
    if (folder / checkpoint.LAST).exists():
        one.load(checkpoint.load(folder / checkpoint.LAST)[0])
    return one


def stop_before_step(one: Trainer, *steps: int) -> None:
    """Let the run be killed before some step of the run is done."""
    step = one._step

    def killed(batches: Iterator[Batch]) -> object:
        if one.progress.step in steps:
            raise Killed
        return step(batches)

    one._step = killed  # type: ignore[assignment, method-assign]


def run_until_killed(one: Trainer) -> None:
    """Train; the run may as well reach its end."""
    with suppress(Killed):
        one.fit()


def outcome(folder: Path) -> dict[str, object]:
    """Return all that a run leaves which no clock is in: checkpoints, tensors as bytes, and logs."""
    found: dict[str, object] = {name: (folder / name).read_bytes() for name in ("epochs.csv", "steps.csv")}
    for file in sorted(folder.glob("checkpoints/*.ckpt")):
        found |= {f"{file.name}/{key}": value for key, value in plain(checkpoint.load(file)[0]).items()}
    return found


def plain(tree: object, prefix: str = "") -> dict[str, object]:
    """Return the leaves of nested mappings and sequences by their path; tensors as shape, type and bytes."""
    if isinstance(tree, Mapping):
        items: Any = tree.items()
    elif isinstance(tree, list | tuple):
        items = enumerate(tree)
    else:
        leaf = (tree.dtype, tree.shape, tree.numpy().tobytes()) if isinstance(tree, Tensor) else tree
        return {prefix: leaf}
    found: dict[str, object] = {prefix: len(tree)}
    for key, value in items:
        found |= plain(value, f"{prefix}/{key}")
    return found


def differing(one: Mapping[str, object], other: Mapping[str, object]) -> list[str]:
    """Name what is not the same, for a short message."""
    return sorted(key for key in one.keys() | other.keys() if one.get(key, "-") != other.get(key, "-"))


def weights(folder: Path, name: str = checkpoint.LAST) -> dict[str, Any]:
    return {key: value.numpy().tobytes() for key, value in checkpoint.load(folder / name)[0]["model"].items()}


def rows(folder: Path, name: str = "epochs.csv") -> list[dict[str, str]]:
    with (folder / name).open() as stream:
        return list(csv.DictReader(stream))


def state_of(folder: Path, name: str = checkpoint.LAST) -> dict[str, object]:
    return checkpoint.load(folder / name)[0]
