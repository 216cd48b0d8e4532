"""Ending on request: Ctrl-C and SIGTERM end the work at once, and what is finished stays."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from seg_scse.errors import Stopped


class _Signal(KeyboardInterrupt):
    """No Exception: nothing that handles errors of a file may take it for one."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def _end(signum: int, _: FrameType | None) -> None:
    # A terminal and a scheduler may both send one; a second Ctrl-C does not wait for threads that still write.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    raise _Signal(signum)


@contextmanager
def ending(said: Callable[[], str]) -> Iterator[None]:
    """Let SIGINT and SIGTERM end the block as what was asked for, not as an error; for the main thread.

    Args:
        said: how far the work is.

    Raises:
        Stopped: a signal came; with how far the work is and how it goes on.
    """
    previous = {number: signal.signal(number, _end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except _Signal as stop:
        name = "interrupted" if stop.signum == signal.SIGINT else "terminated"
        raise Stopped(f"{name}: {said()}. The same command goes on from here.", stop.signum) from None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
