"""What was made last is kept for who asks next: decoded files, parsed annotations."""

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """The last things made, by key, up to a number of items and of bytes, and at least one. For many threads.

    What several threads ask for at once is made by one of them while the others wait; other keys do not wait for it.
    What could not be made is not remembered.

    Attributes:
        most: items to keep.
        most_bytes: bytes to keep; 0 keeps the last item only.
    """

    def __init__(
        self, most: float = math.inf, most_bytes: float = math.inf, size: Callable[[T], int] = lambda _: 0
    ) -> None:
        """Keep nothing yet.

        Args:
            most: items to keep.
            most_bytes: bytes to keep.
            size: bytes of an item.
        """
        self.most, self.most_bytes = most, most_bytes
        self._size, self._bytes = size, 0
        self._kept: OrderedDict[Hashable, T] = OrderedDict()
        self._turns: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Number of items that are kept."""
        return len(self._kept)

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what is kept for a key, or what `make` returns, which is kept from now on.

        Args:
            key: everything that the result depends on.
            make: may ask for other keys; what it raises reaches every caller that waited for it, from its own attempt.
        """
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            turn = self._turns.setdefault(key, threading.Lock())
        with turn:
            with self._lock:
                if key in self._kept:  # made while this thread waited
                    return self._kept[key]
            try:
                return self._keep(key, make())
            finally:
                with self._lock:
                    self._turns.pop(key, None)

    def _keep(self, key: Hashable, item: T) -> T:
        with self._lock:
            self._kept[key] = item
            self._bytes += self._size(item)
            while len(self._kept) > 1 and (len(self._kept) > self.most or self._bytes > self.most_bytes):
                self._bytes -= self._size(self._kept.popitem(last=False)[1])
        return item
