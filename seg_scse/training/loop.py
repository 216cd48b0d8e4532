"""The training loop: epochs, checkpoints, validations and stops.

Data order, augmentation and the network's random numbers are functions of (seed, epoch, draw, step, rank), and all
else that a step depends on is in the checkpoint. So a run continues from one as if it had never stopped.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from seg_scse import checkpoint, distributed
from seg_scse.data.dataset import Batch, TrainingLoader
from seg_scse.data.loader_faults import LoaderError
from seg_scse.data.sampler import EpochBatchSampler
from seg_scse.errors import DataError, DivergedError, Stopped, WriteError
from seg_scse.inference.counting import Scored
from seg_scse.metrics.scores import foreground_score
from seg_scse.training.bar import EpochBar
from seg_scse.training.journal import CURE, Journal, StepResult, kept
from seg_scse.training.loggers import open_loggers
from seg_scse.training.meter import Meter
from seg_scse.training.pace import Pace
from seg_scse.training.panel import EpochEnd, Panel
from seg_scse.training.records import Records, Value
from seg_scse.training.saving import Checkpoints
from seg_scse.training.signals import StopRequest
from seg_scse.training.state import Progress
from seg_scse.training.step import Learner

OnEpoch = Callable[[EpochEnd], Mapping[str, NDArray[np.uint8]]]
"""Called by the main process after each epoch; returns pictures (H, W, 3) by name, for the loggers."""

Validate = Callable[[Callable[[], None]], Scored]
"""Scores the network on the validation split and calls its argument between images (`count_split`'s `check`)."""

ASK_EVERY = 8
"""Images of a validation, or rather rounds of one for each process, between which several processes look for signals;
a single one always does."""


class Trainer:
    """Trains a network; everything it needs is given, nothing is looked up.

    Args:
        learner: the network and what changes it.
        loader: batches in the order of `sampler`.
        sampler: order of the data.
        validate: scores `learner.scored` on the validation split.
        names: sample ids by index, for messages.
        folder: the run folder.
        facts: plain values stored in every checkpoint beside weights and progress.
        on_epoch: see `OnEpoch`.
        panel: keeps what `validate` predicts of some images; None for no pictures.
        samples_per_step: training samples of a step, of all processes together.
    """

    def __init__(
        self,
        *,
        learner: Learner,
        loader: TrainingLoader,
        sampler: EpochBatchSampler,
        validate: Validate,
        names: Callable[[int], str],
        folder: Path,
        facts: dict[str, Any],
        on_epoch: OnEpoch,
        panel: Panel | None = None,
        samples_per_step: int = 1,
    ) -> None:
        self.learner, self.config = learner, learner.config
        self.model, self.standardize, self.loss = learner.model, learner.standardize, learner.loss
        self.optimizer, self.schedule = learner.optimizer, learner.schedule
        self.device, self.precision = learner.device, learner.precision
        self.loader, self.sampler = loader, sampler
        self.validate, self.names, self.on_epoch, self.panel = validate, names, on_epoch, panel
        self.folder, self.facts, self.samples_per_step = folder, facts, samples_per_step
        self.steps_per_epoch = len(sampler) // self.config.trainer.accumulate
        self.progress, self.stop, self.pace = Progress(), StopRequest(), Pace(self.config.trainer)
        self.checkpoints = Checkpoints(folder, self.config.trainer.save_top_k)
        self._saved: Progress | None = None
        self._asked = self._ask_at = 0

    def load(self, state: dict[str, Any]) -> None:
        """Continue from the state of a checkpoint.

        Raises:
            CheckpointError: it was made by another model.
        """
        path, learner = self.folder / checkpoint.LAST, self.learner
        checkpoint.load_weights(self.model, state.get("training", state), path)
        if learner.scored is not self.model:
            checkpoint.load_weights(learner.scored, state, path)
        learner.load_state_dict(state)
        self.checkpoints.load(state)
        self.progress = Progress.restored(state["progress"], self.steps_per_epoch)

    def fit(self) -> Progress:
        """Train to the end and return where it ended.

        Raises:
            DataError: a sample cannot be read any more; says at which step, and how to go on.
            DivergedError: non-finite loss or gradient.
            LoaderError: a loader process was lost.
            Stopped: SIGINT or SIGTERM; the last checkpoint holds the current step.
            WriteError: the run folder cannot be written.
        """
        records = self._open_records() if distributed.is_main() else None
        self.journal = Journal(self.folder, self.config, self.steps_per_epoch, self.precision, self.names, records)
        self.meter = self._meter()
        try:
            with self.stop.listening():
                while not self.progress.finished:
                    self._epoch()
        except DataError as error:
            raise DataError(f"{error}\n{self._way_on('Repair the data')}") from error
        except LoaderError as error:
            raise LoaderError(f"{error}\n{self._way_on('Cure it')}") from error
        except WriteError as error:
            raise WriteError(f"{error}\n{self._way_on('Make that possible')}") from error
        finally:
            if records is not None:
                records.close()
        return self.progress

    def _open_records(self) -> Records:
        terms, at = tuple(self.config.loss.terms), self.progress
        loggers = open_loggers(self.config, self.folder, at.step, at.in_epoch)
        return Records(self.folder, terms, at.epoch, at.step, loggers)

    def _meter(self) -> Meter:
        every = self.config.trainer.val_every * self.steps_per_epoch
        total = self.schedule.total_steps
        return Meter(total, self.progress.step, self.samples_per_step, self.device, every)

    def _epoch(self) -> None:
        self.meter.begin_epoch()
        self.learner.begin_epoch(self.progress.epoch)
        self._train()
        self._close()
        self._end_epoch(self._score())
        self._stop_if_asked()

    def _train(self) -> None:
        """Do the steps of the epoch that are still to be done."""
        progress, accumulate = self.progress, self.config.trainer.accumulate
        steps = min(self.steps_per_epoch - progress.in_epoch, self.schedule.total_steps - progress.step)
        if self.learner.difficulty is not None:
            self.sampler.weigh(self.learner.difficulty.weights)
        if steps <= 0 or progress.closed:  # a run stopped after an epoch's last step has still to validate it
            return
        self.sampler.position(progress.epoch, progress.in_epoch * accumulate)
        batches = iter(self.loader)
        with EpochBar(progress, steps, self.steps_per_epoch, self.schedule.total_steps) as bar:
            for _ in range(steps):
                self.journal.step(self._step(batches))
                self.meter.step()
                bar.step(self.journal, self.meter, progress.best_score)
                self._after_step()

    def _step(self, batches: Iterator[Batch]) -> StepResult:
        result = self.learner.step(batches, self.progress.step, self.progress.epoch)
        self.progress.advance()
        return result

    def _after_step(self) -> None:
        """Save where a checkpoint is due, and stop where a signal asks for it."""
        due = self.pace.by_count(self.progress.step)
        # several processes have to wait for each other to agree, and do so at the same steps
        if distributed.world_size() == 1 or self.progress.step >= self._ask_at:
            due = self._stop_if_asked() or due
        if due:
            self._save_last()

    def _stop_if_asked(self) -> bool:
        """Save and stop if any process has received a signal; tell whether the main process's clock wants a checkpoint.

        Raises:
            Stopped: by a signal.
        """
        step = self.progress.step
        asked = distributed.gather((self.stop.signum, self.pace.by_clock(), self.pace.asked(step)))
        signals = [number for number, *_ in asked if number is not None]
        self._ask_at = step + asked[0][2]
        if signals and not self.progress.finished:
            self._save_last()
            way_on = f"resumable: python train.py --resume {self.folder}"
            raise Stopped(f"stopped at step {step}, {way_on}", signals[0], self.folder)
        return asked[0][1]

    def _close(self) -> None:
        """Make averages and difficulties ready at an epoch's end, once: a resumed run may be here again."""
        learner, progress = self.learner, self.progress
        self.journal.flush()
        if progress.closed:
            return
        if learner.averager is not None:
            learner.averager.end_epoch(progress.step, self._images)
        if learner.difficulty is not None:
            learner.difficulty.end_epoch()
        progress.closed = True

    def _images(self) -> Iterator[Tensor]:
        """The training images of the epoch from its beginning, standardised."""
        self.sampler.position(self.progress.epoch, 0)
        for batch in self.loader:
            yield self.learner.images(batch)

    def _score(self) -> Scored | None:
        """Score the network where the epoch is to be validated; nothing that is saved changes meanwhile."""
        self._require_finite()
        if not self._ended() and (self.progress.epoch + 1) % self.config.trainer.val_every:
            return None
        distributed.share_buffers(self.learner.scored)
        self._asked = 0
        with self.meter.validating():
            return self.validate(self._between_images)

    def _ended(self) -> bool:
        return self.progress.step >= self.schedule.total_steps

    def _between_images(self) -> None:
        self._asked += 1
        if distributed.world_size() == 1 or self._asked % ASK_EVERY == 0:
            self._stop_if_asked()

    def _end_epoch(self, scored: Scored | None) -> None:
        """Count the epoch, and save it: first what is best, then its row, then where the run is.

        A kill between them leaves the previous last checkpoint, from which the same files are written again.
        """
        trainer, progress = self.config.trainer, self.progress
        ended = self._ended()
        progress.end_epoch()
        row: dict[str, Value] = {"epoch": progress.epoch - 1, "step": progress.step}
        row["lr"] = self.schedule.rate(progress.step - 1)
        improved, score = None, None
        if scored is not None:
            row |= self._scores(scored)
            score = row[trainer.monitor]
            improved = progress.validated(score)
            self.schedule.validated(score)
        patience = trainer.early_stopping
        progress.finished = ended or (patience is not None and progress.bad_validations >= patience)
        state = self._state()
        if improved is not None and distributed.is_main():
            self.checkpoints.save_best(state, progress.epoch, score, improved)
        self.journal.epoch(row, improved, self.meter.end_epoch())
        self._save_last(state)
        self._draw()

    def _scores(self, scored: Scored) -> dict[str, Value]:
        empty = self.config.evaluation.empty
        found: dict[str, Value] = {name: foreground_score(scored.counts, name, empty) for name in Records.SCORES}
        return found | {"val_loss": scored.loss}

    def _draw(self) -> None:
        images = () if self.panel is None else self.panel.collect()
        if distributed.is_main():
            pictures = self.on_epoch(EpochEnd(self.folder, self.progress.epoch, images))
            self.journal.images(pictures, self.progress.step)

    def _way_on(self, first: str) -> str:
        """Say where training stands after an error that the user can cure, and how to continue."""
        again = f"python train.py --resume {self.folder}"
        cure = f"then: {again}" if (self.folder / checkpoint.LAST).exists() else "then start again."
        return f"Training ended at step {self.progress.step}. {kept(self.folder)} {first}, {cure}"

    def _require_finite(self) -> None:
        """Refuse weights that the last update made non-finite; the loss would show it only in the next step."""
        bad, count = self.learner.not_finite()
        if bad:
            raise DivergedError(
                f"step {self.progress.step - 1}: its update made {len(bad)} of {count} tensors non-finite (first: "
                f"{bad[0]}).\n{CURE} {kept(self.folder)}"
            )

    def _state(self) -> dict[str, Any]:
        return {**self.facts, **self.learner.state_dict(), "progress": self.progress.as_dict()}

    def _save_last(self, state: dict[str, Any] | None = None) -> None:
        """Save where the run is, unless it is saved already."""
        if self._saved == self.progress:
            return
        self.journal.flush()
        self._require_finite()
        state = state or self._state()
        if distributed.is_main():
            self.checkpoints.save_last(state)
        distributed.barrier()
        self._saved = Progress(**self.progress.as_dict())
        self.pace.saved()
