"""One process at work: it reads ahead, predicts image after image, and has the results written."""

import os
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter

from seg_scse import distributed
from seg_scse.inference.predictor import Network
from seg_scse.prediction.inputs.opening import Reading
from seg_scse.prediction.ledger import Ledger, Result, Task
from seg_scse.prediction.outputs import InMemory, Maps, Outputs, Part
from seg_scse.prediction.pipeline import Writer, ahead
from seg_scse.prediction.predicting import Predicting, Ready, make_ready
from seg_scse.prediction.progress import Progress
from seg_scse.prediction.scene_work import SceneWork
from seg_scse.prediction.sharing import Share
from seg_scse.prediction.volume_work import VolumeWork

_WAITING = 4
"""Small images, for each thread that writes, whose results wait for it."""

_SMALL, _FEW = 1_000_000, 2
"""Of images with more pixels fewer may wait: with many classes one holds hundreds of megabytes."""


@dataclass
class Work:
    """Predicts the items of one process.

    Attributes:
        predicting: makes maps.
        outputs: writes them.
        volumes: predicts volumes.
        reading: how files are read.
        ledger: keeps what is finished.
        share: the part of this process.
    """

    predicting: Predicting
    outputs: Outputs
    volumes: VolumeWork
    reading: Reading
    ledger: Ledger
    share: Share
    _batch: list[tuple[Task, Ready]] = field(default_factory=list)

    def run(self, tasks: Sequence[Task]) -> None:
        """Predict items; what fails is noted in the ledger.

        Raises:
            SegScseError: what would fail for all of them, such as a full disk.
        """
        gpu = is_gpu(self.predicting.network)
        threads = _spare_threads() if gpu else 1
        together = self._most_together if gpu else 1
        with Progress(len(tasks)) as progress, Writer(2 * threads, _WAITING * threads) as writer:
            scenes = SceneWork(self.predicting, self.outputs, self.ledger, self.share, writer, progress)
            for task, future in ahead(self._open, tasks, threads, 2 * threads):
                with self.ledger.attempt(task):
                    self._predict(task, future, scenes, together)
                _close(None if future.exception() is not None else future.result())
                progress.step()
            self._predict_batch(writer)

    @property
    def _most_together(self) -> int:
        return min(member.batch_size for member in self.predicting.network.members)

    def _open(self, task: Task) -> Ready | None:
        if task.item.kind != "image":
            return None
        ready = make_ready(task.item, self.reading, self.predicting.whole)
        self.ledger.notes.update(dict.fromkeys(f"some images {fact}" for fact in ready.image.facts))
        return ready

    def _predict(self, task: Task, future: "Future[Ready | None]", scenes: SceneWork, together: int) -> None:
        ready = future.result()
        if ready is None:
            with scenes.progress.slices(task.item.id) as step:
                self.volumes.predict(task, step)
        elif ready.is_scene:
            scenes.predict(task, ready)
        elif together > 1 and self.predicting.fits(ready):
            self._add(task, ready, scenes.writer, together)
        else:
            self._predict_image(task, ready, scenes.writer)

    def _predict_image(self, task: Task, ready: Ready, writer: Writer) -> None:
        start = perf_counter()
        parts = list(self.predicting.strips(ready))
        self._write(task, ready, parts, perf_counter() - start, writer)

    def _write(self, task: Task, ready: Ready, parts: list[Part], seconds: float, writer: Writer) -> None:
        ready.handed_over = True
        height, width, _ = ready.image.shape
        finish = partial(self._finish, task, ready, InMemory(parts), ready.seconds + seconds)
        writer.submit(finish, most=_FEW if height * width > _SMALL else None)

    def _finish(self, task: Task, ready: Ready, maps: Maps, seconds: float) -> None:
        start = perf_counter()
        with self.ledger.attempt(task), ready.opened:
            written = self.outputs.write(task.item.id, ready.image, maps)
            height, width = ready.image.shape[:2]
            seconds += perf_counter() - start
            self.ledger.finish(task, Result(written.outputs, written.counts, written.area_unit, height, width, seconds))

    def _add(self, task: Task, ready: Ready, writer: Writer, together: int) -> None:
        """Put an image to others of its type, and predict them when they are as many as go through the network."""
        if self._batch and self._batch[0][1].image.dtype != ready.image.dtype:
            self._predict_batch(writer)
        ready.handed_over = True
        self._batch.append((task, ready))
        if len(self._batch) == together:
            self._predict_batch(writer)

    def _predict_batch(self, writer: Writer) -> None:
        """Predict the images that wait for each other; where that fails, each by itself."""
        batch = list(self._batch)
        self._batch.clear()
        if not batch:
            return
        start = perf_counter()
        try:
            parts = self.predicting.together([ready for _, ready in batch])
        except Exception:  # one of them, or all at once were too much: by itself each says what is wrong
            for task, ready in batch:
                ready.handed_over = False
                with self.ledger.attempt(task):
                    self._predict_image(task, ready, writer)
                _close(ready)
            return
        seconds = (perf_counter() - start) / len(batch)
        for (task, ready), part in zip(batch, parts, strict=True):
            self._write(task, ready, [part], seconds, writer)


def is_gpu(network: Network) -> bool:
    """Tell whether a network is so much faster than what surrounds it that images are better predicted together."""
    return network.device.type == "cuda"


def _close(ready: Ready | None) -> None:
    """Close an image that failed before it was handed over to whoever writes; no thread reads in it any more."""
    if ready is not None and not ready.handed_over:
        ready.opened.close()


def _spare_threads() -> int:
    """Threads that decode files for a GPU: the cores that each process has to spare."""
    return max(1, min(8, (os.cpu_count() or 1) // distributed.local_world_size() - 1))
