"""How far a prediction is and how long it will take: of the items, and of the strips of a scene.

A terminal gets bars, the log of a job a line every minute.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from tqdm import tqdm

from seg_scse import distributed
from seg_scse.data.names import shown

_LONGEST = 40
_EVERY = 60.0
"""Seconds between two lines of a log."""


class Progress:
    """The bar of the items of this process; to be used in a `with` statement.

    Args:
        items: how many are to be predicted.
    """

    def __init__(self, items: int) -> None:
        self._make: Callable[..., Any] = partial(tqdm, leave=False) if sys.stderr.isatty() else Lines
        self._hidden = not distributed.is_main()
        self._bar = self._make(total=items, desc="predict", unit="item", disable=self._hidden)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def step(self) -> None:
        """Show that one item is done, whatever became of it."""
        self._bar.update()

    @contextmanager
    def strips(self, name: str, total: int, done: int) -> Iterator[Callable[[], object]]:
        """Show a bar for the strips of a scene.

        Args:
            name: of the scene.
            total: strips of this process.
            done: those that were done earlier.

        Yields:
            What is called after each strip.
        """
        with self._inner(name, "strip", total, done) as bar:
            yield bar.update

    @contextmanager
    def slices(self, name: str) -> Iterator[Callable[[int, int], None]]:
        """Show a bar for the slices of a volume.

        Yields:
            What is called after each slice with the number of slices done and of all.
        """
        with self._inner(name, "slice") as bar:

            def show(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            yield show

    @contextmanager
    def _inner(self, name: str, unit: str, total: int | None = None, done: int = 0) -> Iterator[Any]:
        """A bar below that of the items; what was done earlier says nothing about the pace."""
        text = shown(name)[-_LONGEST:]
        bar = self._make(desc=text, total=total, initial=done, unit=unit, disable=self._hidden)
        try:
            yield bar
        finally:
            bar.close()


class Lines:
    """What tqdm is for a terminal, for a log: a line on stderr, at most one a minute.

    Args:
        desc: what is counted.
        total: how many there are; None: not known yet.
        initial: those that were done before.
        unit: of what is counted.
        disable: say nothing.
    """

    def __init__(self, *, desc: str, total: int | None, unit: str, disable: bool, initial: int = 0) -> None:
        self.n, self.total = initial, total
        self._name, self._unit, self._silent, self._initial = desc, unit, disable, initial
        self._began = self._said = time.monotonic()

    def update(self, n: int = 1) -> None:
        """Count some more, and say so where the last line is old enough."""
        self.n += n
        now = time.monotonic()
        if self._silent or now - self._said < _EVERY:
            return
        self._said = now
        pace = (now - self._began) / max(1, self.n - self._initial)
        left = "" if self.total is None else f", {tqdm.format_interval(pace * (self.total - self.n))} left"
        print(f"{self._name}: {self._unit} {self.n} of {self.total or '?'}{left}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Nothing is open."""
