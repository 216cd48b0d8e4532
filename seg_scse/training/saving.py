"""The checkpoints of a run folder: the last one, the best one, and the next best ones.

What is kept follows from the scores in the state that is saved, never from what lies in the folder or from the times of
files. So a run that is killed anywhere and resumed ends with the same files.
"""

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seg_scse import checkpoint, distributed
from seg_scse.files import atomic_path, remove_leftovers, write_bytes

Ranked = tuple[int, float | None]
"""Epochs done, and the monitored score then."""

_EPOCH_FILE = re.compile(r"epoch-(\d{4,})\.ckpt(\.sha256)?")
_OURS = (".", "checkpoints", "panel")  # where only training writes; an evaluation may be writing beside it


class Checkpoints:
    """Writes and removes the checkpoints of a run folder, which this process holds; used by the main process only.

    Temporary files that a killed run left there are removed at once.

    Args:
        folder: the run folder.
        top_k: best checkpoints that are kept beside the last one: `checkpoints/best.ckpt`, and the next best ones as
            `checkpoints/epoch-0012.ckpt`, named by the epochs done.
    """

    def __init__(self, folder: Path, top_k: int) -> None:
        self.folder, self.top_k = folder, top_k
        self._kept: list[Ranked] = []
        if distributed.is_main():
            for name in _OURS:
                remove_leftovers(folder / name)

    @property
    def kept(self) -> tuple[Ranked, ...]:
        """Best checkpoints, the best one first."""
        return tuple(self._kept)

    def load(self, state: Mapping[str, Any]) -> None:
        """Keep what a checkpoint's state says is kept, and nothing else; one of format 1 names its best epoch only."""
        progress = state["progress"]
        best = [] if progress["best_epoch"] is None else [(progress["best_epoch"], progress["best_score"])]
        self._kept = [(epoch, score) for epoch, score in state.get("kept", best)][: self.top_k]
        if distributed.is_main():
            self._remove_others()

    def save_best(self, state: Mapping[str, Any], epoch: int, score: float | None, is_best: bool) -> None:
        """Take a validated epoch into account, and save it where it is among the best; called after each validation.

        A file that is thereby no longer among the best stays until `save_last` has written what says so.

        Args:
            state: as for `checkpoint.save`.
            epoch: epochs done.
            score: the monitored score; None, where there is none, is the lowest. Of equal ones the earlier is better.
            is_best: whether it is the best so far; the first one always is.

        Raises:
            WriteError: disk full or folder not writable; what was kept before is still there.
        """
        others = [entry for entry in self._kept if entry[0] != epoch]
        if is_best and others and self.top_k > 1:
            self._set_aside(others[0][0])
        first, rest = ([(epoch, score)], others) if is_best else (others[:1], [*others[1:], (epoch, score)])
        self._kept = [*first, *sorted(rest, key=_worst_last)][: self.top_k]
        if is_best:
            self._save(self.folder / checkpoint.BEST, state)
        elif (epoch, score) in self._kept:
            self._save(self._file(epoch), state)

    def save_last(self, state: Mapping[str, Any]) -> None:
        """Save where the run is; then remove those that are no longer among the best.

        Raises:
            WriteError: disk full or folder not writable; the previous checkpoint is still there.
        """
        self._save(self.folder / checkpoint.LAST, state)
        self._remove_others()

    def _remove_others(self) -> None:
        needed = {epoch for epoch, _ in self._kept[1:]}
        for file in sorted((self.folder / checkpoint.LAST).parent.glob("epoch-*")):  # a checkpoint before its hash
            match = _EPOCH_FILE.fullmatch(file.name)
            if match and int(match[1]) not in needed and not self._is_only_best(int(match[1])):
                file.unlink(missing_ok=True)

    def _save(self, path: Path, state: Mapping[str, Any]) -> None:
        checkpoint.save(path, {**state, "kept": [list(entry) for entry in self._kept]})

    def _file(self, epoch: int) -> Path:
        return (self.folder / checkpoint.BEST).with_name(f"epoch-{epoch:04}.ckpt")

    def _is_only_best(self, epoch: int) -> bool:
        """Tell whether `epoch` is the best one and `best.ckpt` is another: from a later epoch that a kill undid."""
        return bool(self._kept) and self._kept[0][0] == epoch and not self._holds_best(epoch)

    def _holds_best(self, epoch: int) -> bool:
        return checkpoint.epoch_of(self.folder / checkpoint.BEST) == epoch

    def _set_aside(self, epoch: int) -> None:
        """Give the best checkpoint so far a second name, before another one takes its place."""
        best, aside = self.folder / checkpoint.BEST, self._file(epoch)
        if not self._holds_best(epoch):  # a run killed between saving the best and the last one did it already
            return
        write_bytes(checkpoint.hash_file(aside), checkpoint.hash_file(best).read_bytes())
        with atomic_path(aside) as temporary:
            try:
                os.link(best, temporary)
            except OSError:  # a file system without second names
                shutil.copyfile(best, temporary)


def _worst_last(entry: Ranked) -> tuple[bool, float, int]:
    epoch, score = entry
    return score is None, -(score or 0.0), epoch
