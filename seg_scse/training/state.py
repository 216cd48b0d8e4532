"""What a run remembers besides the weights: where it is and what was best."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass
class Progress:
    """Position and validation history of a run.

    Attributes:
        step: optimizer steps done.
        epoch: epochs done, validated and logged.
        in_epoch: optimizer steps done in the current epoch.
        closed: the current epoch's steps are all done and averaged; its validation is what is left.
        best_score: highest monitored score so far, None before the first validation with a score.
        best_epoch: the epoch it was reached in, None before the first validation.
        bad_validations: validations since then.
        finished: the run has ended by its length or by early stopping.
    """

    step: int = 0
    epoch: int = 0
    in_epoch: int = 0
    closed: bool = False
    best_score: float | None = None
    best_epoch: int | None = None
    bad_validations: int = 0
    finished: bool = False

    @classmethod
    def restored(cls, values: Mapping[str, Any], steps_per_epoch: int) -> Self:
        """Return the progress in a checkpoint; one of format 1 counts the steps of the run only.

        Args:
            values: what `as_dict` returned.
            steps_per_epoch: optimizer steps of an epoch.
        """
        in_epoch = max(0, values["step"] - values["epoch"] * steps_per_epoch)
        return cls(**{"in_epoch": in_epoch, **values})

    def advance(self) -> None:
        """Count an optimizer step."""
        self.step += 1
        self.in_epoch += 1

    def end_epoch(self) -> None:
        """Count an epoch."""
        self.epoch += 1
        self.in_epoch, self.closed = 0, False

    def validated(self, score: float | None) -> bool:
        """Take a validation of the current epoch into account and tell whether it is the best so far.

        A score of None (the monitored class is absent) counts as no improvement, except that the first validation
        is always the best so far.
        """
        better = score is not None and (self.best_score is None or score > self.best_score)
        if better or self.best_epoch is None:
            self.best_score, self.best_epoch, self.bad_validations = score, self.epoch, 0
            return True
        self.bad_validations += 1
        return False

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        return asdict(self)
