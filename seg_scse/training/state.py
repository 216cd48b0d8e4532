"""What a run remembers besides the weights: where it is and what was best."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class Progress:
    """Position and validation history of a run.

    Attributes:
        step: optimizer steps done.
        epoch: epochs done, validated and logged.
        best_score: highest monitored score so far, None before the first validation with a score.
        best_epoch: the epoch it was reached in, None before the first validation.
        bad_validations: validations since then.
        finished: the run has ended by its length or by early stopping.
    """

    step: int = 0
    epoch: int = 0
    best_score: float | None = None
    best_epoch: int | None = None
    bad_validations: int = 0
    finished: bool = False

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
