"""How badly each training sample is predicted, so that hard ones can be drawn more often."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from seg_scse import distributed
from seg_scse.config.masks import Task
from seg_scse.config.schema import IGNORE_INDEX

_MEMORY = 0.5  # share of a sample's old error that stays when it is seen again


def crop_errors(logits: Tensor, target: Tensor, task: Task = "multiclass") -> tuple[Tensor, Tensor]:
    """Return the error of each crop: the mean of 1 - p(truth) over its valid pixels, of multilabel over the labels too.

    Args:
        logits: `(N, 1, H, W)` for two classes, `(N, K, H, W)` for K, of multilabel one channel per label.
        target: `(N, H, W)` class indices, of multilabel bits, or `IGNORE_INDEX`.
        task: what the target holds.

    Returns:
        float32 `(N,)` in [0, 1], and bool `(N,)`: the crop has a valid pixel; the error of one without is 0.
    """
    valid = target != IGNORE_INDEX
    logits = logits.float()
    if task == "multilabel" or logits.shape[1] == 1:
        bits = torch.arange(logits.shape[1], device=target.device).view(-1, 1, 1)
        present = (target.long().unsqueeze(1) >> bits) & 1
        wrong = torch.sigmoid(torch.where(present.bool(), -logits, logits)).mean(1)
    else:
        wrong = 1 - torch.exp(-F.cross_entropy(logits, target.long(), ignore_index=IGNORE_INDEX, reduction="none"))
    pixels = valid.sum((1, 2))
    return (wrong * valid).sum((1, 2)) / pixels.clamp(min=1), pixels > 0


class Difficulty:
    """Running errors of the training samples, and the weights of the epoch that they lead to.

    A sample's error is that of its last crops: each time it is seen, half of the old value gives way to the new one.
    Samples that were never seen count as average. The errors stay on the device between epochs, and no call of
    `observe` makes the host wait for it.

    Args:
        indices: numbers of the training samples in the store, in the order of the sampler.
        device: of the logits.
        task: what targets hold.
    """

    def __init__(self, indices: Sequence[int], device: torch.device, task: Task = "multiclass") -> None:
        self._task: Task = task
        positions = torch.zeros(max(indices, default=-1) + 1, dtype=torch.long)
        positions[torch.tensor(indices, dtype=torch.long)] = torch.arange(len(indices))
        self._positions = positions.to(device)
        self._errors = torch.full((len(indices),), torch.nan, device=device)  # nan: never seen
        self._seen = torch.zeros(len(indices), dtype=torch.bool, device=device)  # by this process in this epoch
        self._weights: NDArray[np.float64] | None = None

    @property
    def weights(self) -> NDArray[np.float64] | None:
        """`(N,)`: weights of the current epoch, for the sampler; None in the first one."""
        return self._weights

    @torch.no_grad()
    def observe(self, index: Tensor, logits: Tensor | Sequence[Tensor], target: Tensor) -> None:
        """Take the predictions of a batch into account.

        Args:
            index: `(N,)` numbers of the samples in the store; several crops of one sample count as their mean.
            logits: as `crop_errors` takes them, or several sizes of them, of which the first is that of the target.
            target: `(N, H, W)`.
        """
        first = logits if isinstance(logits, Tensor) else logits[0]
        errors, valid = crop_errors(first, target, self._task)
        device = self._errors.device
        position = self._positions[index.to(device, non_blocking=True)]
        # Equal rows get equal values, so that it does not matter which of them is written: no order of atomic sums.
        same = (position.unsqueeze(0) == position.unsqueeze(1)) & valid
        count = same.sum(1)
        new, old = (same * errors).sum(1) / count.clamp(min=1), self._errors[position]
        mixed = torch.where(old.isnan(), new, _MEMORY * old + (1 - _MEMORY) * new)
        self._errors[position] = torch.where(count > 0, mixed, old)
        self._seen[position] |= count > 0

    def end_epoch(self) -> NDArray[np.float64]:
        """Share what all processes saw and return the next epoch's weights; every process must call it.

        Returns:
            `(N,)`: the running errors, the mean of the others where a sample was never seen; ones if none was.
        """
        errors = _merged(*self._gathered())
        self._errors.copy_(errors)
        self._seen.zero_()
        known = ~errors.isnan()
        mean = errors[known].double().mean() if known.any() else torch.tensor(1.0)
        self._weights = np.asarray(torch.where(known, errors.double(), mean).numpy(), np.float64)
        return self._weights

    def _gathered(self) -> tuple[Tensor, Tensor]:
        """Return errors and what was seen of all processes, `(world, N)` each."""
        own = self._errors.tolist(), self._seen.tolist()
        errors, seen = zip(*distributed.gather(own), strict=True)
        return torch.tensor(errors, dtype=torch.float32), torch.tensor(seen, dtype=torch.bool)

    def state_dict(self) -> dict[str, Any]:
        """Return tensors for a checkpoint, also in the middle of an epoch; every process must call it."""
        errors, seen = self._gathered()
        weights = None if self._weights is None else torch.from_numpy(self._weights.copy())
        return {"weights": weights, "errors": errors, "seen": seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned; with another number of processes, as the first one's observations."""
        weights, errors, seen = state["weights"], state["errors"], state["seen"]
        rank = distributed.rank()
        if len(errors) != distributed.world_size():
            errors, seen = _merged(errors, seen).unsqueeze(0), seen.any(0, keepdim=True) & (rank == 0)
            rank = 0
        self._weights = None if weights is None else weights.double().numpy().copy()
        self._errors.copy_(errors[rank])
        self._seen.copy_(seen[rank])


def _merged(errors: Tensor, seen: Tensor) -> Tensor:
    """Return the mean over the processes that saw a sample in this epoch, else the value that all of them share."""
    count = seen.sum(0)
    mean = (errors.where(seen, 0.0).double().sum(0) / count.clamp(min=1)).float()
    return torch.where(count > 0, mean, errors[0])
