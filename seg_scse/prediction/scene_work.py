"""A scene: its strips are predicted, by one process or by all, kept as files, and put together by whoever is last."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

from seg_scse.errors import DataError
from seg_scse.files import explained
from seg_scse.holding import alone
from seg_scse.prediction.folder import OWNERS, Folder
from seg_scse.prediction.ledger import Ledger, Result, Task
from seg_scse.prediction.outputs import Outputs, Part
from seg_scse.prediction.pipeline import Writer
from seg_scse.prediction.predicting import Predicting, Ready
from seg_scse.prediction.progress import Progress
from seg_scse.prediction.records import name_of
from seg_scse.prediction.sharing import Share
from seg_scse.prediction.writing.strip_store import StripStore

_STRIPS = 2
"""Strips that may wait for being written; with many classes one holds hundreds of megabytes."""


@dataclass(frozen=True)
class SceneWork:
    """How scenes are predicted in this process.

    Attributes:
        predicting: makes maps.
        outputs: writes them.
        ledger: keeps what is finished.
        share: the part of this process.
        writer: the threads that write.
        progress: shows how far the strips are.
    """

    predicting: Predicting
    outputs: Outputs
    ledger: Ledger
    share: Share
    writer: Writer
    progress: Progress

    @property
    def _folder(self) -> Folder:
        return self.outputs.folder

    def predict(self, task: Task, ready: Ready) -> None:
        """Predict the strips of this process that are missing, and finish the scene where it is the last one.

        Raises:
            DataError: the file cannot be read.
            WriteError: a strip cannot be written.
        """
        start = perf_counter()
        height, width = ready.image.shape[:2]
        rows = self.predicting.network.strip_rows(height)
        store = StripStore(self._folder.strips(task.item.id), rows, width, task.fingerprint)
        mine = self.share.strips(len(rows)) if task.shared else range(len(rows))
        missing = [index for index in store.missing() if index in mine]
        owners = self._owners(task)
        with self.progress.strips(task.item.id, len(mine), len(mine) - len(missing)) as step:
            for which in ranges(missing):
                with closing(self.predicting.strips(ready, which)) as parts:
                    for index, part in zip(which, parts, strict=True):
                        self.writer.submit(partial(self._keep, store, index, part, owners), _STRIPS)
                        step()
            self.writer.drain()
        if store.missing():  # another process is still at work, and will be the last
            return
        ready.handed_over = True
        seconds = ready.seconds + perf_counter() - start
        self.writer.submit(partial(self._finish, task, ready, store, seconds))

    def _owners(self, task: Task) -> Path:
        """Folder with an empty file for each strip and each process that predicted it."""
        return self._folder.strips(task.item.id).with_suffix(OWNERS)

    def _keep(self, store: StripStore, index: int, part: Part, owners: Path) -> None:
        store.write(index, {name: array for name, array in part.items()})
        try:
            owners.mkdir(parents=True, exist_ok=True)
            (owners / f"{index:06}.{self.share.label.replace('/', '-of-')}").touch()
        except OSError as error:
            raise explained(owners, error) from error

    def _finish(self, task: Task, ready: Ready, store: StripStore, seconds: float) -> None:
        """Write the results from the strips, unless another process that saw the last strip does."""
        lock = self._folder.hidden / f"{name_of(task.item.id)}.lock"
        with self.ledger.attempt(task), ready.opened, ExitStack() as stack:
            if not stack.enter_context(alone(lock)) or self.ledger.records.finished(task.item) is not None:
                return
            try:
                self._put_together(task, ready, store, seconds)
            except DataError:
                if self.ledger.records.finished(task.item) is None:  # else strips went away because it is finished
                    raise
            lock.unlink(missing_ok=True)

    def _put_together(self, task: Task, ready: Ready, store: StripStore, seconds: float) -> None:
        start = perf_counter()
        written = self.outputs.write(task.item.id, ready.image, store)
        by = _said(self._owners(task))
        height, width = ready.image.shape[:2]
        seconds += perf_counter() - start
        found = (written.outputs, written.counts, written.area_unit)
        result = Result(*found, height, width, seconds, strips=by)
        self.ledger.finish(task, result)
        self._folder.forget_strips([task.item.id])


def _said(owners: Path) -> list[str]:
    """Say which strips each process predicted, such as `1/2: 0-5, 9`; each strip is there as often as it was."""
    strips: dict[str, list[int]] = {}
    for path in sorted(owners.glob("*")):
        index, _, process = path.name.partition(".")
        strips.setdefault(process.replace("-of-", "/"), []).append(int(index))
    return [f"{process}: {', '.join(map(_span, ranges(numbers)))}" for process, numbers in sorted(strips.items())]


def _span(numbers: range) -> str:
    return f"{numbers[0]}-{numbers[-1]}" if len(numbers) > 1 else f"{numbers[0]}"


def ranges(numbers: Sequence[int]) -> Iterator[range]:
    """Join numbers that follow each other: 0 1 2 7 8 gives 0 to 2 and 7 to 8."""
    start = 0
    for place in range(1, len(numbers) + 1):
        if place == len(numbers) or numbers[place] != numbers[place - 1] + 1:
            yield range(numbers[start], numbers[place - 1] + 1)
            start = place
