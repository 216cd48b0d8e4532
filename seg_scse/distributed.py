"""The processes of one run: torch.distributed behind a few words. A single process needs no setup."""

import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import distributed as dist
from torch import nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from seg_scse.errors import SegScseError

T = TypeVar("T")
PATIENCE = datetime.timedelta(hours=2)
"""How long a process waits for the others; the main one may decode a large data set meanwhile."""

_LOST = ("connection closed by peer", "connection reset", "broken pipe", "socket closed", "remote process exited")
"""What gloo and NCCL say when another process is gone."""


def rank() -> int:
    """Return the index of this process, 0 in a single-process run."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Tell whether this process prints and writes."""
    return rank() == 0


def local_rank() -> int:
    """Return the index of this process on its machine, which is the index of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def local_world_size() -> int:
    """Return the number of processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def restarts() -> int:
    """Return how often `torchrun --max-restarts` or a requeueing SLURM started this command again."""
    return max(int(os.environ.get(name) or 0) for name in ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"))


def max_restarts() -> int:
    """Return how often `torchrun` will start this command again after a failure."""
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS") or 0)


def job() -> str | None:
    """Return what `torchrun` calls this job (`--rdzv-id`), the same after it started the processes again."""
    name = os.environ.get("TORCHELASTIC_RUN_ID", "")
    return None if name in ("", "none") else name


@contextmanager
def process_group(patience: datetime.timedelta = PATIENCE) -> Iterator[None]:
    """Join the processes started by `torchrun`, if any, and leave them at the end.

    Tensors on a GPU travel by NCCL, tensors on the CPU and Python values by gloo.

    Args:
        patience: how long a process waits for the others before it takes them for dead.

    Raises:
        SegScseError: another process ended while this one waited for it.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield
        return
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank())
        backend = "cpu:gloo,cuda:nccl"
    store, number, world = next(rendezvous("env://", timeout=PATIENCE))
    dist.init_process_group(backend, store=_of_attempt(store, world), rank=number, world_size=world, timeout=patience)
    try:
        yield
        # A thread of gloo that still holds tensors of the last exchange ends a process that exits then, by SIGABRT.
        # This exchange has none, and while it lasts the thread can let go of them.
        dist.barrier()
    except RuntimeError as error:
        if any(text in str(error).lower() for text in _LOST):
            raise SegScseError(
                f"process {rank()} of {world_size()} stopped, because another one ended: its own message says why."
            ) from error
        raise
    # Only now: after an error, this process says so before the others see that it is gone.
    dist.destroy_process_group()


def _of_attempt(store: Store, world: int) -> Store:
    """Keep the addresses of this attempt apart from those that processes of the attempt before left in the store.

    `torchrun` gives all attempts one store. A process that reads before the other has written would wait for one that
    is gone. On several machines the numbers of attempts may differ, so that they are of no use there.
    """
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return PrefixStore(f"attempt {attempt}", store) if local_world_size() == world else store


def barrier() -> None:
    """Wait for all processes."""
    if dist.is_initialized():
        dist.barrier()


def gather(value: T) -> list[T]:
    """Return the picklable `value` of every process, in rank order, on every process."""
    if not dist.is_initialized():
        return [value]
    values = [value] * world_size()
    dist.all_gather_object(values, value)
    return values


def share_buffers(module: nn.Module) -> None:
    """Give every process the main process's buffers, such as the running statistics of BatchNorm.

    DistributedDataParallel does so before each training step, but after the last one they differ again.
    """
    if dist.is_initialized():
        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)


def from_main(value: T) -> T:
    """Return the main process's `value` on every process."""
    if not dist.is_initialized():
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]
