"""Samples to batches: uint8 (or scaled float32) tensors, the same batches for any number of loader processes."""

import multiprocessing
import multiprocessing.process
import multiprocessing.queues
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.context import BaseContext
from typing import Protocol

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from seg_scse.data.crops import Pixel, Placement
from seg_scse.data.lazy import ArrayLike
from seg_scse.data.loader_faults import end_process, explained, watched
from seg_scse.data.places import Places
from seg_scse.data.sampler import EpochBatchSampler, Key
from seg_scse.data.transforms import Transform
from seg_scse.errors import DataError, SegScseError

Batch = dict[str, torch.Tensor]
"""`image` uint8, or float32 in [0, 1], `(N, C, H, W)` in channels_last memory; `mask` uint8 `(N, H, W)`; `index` int64
`(N,)`."""

_PLACING = 1  # tells these draws from those of the augmentation
_STALLED_SECONDS = 600.0  # a worker that is silent for so long hangs
_LOOK_SECONDS = 5.0  # between looks after the workers while a batch is late


class SampleStore(Protocol):
    """Decoded samples by number. Must be picklable, and small as a pickle: each loader process gets a copy."""

    def image(self, index: int) -> ArrayLike:
        """Image `(H, W, C)`, uint8 or float32 in [0, 1]."""
        ...

    def mask(self, index: int) -> ArrayLike:
        """Class indices or bits of labels, or `IGNORE_INDEX`, `(H, W)`."""
        ...

    def places(self, index: int) -> Places:
        """Some pixels of each class; asked for only where crops are placed."""
        ...


@contextmanager
def _named(key: Key) -> Iterator[None]:
    """Add the sample to any error, so that a failure in a loader process can be traced; epochs count from 1 there."""
    epoch, draw, index = key[0] + 1, *key[1:]
    try:
        yield
    except DataError as error:
        raise DataError(f"{error} (sample {index}, epoch {epoch})") from error
    except Exception as error:
        error.add_note(f"while drawing sample {index}, epoch {epoch}, draw {draw}")
        raise


class TrainingSet(Dataset[dict[str, torch.Tensor | int]]):
    """Augmented training samples.

    Args:
        store: where the samples are.
        indices: numbers of the training samples in `store`.
        transform: crop and augmentation.
        seed: non-negative seed of the augmentation.
        placement: where crops lie; None for anywhere.
    """

    def __init__(
        self,
        store: SampleStore,
        indices: Sequence[int],
        transform: Transform,
        seed: int,
        placement: Placement | None = None,
    ) -> None:
        self._store, self._indices, self._transform, self._seed = store, tuple(indices), transform, seed
        self._placement = placement

    def __len__(self) -> int:
        """Number of samples, without repeats."""
        return len(self._indices)

    def __getitem__(self, key: Key) -> dict[str, torch.Tensor | int]:
        """Draw one sample; a pure function of the seed and the key.

        Args:
            key: `(epoch, draw, position in indices)`, as the sampler gives it.

        Returns:
            `image` uint8 or float32 `(C, H, W)`, `mask` uint8 `(H, W)`, and `index`, the sample's number in the store.

        Raises:
            DataError: the sample cannot be read any more; names it.
        """
        epoch, draw, position = key
        index = self._indices[position]
        with _named((epoch, draw, index)):
            entropy = np.random.SeedSequence([self._seed, epoch, draw, index])
            seed = int(entropy.generate_state(1, np.uint64)[0])  # 64 bits: no two draws share one by chance
            around = self._around((epoch, draw, index))
            image, mask = self._transform(self._store.image(index), self._store.mask(index), seed, around)
        return {"image": torch.from_numpy(image).permute(2, 0, 1), "mask": torch.from_numpy(mask), "index": index}

    def _around(self, key: Key) -> Pixel | None:
        """Choose the pixel that the crop must hold, with numbers of its own: augmentation draws do not shift."""
        if self._placement is None:
            return None
        rng = np.random.default_rng([self._seed, *key, _PLACING])
        return self._placement.pixel(self._store.places(key[2]), rng)

    def __getitems__(self, keys: list[Key]) -> "list[dict[str, torch.Tensor | int]] | SegScseError":
        """One batch for the loader, or the error as a value.

        An error raised in a loader process arrives as text wrapped in a traceback; as a value it arrives unchanged,
        and `TrainingLoader` raises it.
        """
        try:
            return [self[key] for key in keys]
        except SegScseError as error:
            return error


def _collate(samples: "list[dict[str, torch.Tensor | int]] | SegScseError") -> Batch | SegScseError:
    """Stack along the memory order of the images, H W C: a plain copy, and already channels_last."""
    if isinstance(samples, SegScseError):
        return samples
    in_memory_order = [sample | {"image": sample["image"].permute(1, 2, 0)} for sample in samples]  # type: ignore[union-attr]
    batch: Batch = default_collate(in_memory_order)
    return batch | {"image": batch["image"].permute(0, 3, 1, 2)}


class TrainingLoader(DataLoader[dict[str, torch.Tensor | int]]):
    """A `DataLoader` that raises the errors of a loader process as they were, and says why one ended or hangs."""

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # narrower than torch's Any
        """Batches from the sampler's position to the end of the epoch.

        Raises:
            DataError: a sample cannot be read.
            LoaderError: a loader process died or hangs, or shared memory or open files are used up.
        """
        try:
            batches = super().__iter__()
        except OSError as error:  # a process cannot be started
            raise explained(error) from error
        workers = getattr(batches, "_workers", ())
        return _raising(watched(batches, workers, _STALLED_SECONDS) if workers else batches)


def _raising(batches: Iterator[Batch | SegScseError]) -> Iterator[Batch]:
    for batch in batches:
        if isinstance(batch, SegScseError):
            raise batch
        # a tensor from a loader process holds a file open for as long as it is kept, and numbers are kept
        yield batch | {"index": batch["index"].clone()}


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _prepare_worker(_: int) -> None:
    """One computing thread per loader process, which stops when the main process wants it or is killed."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the main one ends its step first
    # torch watches the parent's process id, which is the fork server's: it lives on as long as its workers do
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.queues.Queue._on_queue_feeder_error = staticmethod(end_process)  # type: ignore[attr-defined]
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _worker_context() -> BaseContext:
    """How loader processes start.

    A plain fork copies locks that the threads of torch, OpenCV or CUDA may hold at that moment, and can hang. The fork
    server is a clean process that has only imported this module; `spawn` (Windows) imports it in every worker.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def training_loader(dataset: TrainingSet, sampler: EpochBatchSampler, workers: int, pin_memory: bool) -> TrainingLoader:
    """Build the loader of training batches.

    The batches do not depend on `workers`. Loader processes live as long as the loader; the sampler stays in this
    process, so `sampler.position` holds for the next `iter(loader)` in any case. Drawing consumes no random numbers of
    torch's global generator.

    Args:
        dataset: the samples.
        sampler: their order, over `len(dataset)` samples.
        workers: loader processes; 0 draws in this process.
        pin_memory: copy batches to page-locked memory, for transfers to a CUDA device.

    Raises:
        DataError: while iterating, a sample cannot be read; the message of the store, with the sample's number.
        LoaderError: while iterating, a loader process died or hangs.
    """
    return TrainingLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=_collate,
        num_workers=workers,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
        multiprocessing_context=_worker_context() if workers else None,
        worker_init_fn=_prepare_worker,
        timeout=_LOOK_SECONDS if workers else 0,
        generator=torch.Generator(),  # the loader draws a seed from it at each epoch: not from the global generator
    )
