"""Making the runs of a study: side by side, over processes and machines, until all are done or the time is up.

Who makes a run is decided by locks, not by a master: every process takes the next run that nobody has finished and
nobody holds. So a process that dies leaves its run to the others, and one that joins late finds work.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO

from seg_scse.holding import hold
from seg_scse.study.budget import Budget, spoken
from seg_scse.study.cells import Cell
from seg_scse.study.child import Child, environment, training
from seg_scse.study.frozen import frozen_commands, is_finished
from seg_scse.study.grid import Study
from seg_scse.study.progress import MINUTE, at_step

_PAUSE = 0.2
_GRACE = 120.0
"""Seconds in which a run that was asked to end saves its checkpoint."""
_STOPPED = (130, 143, -15)


@dataclass(frozen=True)
class Share:
    """Which runs a process may make, and how many at a time.

    Attributes:
        jobs: runs that go on side by side.
        shard: number (from 1) and count of the calls among which the runs are divided beforehand.
        waits: whether it waits for runs that other processes make, to report on all of them.
        devices: GPUs for the runs, in turn; empty leaves the choice to them.
    """

    jobs: int = 1
    shard: tuple[int, int] = (1, 1)
    waits: bool = True
    devices: tuple[str, ...] = ()


def devices(local_rank: int | None) -> tuple[str, ...]:
    """Return the GPUs for the runs of a process: those that it sees, or the one that `torchrun` means it to use.

    Args:
        local_rank: number of the process on its machine; None without torchrun.
    """
    import torch  # here, since it takes long to import

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = [name for name in visible.split(",") if name] or [str(n) for n in range(torch.cuda.device_count())]
    if not names or not torch.cuda.is_available():
        return ()
    return tuple(names) if local_rank is None else (names[local_rank % len(names)],)


@dataclass
class Workers:
    """The runs that this process makes.

    Attributes:
        study: whose runs.
        share: which of them.
        budget: of time.
        say: called with a line when a run begins or ends.
        at_work: by number, the runs that go on.
        tried: runs that were begun by this process.
        began: when this process began, seconds since the epoch.
        last_said: when a line was said last, by the monotonic clock.
    """

    study: Study
    share: Share
    budget: Budget
    say: Callable[[str], None]
    at_work: dict[int, Child] = field(default_factory=dict)
    tried: set[Cell] = field(default_factory=set)
    began: float = field(default_factory=time.time)
    last_said: float = field(default_factory=time.monotonic)

    def run(self) -> None:
        """Make runs until there is none left to make, or the time is up.

        Raises:
            Stopped: a signal came; the runs have saved a checkpoint.
            WriteError: the folder cannot be written.
        """
        with self.study.ending(self._progress):
            try:
                while self._go_on():
                    time.sleep(_PAUSE)
            finally:
                self._stop()

    def _progress(self) -> str:
        return f"{self._done()} of {len(self.study.cells())} runs are done"

    def _say(self, line: str) -> None:
        self.say(line)
        self.last_said = time.monotonic()

    def _go_on(self) -> bool:
        """Look after the runs; return whether there is anything to wait for."""
        self._collect()
        self._say_steps()
        if self.budget.is_spent():
            return False
        while len(self.at_work) < self.share.jobs and self.budget.allows_another():
            taken = self._take()
            if taken is None:
                break
            self._start(*taken)
        return bool(self.at_work) or (self.share.waits and self.budget.allows_another() and self._others_work())

    def _mine(self) -> list[Cell]:
        number, count = self.share.shard
        return self.study.cells()[number - 1 :: count]

    def _take(self) -> tuple[Cell, IO[str]] | None:
        """Hold the next run that nobody has finished and nobody holds."""
        for cell in self._mine():
            if self._is_settled(cell):
                continue
            stream = hold(cell.beside(".lock"))
            if stream is None:
                continue
            if not self._is_settled(cell):  # another process may have ended it meanwhile
                return cell, stream
            stream.close()
        return None

    def _is_settled(self, cell: Cell) -> bool:
        """Tell whether a run is done, was tried here, or has failed in another process since this one began."""
        if cell in self.tried or is_finished(self.study.declaration, cell):
            return True
        failed = cell.state()["exit_code"] not in (None, 0, *_STOPPED)
        return failed and cell.beside(".json").stat().st_mtime >= self.began

    def _others_work(self) -> bool:
        """Tell whether another process makes a run that this one waits for."""
        for cell in self._mine():
            if not self._is_settled(cell):
                stream = hold(cell.beside(".lock"))
                if stream is None:
                    return True
                stream.close()
        return False

    def _start(self, cell: Cell, stream: IO[str]) -> None:
        self.tried.add(cell)
        slot = next(number for number in range(self.share.jobs) if number not in self.at_work)
        devices = self.share.devices
        device = devices[slot % len(devices)] if devices else None
        declaration = self.study.declaration
        own = [] if cell.state()["status"] == "done" else [training(cell, declaration.split, self.study.moved)]
        commands = [*own, *frozen_commands(declaration, cell, trained=bool(own))]
        goes_on = (cell.folder / "checkpoints").exists()
        self._say(f"{cell.label}: {'goes on' if goes_on else 'begins'}, log in {cell.beside('.log')}")
        child = Child.start(cell, commands, environment(self.share.jobs, device), stream)
        child.is_scored = not own
        self.at_work[slot] = child

    def _collect(self) -> None:
        """Write down how runs ended, and let go of them."""
        for slot in [slot for slot, child in self.at_work.items() if child.poll() is not None]:
            child = self.at_work.pop(slot)
            code, cell = child.poll(), child.cell
            seconds = round(cell.state()["seconds"] + child.seconds(), 1)
            status = "done" if child.is_scored else "stopped" if code in _STOPPED else "failed"
            error = "" if code in (0, *_STOPPED) else child.said()
            cell.note(status=status, error=error, exit_code=code, seconds=seconds)
            child.end()
            if status == "done":
                self.budget.known.append(seconds)
            self._say(self._line(cell, status, error, seconds))

    def _line(self, cell: Cell, status: str, error: str, seconds: float) -> str:
        how = {"done": "done", "stopped": "stopped, resumable", "failed": f"failed: {error}"}[status]
        if status == "done" and not is_finished(self.study.declaration, cell):
            how = "done but for its frozen gates" + (
                f", which failed: {error}" if error else ", which the next call scores"
            )
        left = self._left()
        return f"{self._count()} {cell.label}: {how}, {spoken(seconds)}" + (f"; {left}" if left else "")

    def _count(self) -> str:
        return f"[{self._done()}/{len(self.study.cells())}]"

    def _left(self, begun: float = 0.0) -> str:
        """Say what time is left, where so many runs' worth of those that go on is done."""
        return self.budget.left(len(self.study.cells()) - self._done() - begun, self.share.jobs)

    def _say_steps(self) -> None:
        """Say once a minute where the runs are that go on; a run of hours would otherwise say nothing."""
        if self.at_work and time.monotonic() - self.last_said >= MINUTE:
            steps = [at_step(child.cell) for child in self.at_work.values()]
            words = [*(step.text for step in steps), self._left(sum(step.share for step in steps))]
            self._say(f"{self._count()} " + "; ".join(filter(None, words)))

    def _done(self) -> int:
        return sum(cell.state()["status"] == "done" for cell in self.study.cells())

    def _stop(self) -> None:
        """Ask all runs to save and end, and wait for them."""
        if self.at_work:
            self._say(f"asked to save and end: {', '.join(child.cell.label for child in self.at_work.values())} ...")
        for child in self.at_work.values():
            child.stop()
        end = time.monotonic() + _GRACE
        while self.at_work and time.monotonic() < end:
            self._collect()
            time.sleep(_PAUSE)
        for child in self.at_work.values():
            child.process.kill()
            child.end()
