"""The order of training samples as a pure function of (seed, epoch, rank, world) and, with hard sampling, weights."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from seg_scse.errors import ConfigError

Key = tuple[int, int, int]
"""(epoch, draw, index): `draw` tells apart the crops of sample `index` within the epoch."""

_HARD = 1  # tells the numbers that choose hard draws from those that shuffle


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


def _in_proportion(weights: NDArray[np.float64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Choose positions so that each comes `count * weight / sum` times, rounded up or down.

    Systematic resampling (Kitagawa 1996, J. Comput. Graph. Stat. 5, 1-25): one random number places equal steps along
    the cumulated weights, so that a small epoch too holds what the weights ask for.
    """
    cumulated = np.cumsum(weights)
    places = (rng.random() + np.arange(count)) * (cumulated[-1] / max(count, 1))
    last = np.flatnonzero(weights)[-1]  # rounding must not step over it
    found: NDArray[np.int64] = np.minimum(np.searchsorted(cumulated, places, side="right"), last)
    return found


class EpochBatchSampler:
    """Batches of sample keys for one process; a batch sampler for `torch.utils.data.DataLoader`.

    Each epoch shuffles all draws and deals them to the processes in turn, so that the k-th batches of all processes
    together are one slice of the shuffled order. Only whole batches are given: each draw comes at most once an epoch,
    and all of them come when their number is a multiple of `batch_size * world`.

    With weights (`weigh`), `round(hard_share * draws)` of an epoch's draws, spread evenly at random, give way to draws
    of samples in proportion to `draws * weights`. The number of batches stays. Such a draw has a number that no other
    one of its sample has in the epoch, so that each is another crop, augmented differently.

    Iterating starts at the place set by `position`, with the weights set by `weigh`, and changes neither.

    Args:
        draws: times each training sample is drawn per epoch, one number per sample.
        batch_size: samples per batch and process.
        seed: non-negative seed of the order.
        rank: this process, `0 <= rank < world`.
        world: number of processes.
        hard_share: share of the draws that follow the weights, 0 to 1.

    Raises:
        ConfigError: an epoch has no whole batch.
    """

    def __init__(
        self, draws: Sequence[int], batch_size: int, seed: int, rank: int, world: int, hard_share: float = 0.0
    ) -> None:
        self._counts = np.asarray(draws, np.int64)
        self._index = np.repeat(np.arange(len(self._counts)), self._counts)
        self._draw = np.arange(len(self._index)) - np.repeat(np.cumsum(self._counts) - self._counts, self._counts)
        self._batch_size = batch_size
        self._seed, self._rank, self._world = seed, rank, world
        self._epoch, self._batch = 0, 0
        self._hard = round(hard_share * len(self._index))
        self._weights: NDArray[np.float64] | None = None
        self._batches = len(self._index) // world // batch_size
        if self._batches == 0:
            raise _no_batch(len(self._counts), len(self._index), batch_size, world)

    def position(self, epoch: int, batch: int) -> None:
        """Let the next iteration start before batch number `batch` of `epoch`.

        Call it before `iter(loader)`: the loader fetches ahead from then on. The weights stay those of the last
        `weigh`: a run that is resumed in the middle of an epoch sets those with which the epoch began.

        Raises:
            ValueError: the epoch has no such place.
        """
        if epoch < 0 or not 0 <= batch <= self._batches:
            raise ValueError(f"position({epoch}, {batch}): an epoch has {self._batches} batches")
        self._epoch, self._batch = epoch, batch

    def weigh(self, weights: NDArray[np.float64] | None) -> None:
        """Let the next iterations prefer samples with large weights; None, or weights of 0 only, prefers none.

        Without effect where `hard_share` is 0. Every process must set the same weights.

        Args:
            weights: `(N,)`, one finite number >= 0 per training sample, such as its recent error; relative to how
                often the sample is drawn anyway, so that equal weights keep the shares of `draws`.

        Raises:
            ValueError: another number of weights, or one that is negative or not finite.
        """
        if weights is not None:
            weights = np.array(weights, np.float64)
            if weights.shape != self._counts.shape or not np.isfinite(weights).all() or weights.min() < 0:
                raise ValueError(f"weigh: {len(self._counts)} finite weights >= 0 are needed, not {weights}")
        self._weights = weights if weights is not None and weights.any() else None

    def __len__(self) -> int:
        """Batches per epoch, wherever the iteration starts and whatever the weights are."""
        return self._batches

    def __iter__(self) -> Iterator[list[Key]]:
        """The rest of the epoch, batch by batch."""
        draw, index = self._drawn()
        order = np.random.default_rng([self._seed, self._epoch]).permutation(len(index))
        mine = order[self._rank :: self._world][: self._batches * self._batch_size]
        mine = mine.reshape(self._batches, self._batch_size)
        draws, indices = draw[mine], index[mine]
        epoch, rows = self._epoch, range(self._batch, self._batches)
        # a generator expression, not `yield`: the order is fixed when iteration begins, not at the first batch
        return (
            [(epoch, draw, index) for draw, index in zip(draws[row].tolist(), indices[row].tolist(), strict=True)]
            for row in rows
        )

    def _drawn(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return number and sample of each draw of the epoch, before they are shuffled."""
        if self._weights is None or self._hard == 0:
            return self._draw, self._index
        rng = np.random.default_rng([self._seed, self._epoch, _HARD])
        replaced = rng.permutation(len(self._index))[: self._hard]
        chosen = _in_proportion(self._weights * self._counts, self._hard, rng)
        draw, index = self._draw.copy(), self._index.copy()
        index[replaced] = chosen
        draw[replaced] = self._counts[chosen] + np.arange(self._hard)  # numbers that no other draw of the epoch has
        return draw, index
