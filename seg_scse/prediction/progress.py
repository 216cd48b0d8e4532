"""How far a prediction is and how long it will take: bars on a terminal, of the items and of the strips of a scene."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from tqdm import tqdm

from seg_scse import distributed
from seg_scse.data.names import shown

_LONGEST = 40


class Progress:
    """The bar of the items of this process, on a terminal only; to be used in a `with` statement.

    Args:
        items: how many are to be predicted.
    """

    def __init__(self, items: int) -> None:
        self._hidden = None if distributed.is_main() else True  # None: shown on a terminal only
        self._bar = tqdm(total=items, desc="predict", unit="item", disable=self._hidden, leave=False)

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
    def _inner(self, name: str, unit: str, total: int | None = None, done: int = 0) -> Iterator["tqdm[NoReturn]"]:
        """A bar below that of the items; what was done earlier says nothing about the pace."""
        text = shown(name)[-_LONGEST:]
        bar = tqdm(desc=text, total=total, initial=done, unit=unit, disable=self._hidden, leave=False)
        try:
            yield bar
        finally:
            bar.close()
