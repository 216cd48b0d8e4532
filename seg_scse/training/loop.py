"""The training loop.

Data order, augmentation and the network's random numbers are functions of (seed, epoch, draw, step, rank), and the
position in the data is a function of the step. So a run continues from a checkpoint as if it had never stopped.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from seg_scse import checkpoint, distributed
from seg_scse.config.schema import Config
from seg_scse.data.dataset import Batch, TrainingLoader
from seg_scse.data.sampler import EpochBatchSampler
from seg_scse.errors import DataError, DivergedError, Stopped
from seg_scse.inference.counting import Scored
from seg_scse.inference.predictor import autocast
from seg_scse.losses import SegmentationLoss
from seg_scse.metrics.scores import foreground_score
from seg_scse.training.journal import CURE, SYNC_EVERY, Journal, StepResult, kept, score_text
from seg_scse.training.optim import Schedule
from seg_scse.training.records import Records, Value
from seg_scse.training.signals import StopRequest
from seg_scse.training.state import Progress


class Trainer:
    """Trains a network; everything it needs is given, nothing is looked up.

    Args:
        config: the resolved configuration.
        model: the network on its device.
        standardize: from uint8 images to network input, on the same device.
        loss: from logits and targets to (total, parts).
        optimizer: over the trainable parameters.
        schedule: learning rate by step.
        loader: batches in the order of `sampler`.
        sampler: order of the data.
        validate: scores the network on the validation split.
        names: sample ids by index, for messages.
        device: where the network lives.
        precision: fp32, bf16 or fp16.
        folder: the run folder.
        facts: plain values stored in every checkpoint beside weights and progress.
        on_epoch: called by the main process with the run folder after each epoch.
    """

    def __init__(
        self,
        *,
        config: Config,
        model: nn.Module,
        standardize: nn.Module,
        loss: SegmentationLoss,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        loader: TrainingLoader,
        sampler: EpochBatchSampler,
        validate: Callable[[], Scored],
        names: Callable[[int], str],
        device: torch.device,
        precision: str,
        folder: Path,
        facts: dict[str, Any],
        on_epoch: Callable[[Path], object],
    ) -> None:
        self.config, self.folder, self.facts = config, folder, facts
        self.model, self.standardize, self.loss = model, standardize, loss
        self.optimizer, self.schedule = optimizer, schedule
        self.loader, self.sampler = loader, sampler
        self.validate, self.names, self.on_epoch = validate, names, on_epoch
        self.device, self.precision = device, precision
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        self.network: nn.Module = model
        if distributed.world_size() > 1:
            ids = [device.index] if device.type == "cuda" else None
            self.network = DistributedDataParallel(model, device_ids=ids)
        self.steps_per_epoch = len(sampler) // config.trainer.accumulate
        self.progress = Progress()
        self.stop = StopRequest()

    def load(self, state: dict[str, Any]) -> None:
        """Continue from the state of a checkpoint; the weights are loaded by the caller."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.schedule.load_state_dict(state["schedule"])
        self.progress = Progress(**state["progress"])

    def fit(self) -> Progress:
        """Train to the end and return where it ended.

        Raises:
            DataError: a sample cannot be read any more; says at which step, and how to go on.
            DivergedError: non-finite loss or gradient.
            Stopped: SIGINT or SIGTERM; the last checkpoint holds the current step.
            WriteError: the run folder cannot be written.
        """
        records = self._open_records() if distributed.is_main() else None
        journal = Journal(self.folder, self.config, self.steps_per_epoch, self.precision, self.names, records)
        try:
            with self.stop.listening():
                while not self.progress.finished:
                    self._epoch(journal)
        except DataError as error:
            raise DataError(f"{error}\n{self._way_on()}") from error
        finally:
            if records is not None:
                records.close()
        return self.progress

    def _open_records(self) -> Records:
        terms, progress = tuple(self.config.loss.terms), self.progress
        return Records(self.folder, terms, progress.epoch, progress.step, self.config.trainer.tensorboard)

    def _epoch(self, journal: Journal) -> None:
        started, progress = time.perf_counter(), self.progress
        # Not step // steps_per_epoch: a run stopped after an epoch's last step has still to validate it.
        epoch = progress.epoch
        done = progress.step - epoch * self.steps_per_epoch
        last = min(self.schedule.total_steps, (epoch + 1) * self.steps_per_epoch)
        self.sampler.position(epoch, done * self.config.trainer.accumulate)
        self.network.train()
        batches = iter(self.loader)
        with tqdm(
            desc=f"epoch {epoch + 1}/{math.ceil(self.schedule.total_steps / self.steps_per_epoch)}",
            total=last - epoch * self.steps_per_epoch,
            initial=done,
            unit="step",
            leave=False,
            disable=None if distributed.is_main() else True,  # None: shown on a terminal only
        ) as bar:
            while progress.step < last:
                journal.step(self._step(batches))
                bar.set_postfix(loss=f"{journal.last_loss:.3f}", best=score_text(progress.best_score), refresh=False)
                bar.update()
                if distributed.world_size() == 1 or progress.step % SYNC_EVERY == 0:
                    self._stop_if_asked(journal)
        journal.flush()
        self._end_epoch(journal, started)
        self._stop_if_asked(journal)

    def _step(self, batches: Iterator[Batch]) -> StepResult:
        """Do one optimizer step over `accumulate` batches."""
        started, step, parts = time.perf_counter(), self.progress.step, self.config.trainer.accumulate
        torch.manual_seed(_seed(self.config.seed, step, distributed.rank()))
        rate = self.schedule.rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        losses, indices = torch.zeros(1 + len(self.config.loss.terms), device=self.device), []
        for part in range(parts):
            batch = next(batches)
            losses += self._backward(batch, parts, synchronise=part == parts - 1) / parts
            indices += batch["index"].tolist()
        self.scaler.unscale_(self.optimizer)
        limit = self.config.trainer.clip_grad_norm
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), math.inf if limit is None else limit)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.progress.step += 1
        return StepResult(step, rate, indices, torch.cat([norm.view(1), losses]), time.perf_counter() - started)

    def _backward(self, batch: Batch, parts: int, synchronise: bool) -> Tensor:
        """Add the gradients of a batch and return its detached losses: total, then each term."""
        images = self.standardize(batch["image"].to(self.device, non_blocking=True))
        target = batch["mask"].to(self.device, non_blocking=True)
        network = self.network
        defer = network.no_sync() if isinstance(network, DistributedDataParallel) and not synchronise else nullcontext()
        with defer:
            with autocast(self.device, self.precision):
                logits = network(images)
            total, terms = self.loss(logits, target)
            self.scaler.scale(total / parts).backward()
        return torch.stack([total.detach(), *terms.values()])

    def _end_epoch(self, journal: Journal, started: float) -> None:
        trainer, progress = self.config.trainer, self.progress
        self._require_finite()
        progress.epoch += 1
        ended = progress.step >= self.schedule.total_steps
        row: dict[str, Value] = {"epoch": progress.epoch - 1, "step": progress.step}
        row["lr"] = self.schedule.rate(progress.step - 1)
        improved = None
        if ended or progress.epoch % trainer.val_every == 0:
            distributed.share_buffers(self.model)
            scored = self.validate()
            empty = self.config.evaluation.empty
            row |= {name: foreground_score(scored.counts, name, empty) for name in Records.SCORES}
            row["val_loss"] = scored.loss
            improved = progress.validated(row[trainer.monitor])
            self.schedule.validated(row[trainer.monitor])
        patience = trainer.early_stopping
        progress.finished = ended or (patience is not None and progress.bad_validations >= patience)
        if improved:
            self._save(checkpoint.BEST)
        row["seconds"] = time.perf_counter() - started
        journal.epoch(row, improved)
        self._save(checkpoint.LAST)
        if distributed.is_main():
            self.on_epoch(self.folder)

    def _stop_if_asked(self, journal: Journal) -> None:
        signals = [number for number in distributed.gather(self.stop.signum) if number is not None]
        if not signals or self.progress.finished:
            return
        journal.flush()
        self._require_finite()
        self._save(checkpoint.LAST)
        raise Stopped(
            f"stopped at step {self.progress.step}, resumable: python train.py --resume {self.folder}", signals[0]
        )

    def _way_on(self) -> str:
        """Say where training stands after an error that the user can cure, and how to continue."""
        again = f"python train.py --resume {self.folder}"
        cure = f"then: {again}" if (self.folder / checkpoint.LAST).exists() else "then start again."
        return f"Training ended at step {self.progress.step}. {kept(self.folder)} Repair the data, {cure}"

    def _require_finite(self) -> None:
        """Refuse weights that the last update made non-finite; the loss would show it only in the next step."""
        state = self.model.state_dict()
        bad = [name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
        if bad:
            raise DivergedError(
                f"step {self.progress.step - 1}: its update made {len(bad)} of {len(state)} tensors non-finite (first: "
                f"{bad[0]}).\n{CURE} {kept(self.folder)}"
            )

    def _save(self, name: str) -> None:
        if distributed.is_main():
            state = {
                **self.facts,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "schedule": self.schedule.state_dict(),
                "progress": self.progress.as_dict(),
            }
            checkpoint.save(self.folder / name, state)
        distributed.barrier()


def _seed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> 1)
