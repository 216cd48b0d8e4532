"""The order of training samples as a pure function of (seed, epoch, rank, world)."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from seg_scse.errors import ConfigError

Key = tuple[int, int, int]
"""(epoch, draw, index): `draw` numbers the repeats of sample `index` within the epoch."""


def crops_to_cover(sizes: Sequence[tuple[int, int]], crop: int) -> list[int]:
    """Return for each image `(H, W)` how many square crops have its area, rounded, at least one."""
    return [max(1, round(height * width / crop**2)) for height, width in sizes]


def _no_batch(images: int, draws: int, batch_size: int, world: int) -> ConfigError:
    if draws == 0:
        return ConfigError("the training split has no images, so there is no batch to train on: check data.split.")
    processes = f" for {world} processes" if world > 1 else ""
    most = draws // world
    smaller = f"trainer.batch_size <= {most}, or " if most else ""
    return ConfigError(
        f"trainer.batch_size={batch_size}: an epoch draws {draws} crops from {images} training images{processes}, "
        f"which fills no batch. Choose {smaller}trainer.repeats {math.ceil(batch_size * world / draws)} times as large."
    )


class EpochBatchSampler:
    """Batches of sample keys for one process; a batch sampler for `torch.utils.data.DataLoader`.

    Each epoch shuffles all draws and deals them to the processes in turn, so that the k-th batches of all processes
    together are one slice of the shuffled order. Only whole batches are given: each draw comes at most once an epoch,
    and all of them come when their number is a multiple of `batch_size * world`.

    Iterating starts at the place set by `position` and does not move it.

    Args:
        draws: times each training sample is drawn per epoch, one number per sample.
        batch_size: samples per batch and process.
        seed: non-negative seed of the order.
        rank: this process, `0 <= rank < world`.
        world: number of processes.

    Raises:
        ConfigError: an epoch has no whole batch.
    """

    def __init__(self, draws: Sequence[int], batch_size: int, seed: int, rank: int, world: int) -> None:
        counts = np.asarray(draws, np.int64)
        self._index = np.repeat(np.arange(len(counts)), counts)
        self._draw = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        self._batch_size = batch_size
        self._seed, self._rank, self._world = seed, rank, world
        self._epoch, self._batch = 0, 0
        self._batches = len(self._index) // world // batch_size
        if self._batches == 0:
            raise _no_batch(len(counts), len(self._index), batch_size, world)

    def position(self, epoch: int, batch: int) -> None:
        """Let the next iteration start before batch number `batch` of `epoch`.

        Call it before `iter(loader)`: the loader fetches ahead from then on.

        Raises:
            ValueError: the epoch has no such place.
        """
        if epoch < 0 or not 0 <= batch <= self._batches:
            raise ValueError(f"position({epoch}, {batch}): an epoch has {self._batches} batches")
        self._epoch, self._batch = epoch, batch

    def __len__(self) -> int:
        """Batches per epoch, wherever the iteration starts."""
        return self._batches

    def __iter__(self) -> Iterator[list[Key]]:
        """The rest of the epoch, batch by batch."""
        order = np.random.default_rng([self._seed, self._epoch]).permutation(len(self._index))
        mine = order[self._rank :: self._world][: self._batches * self._batch_size]
        mine = mine.reshape(self._batches, self._batch_size)
        draws, indices = self._draw[mine], self._index[mine]
        epoch, rows = self._epoch, range(self._batch, self._batches)
        # a generator expression, not `yield`: the order is fixed when iteration begins, not at the first batch
        return (
            [(epoch, draw, index) for draw, index in zip(draws[row].tolist(), indices[row].tolist(), strict=True)]
            for row in rows
        )
