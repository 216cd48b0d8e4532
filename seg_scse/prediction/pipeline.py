"""Reading, computing and writing at the same time: threads around the one that computes, with bounded queues."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ahead(function: Callable[[T], R], items: Iterable[T], threads: int, most: int) -> Iterator[tuple[T, Future[R]]]:
    """Call a function for each item in threads, ahead of its use.

    Args:
        function: such as one that opens and decodes a file.
        items: in the order of their use.
        threads: that call it at once.
        most: results, ready or coming, beside the one in use; what memory has to hold.

    Yields:
        Each item and its result, or its error, in their order.
    """
    coming = iter(items)
    pool = ThreadPoolExecutor(threads, "reader")
    waiting: deque[tuple[T, Future[R]]] = deque()
    try:
        waiting.extend((item, pool.submit(function, item)) for item in islice(coming, most))
        while waiting:
            first = waiting.popleft()
            waiting.extend((item, pool.submit(function, item)) for item in islice(coming, 1))
            yield first
    finally:
        pool.shutdown(cancel_futures=True)


class Writer:
    """Calls what writes in threads, behind the one that computes; to be used in a `with` statement.

    Args:
        threads: that write at once.
        most: calls that wait or are at work; `submit` waits for one of them where there are more.
    """

    def __init__(self, threads: int, most: int) -> None:
        self._pool = ThreadPoolExecutor(threads, "writer")
        self._waiting: deque[Future[None]] = deque()
        self._most = most

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.drain()
        finally:  # after a failure or an interruption what waits is not written any more
            self._pool.shutdown(cancel_futures=True)

    def submit(self, function: Callable[[], None], most: int | None = None) -> None:
        """Have a function called; raises what an earlier one raised.

        Args:
            function: what to call.
            most: calls that may wait or be at work with it, where it holds more memory than others.
        """
        while len(self._waiting) >= (most or self._most):
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(function))

    def drain(self) -> None:
        """Wait for all calls; raises what one of them raised."""
        while self._waiting:
            self._waiting.popleft().result()
