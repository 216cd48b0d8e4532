"""How fast a run is, how much memory it takes and when it will be done."""

import math
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

BLOCK = 20
"""Steps that are timed together: a GPU is waited for at some steps only, so that single ones tell nothing."""

_BLOCKS = 15  # whose median is the present rate: a pause, a checkpoint or a busy moment does not move it
_REFRESH = 0.5  # seconds between two readings for the progress bar


@dataclass(frozen=True)
class Timing:
    """What an epoch took, in this process.

    Of an epoch that was interrupted it covers the part after the interruption.

    Attributes:
        seconds: all together.
        train_seconds: for its optimizer steps, checkpoints between them included.
        val_seconds: for validation; None where there was none.
        samples_per_second: training samples of all processes; None where no step was made.
        peak_memory: in bytes, see `Meter.peak_memory`.
        left: expected seconds to the end of the run; None where nothing is known yet.
    """

    seconds: float
    train_seconds: float
    val_seconds: float | None
    samples_per_second: float | None
    peak_memory: int | None
    left: float | None

    def text(self) -> str:
        """Return the end of the line that is printed for an epoch."""
        return ", ".join([duration(self.seconds), *_words(self.samples_per_second, self.peak_memory, self.left)])


class Meter:
    """Measures a run while it goes on; asks nothing of a GPU that would wait for it.

    Call `begin_epoch` before an epoch's first step, `step` after each step, validate inside `validating`, and
    `end_epoch` at last.

    Args:
        total_steps: optimizer steps of the whole run.
        done: steps done so far.
        samples_per_step: training samples of a step, of all processes together.
        device: where the network lives.
        validate_every: steps between validations; None counts one at the end of the run.
        clock: seconds from any origin.
    """

    def __init__(
        self,
        total_steps: int,
        done: int,
        samples_per_step: int,
        device: torch.device,
        validate_every: int | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.total_steps, self.done, self.samples_per_step, self.device = total_steps, done, samples_per_step, device
        self._validate_every = validate_every or total_steps
        self._clock = clock
        self._blocks: deque[float] = deque(maxlen=_BLOCKS)
        self._open_seconds, self._open_steps = 0.0, 0
        self._validated_at = 0.0
        self._end_seconds: float | None = None  # from a validation to the next step: scoring, saving, drawing
        self._text, self._text_at = "", -math.inf
        self._epoch_val: float | None = None
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Start the clock of an epoch, also of one that is resumed in the middle."""
        self._began = self._mark = self._clock()
        if self._epoch_val is not None:
            self._end_seconds = self._mark - self._validated_at
        self._epoch_steps, self._epoch_train = 0, 0.0
        self._epoch_val = None

    def step(self) -> None:
        """Take a step into account that has just been done."""
        now = self._clock()
        passed, self._mark = now - self._mark, now
        self.done += 1
        self._epoch_steps += 1
        self._epoch_train += passed
        self._open_seconds += passed
        self._open_steps += 1
        if self._open_steps == BLOCK:
            self._blocks.append(self._open_seconds / BLOCK)
            self._open_seconds, self._open_steps = 0.0, 0

    @contextmanager
    def validating(self) -> Iterator[None]:
        """Time the validation inside the block, which is no training."""
        before = self._validated_at = self._clock()
        self._epoch_train += before - self._mark
        try:
            yield
        finally:
            self._mark = self._clock()
            self._epoch_val = self._end_seconds = self._mark - before

    def end_epoch(self) -> Timing:
        """Return what the epoch took."""
        train = self._epoch_train
        rate = self._epoch_steps * self.samples_per_step / train if self._epoch_steps and train > 0 else None
        now = self._clock()
        if self._epoch_val is not None:
            self._end_seconds = now - self._validated_at
        return Timing(now - self._began, train, self._epoch_val, rate, self.peak_memory(), self.left())

    def left(self) -> float | None:
        """Return the seconds to the end of the run, or None before the first step.

        Steps are counted at the median rate of the last blocks, validations at the time of the last one with what came
        after it, checkpoints and pictures; before the first one they count nothing.
        """
        each = self._seconds_per_step()
        if each is None:
            return None
        every = self._validate_every
        validations = math.ceil(self.total_steps / every) - self.done // every if self.done < self.total_steps else 0
        return (self.total_steps - self.done) * each + validations * (self._end_seconds or 0.0)

    def samples_per_second(self) -> float | None:
        """Return the present rate of training samples of all processes, or None before the first step."""
        each = self._seconds_per_step()
        return None if not each else self.samples_per_step / each

    def _seconds_per_step(self) -> float | None:
        if self._blocks:
            return statistics.median(self._blocks)
        return self._open_seconds / self._open_steps if self._open_steps else None

    def peak_memory(self) -> int | None:
        """Return the most bytes that were in use since the process began.

        On a GPU: of its memory, by tensors of this process (`torch.cuda.max_memory_allocated`; the driver and
        fragmentation take more). On a CPU: the process's largest resident set, without loader processes; None where
        the system does not tell.
        """
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        try:
            import resource
        except ImportError:  # Windows
            return None
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024

    def text(self) -> str:
        """Return rate, memory and time left for a progress bar; it changes at most twice a second."""
        now = self._clock()
        if now - self._text_at >= _REFRESH:
            self._text_at = now
            self._text = ", ".join(_words(self.samples_per_second(), self.peak_memory(), self.left()))
        return self._text


def _words(rate: float | None, memory: int | None, left: float | None) -> list[str]:
    words = [] if rate is None else [f"{rate:.3g} img/s" if rate < 100 else f"{rate:.0f} img/s"]
    if memory is not None:
        words.append(size(memory))
    if left:
        words.append(f"{duration(left)} left")
    return words


def size(count: int) -> str:
    """Return bytes as text: `850 MB`, `1.2 GB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def duration(seconds: float) -> str:
    """Return a duration as text in the unit that tells most: `0.4 s`, `41 s`, `32 min`, `5 h 10 min`, `2 d 3 h`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
