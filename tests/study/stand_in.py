"""A process in the place of a run of a study: it leaves behind what a study looks at, and trains nothing.

Nothing but the standard library, so that it starts at once. The environment says what happens: JOURNAL, the file to
which each process writes what it was given; FAIL, the name of a variant whose runs fail, or of
a command that does; WAIT, seconds that it takes.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn


def folder_of(words: list[str]) -> Path:
    """The run folder that a command names."""
    if words[0] == "evaluate":
        return Path(words[1])
    return Path(words[words.index("--resume" if "--resume" in words else "--out") + 1])


def note(**values: object) -> None:
    """Write a line; short ones of several processes do not mix."""
    with Path(os.environ["JOURNAL"]).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({"pid": os.getpid(), "at": time.monotonic(), **values}) + "\n")


def run(words: list[str]) -> int:
    """Do what a run would leave behind."""
    folder = folder_of(words)
    checkpoints = folder / "checkpoints"
    cell = f"{folder.parent.name} {folder.name}"

    def end(signum: int, _: FrameType | None) -> NoReturn:
        checkpoints.mkdir(parents=True, exist_ok=True)
        (checkpoints / "last.ckpt").touch()
        note(kind="saved", cell=cell)
        raise SystemExit(128 + signum)

    signal.signal(signal.SIGTERM, end)
    names = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "RANK")
    note(kind="begins", cell=cell, words=words, **{name: os.environ.get(name) for name in names})
    time.sleep(float(os.environ.get("WAIT", "0")))
    if os.environ.get("FAIL") in (folder.parent.name, words[0]):
        print("error: s05.png: cut short in the test.\nRestore it.")
        return 3
    if words[0] == "evaluate":
        (folder / "evaluation" / "test-frozen").mkdir(parents=True)
        (folder / "evaluation" / "test-frozen" / "results.json").touch()
    else:
        checkpoints.mkdir(parents=True, exist_ok=True)
        (checkpoints / "best.ckpt").touch()
    note(kind="ends", cell=cell)
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
