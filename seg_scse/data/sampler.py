"""The order of training samples as a pure function of (seed, epoch, rank, world)."""

import math
from collections.abc import Iterator

import numpy as np

from seg_scse.errors import ConfigError

Key = tuple[int, int, int]
"""(epoch, draw, index): `draw` numbers the repeats of sample `index` within the epoch."""


def _no_batch(size: int, batch_size: int, world: int, repeats: int) -> ConfigError:
    if size == 0:
        return ConfigError("the training split has no images, so there is no batch to train on: check data.split")
    processes = f" shared by {world} processes" if world > 1 else ""
    most = size * repeats // world
    smaller = f"trainer.batch_size <= {most} or " if most else ""
    return ConfigError(
        f"trainer.batch_size={batch_size}: an epoch draws {size} training images x trainer.repeats={repeats}"
        f"{processes}, which fills no batch. Choose {smaller}trainer.repeats >= {math.ceil(batch_size * world / size)}."
    )


class EpochBatchSampler:
    """Batches of sample keys for one process; a batch sampler for `torch.utils.data.DataLoader`.

    Each epoch shuffles `size * repeats` draws and deals them to the processes in turn, so that the k-th batches of
    all processes together are one slice of the shuffled order. Only whole batches are given: each draw comes at most
    once an epoch, and all of them come when `size * repeats` is a multiple of `batch_size * world`.

    Iterating starts at the place set by `position` and does not move it.

    Args:
        size: number of training samples.
        batch_size: samples per batch and process.
        seed: non-negative seed of the order.
        rank: this process, `0 <= rank < world`.
        world: number of processes.
        repeats: times each sample is drawn per epoch.

    Raises:
        ConfigError: an epoch has no whole batch.
    """

    def __init__(self, size: int, batch_size: int, seed: int, rank: int, world: int, repeats: int) -> None:
        self._size, self._draws, self._batch_size = size, size * repeats, batch_size
        self._seed, self._rank, self._world = seed, rank, world
        self._epoch, self._batch = 0, 0
        self._batches = self._draws // world // batch_size
        if self._batches == 0:
            raise _no_batch(size, batch_size, world, repeats)

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
        order = np.random.default_rng([self._seed, self._epoch]).permutation(self._draws)
        mine = order[self._rank :: self._world][: self._batches * self._batch_size]
        draws, indices = np.divmod(mine.reshape(self._batches, self._batch_size), self._size)
        epoch, rows = self._epoch, range(self._batch, self._batches)
        # a generator expression, not `yield`: the order is fixed when iteration begins, not at the first batch
        return (
            [(epoch, draw, index) for draw, index in zip(draws[row].tolist(), indices[row].tolist(), strict=True)]
            for row in rows
        )
