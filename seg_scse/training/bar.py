"""The progress bar of an epoch, on a terminal only."""

import math

from tqdm import tqdm

from seg_scse import distributed
from seg_scse.training.journal import Journal, score_text
from seg_scse.training.meter import Meter
from seg_scse.training.state import Progress


class EpochBar:
    """Shows the steps of an epoch, the last loss that was read, and the meter; to be used in a `with` statement.

    Args:
        at: where the run is.
        steps: steps of the epoch that are still to be done.
        steps_per_epoch: those of a whole epoch.
        total_steps: those of the whole run.
    """

    def __init__(self, at: Progress, steps: int, steps_per_epoch: int, total_steps: int) -> None:
        left = total_steps - at.step + at.in_epoch
        self._bar = tqdm(
            desc=f"epoch {at.epoch + 1}/{at.epoch + math.ceil(left / steps_per_epoch)}",
            total=at.in_epoch + steps,
            initial=at.in_epoch,
            unit="step",
            leave=False,
            disable=None if distributed.is_main() else True,  # None: shown on a terminal only
        )

    def __enter__(self) -> "EpochBar":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def step(self, journal: Journal, meter: Meter, best: float | None) -> None:
        """Show that a step was done; costs nothing where there is no terminal."""
        if not self._bar.disable:
            words = f"loss {journal.last_loss:.3f}, best {score_text(best)}, {meter.text()}"
            self._bar.set_postfix_str(words, refresh=False)
            self._bar.update()
