"""When a run saves a checkpoint within an epoch, and when its processes ask each other about signals."""

import time
from collections.abc import Callable

from seg_scse.config.schema import TrainerConfig
from seg_scse.training.journal import SYNC_EVERY

ASK_SECONDS = 1.0
"""About how long several processes go on before they ask each other whether one of them got a signal."""


class Pace:
    """Says when the next checkpoint is due: by the number of steps, which all processes know, or by this one's clock.

    Args:
        config: steps and minutes between checkpoints.
        clock: seconds from any origin, never set back.
    """

    def __init__(self, config: TrainerConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._every, self._clock = config.save_every_steps, clock
        self._seconds = None if config.save_every_minutes is None else 60.0 * config.save_every_minutes
        self.saved()
        self._asked: tuple[int, float] | None = None
        self._interval = 1  # until it is known how long a step takes

    def saved(self) -> None:
        """Count the minutes from now on."""
        self._since = self._clock()

    def by_count(self, step: int) -> bool:
        """Tell whether a checkpoint is due after `step` optimizer steps of the run."""
        return self._every is not None and step % self._every == 0

    def by_clock(self) -> bool:
        """Tell whether the minutes have passed."""
        return self._seconds is not None and self._clock() - self._since >= self._seconds

    def asked(self, step: int) -> int:
        """Return after how many further steps to ask again, `SYNC_EVERY` at most; called at each time of asking."""
        now = self._clock()
        if self._asked is not None and step > self._asked[0]:
            each = (now - self._asked[1]) / (step - self._asked[0])
            self._interval = SYNC_EVERY if each * SYNC_EVERY <= ASK_SECONDS else max(1, int(ASK_SECONDS / each))
        self._asked = step, now
        return self._interval
