"""How many decoded bytes may be kept."""

import threading


class Room:
    """Bytes that are left, shared by threads.

    Args:
        gigabytes: the limit, 1 GB = 10^9 bytes; None for no limit.
    """

    def __init__(self, gigabytes: float | None) -> None:
        self._left = None if gigabytes is None else int(gigabytes * 1e9)
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Take so many bytes, if they are left."""
        with self._lock:
            if self._left is None:
                return True
            if size > self._left:
                return False
            self._left -= size
            return True

    def holds(self, size: int) -> bool:
        """Tell whether so many bytes are left, without taking them."""
        with self._lock:
            return self._left is None or size <= self._left
