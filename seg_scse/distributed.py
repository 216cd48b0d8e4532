"""The processes of one run: torch.distributed behind a few words. A single process needs no setup."""

import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import distributed as dist
from torch import nn

T = TypeVar("T")
PATIENCE = datetime.timedelta(hours=2)
"""How long a process waits for the others; the main one may decode a large data set meanwhile."""


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


@contextmanager
def process_group() -> Iterator[None]:
    """Join the processes started by `torchrun`, if any, and leave them at the end.

    Tensors on a GPU travel by NCCL, tensors on the CPU and Python values by gloo.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank())
        dist.init_process_group("cpu:gloo,cuda:nccl", timeout=PATIENCE)
    else:
        dist.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


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
