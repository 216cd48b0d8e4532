"""Stopping on request: in training the first signal lets the current step end, a second Ctrl-C is immediate.

A second signal of another kind is not: a scheduler, or torchrun, sends SIGTERM after the SIGINT of a terminal.
"""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from seg_scse import distributed


@contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end the block by an exception, as Ctrl-C does, so that what it has begun is cleared away.

    Other processes than the main one have nothing to clear away, and end at once.
    """
    if not distributed.is_main():
        yield
        return

    def end(signum: int, _: FrameType | None) -> None:
        signal.signal(signum, signal.SIG_IGN)  # a second one must not interrupt the clearing away
        print("terminated", file=sys.stderr, flush=True)
        raise SystemExit(128 + signum)

    previous = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


class StopRequest:
    """Remembers the signal that asked the run to stop, if any."""

    signum: int | None = None

    def _handle(self, signum: int, _: FrameType | None) -> None:
        if self.signum == signum == signal.SIGINT:
            raise SystemExit(128 + signum)
        self.signum = self.signum or signum

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Catch SIGINT and SIGTERM inside the block, and restore the previous handlers after it."""
        previous = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
