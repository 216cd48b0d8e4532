"""What the graph of a forward pass keeps for its backward pass, counted in bytes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass
class Kept:
    """Storages that graphs keep, each once, by address; weights are not among them."""

    storages: dict[int, torch.UntypedStorage] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Their bytes."""
        return sum(storage.nbytes() for storage in self.storages.values())


@contextmanager
def counting_kept(model: nn.Module) -> Iterator[Kept]:
    """Collect what forward passes in the block keep for their backward passes.

    Args:
        model: the network whose weights do not count.

    Yields:
        the storages; they stay in memory as long as it does.
    """
    kept = Kept()
    weights = {value.untyped_storage().data_ptr() for value in model.parameters()}

    def pack(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in weights:
            kept.storages[storage.data_ptr()] = storage  # held, so that no other one gets its address
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        yield kept
