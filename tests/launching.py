"""`train.py` under torchrun, watched and with faults on request; as a script, it is what torchrun starts.

The environment says what happens: WATCH, a folder for what each process saw; WRITES, a folder to which writes are
noted; FAULT=kind:rank:step, at which optimizer step of the run which process (`*`: all) is hit, in the first attempt
only; PLAIN, networks get no BatchNorm, and gradients are noted; VALIDATE, the network is scored before it is trained.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def launch(
    arguments: list[str], processes: int = 2, restarts: int = 0, timeout: float = 300, **environment: object
) -> subprocess.CompletedProcess[str]:
    """Run `train.py ARGUMENTS` in one process without torchrun, or in several with it."""
    torchrun = [*("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}")]
    elastic = [f"--max-restarts={restarts}", "--monitor-interval=0.2"]
    start = [] if processes == 1 and not restarts else [*torchrun, *elastic]
    own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | {key: str(value) for key, value in environment.items()}
    command = [sys.executable, *start, __file__, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=os.environ | own)


def small_config(folder: Path, discs: Path, trainer: str) -> Path:
    """Write a configuration with eight training images and a network that takes milliseconds."""
    file = folder / "discs.yaml"
    file.write_text(
        f"data: {{root: {discs}, mask: {{encoding: binary}}, split: {{train: 0.67, val: 0.25, test: 0.08}}}}\n"
        "model: {architecture: classic_unet, width: 4, depth: 2}\n"
        f"trainer: {{crop: 32, batch_size: 2, max_epochs: 3, tensorboard: false, threads: 1, {trainer}}}\n"
    )
    return file


def together(*commands: Sequence[str], **environment: str) -> list[str]:
    """Run processes beside each other, without torchrun, and return what each printed; RANK is the position."""
    started = [
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment | {"RANK": str(rank), "WORLD_SIZE": str(len(commands))},
        )
        for rank, command in enumerate(commands)
    ]
    try:
        outputs = [process.communicate(timeout=240) for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert [process.returncode for process in started] == [0] * len(commands), outputs
    return [out for out, _ in outputs]


def seen(folder: Path, kind: str) -> list[dict[str, Any]]:
    """What the processes noted of one kind, in the order of their files."""
    lines = [line for file in sorted(folder.glob("*.jsonl")) for line in file.read_text().splitlines()]
    return [entry for entry in map(json.loads, lines) if entry["kind"] == kind]


def digest(state: dict[str, Any]) -> str:
    """Return one hash of all tensors of a state dict."""
    hashed = hashlib.sha256()
    for name in sorted(state):
        hashed.update(name.encode() + state[name].cpu().contiguous().numpy().tobytes())
    return hashed.hexdigest()


def _note(kind: str, **values: object) -> None:
    from seg_scse import distributed

    entry = {"kind": kind, "rank": distributed.rank(), "world": distributed.world_size(), **values}
    if "WATCH" in os.environ:
        with (Path(os.environ["WATCH"]) / f"rank{distributed.rank()}.jsonl").open("a") as stream:
            stream.write(json.dumps(entry) + "\n")


def _fail(kind: str) -> None:
    from torch import OutOfMemoryError

    from seg_scse.errors import DataError

    _note("fault", at=time.time())
    if kind in ("kill", "stop"):
        os.kill(os.getpid(), signal.SIGKILL if kind == "kill" else signal.SIGTERM)
        return
    errors = {
        "data": DataError("s05.png: cut short in the test."),
        "defect": ValueError("wires crossed in the test"),
        "memory": OutOfMemoryError("CUDA out of memory in the test."),
    }
    raise errors[kind]


def watch(replace: Callable[[object, str, object], None]) -> None:
    """Replace, by a function such as setattr, what is watched or made to fail."""
    import numpy as np
    import torch

    from seg_scse import distributed
    from seg_scse.training import building
    from seg_scse.training.loop import Trainer
    from seg_scse.training.step import Learner

    step, fit, update = Trainer._step, Trainer.fit, Learner._update
    fault, victim, at = os.environ.get("FAULT", "none:-1:-1").split(":")
    first = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"

    def watched_step(self: Trainer, *given: object) -> object:
        if first and self.progress.step == int(at) and victim in ("*", str(distributed.rank())):
            _fail(fault)
        epoch, number = self.progress.epoch, self.progress.step
        result = step(self, *given)
        _note("step", epoch=epoch, step=number, ids=[self.names(index) for index in result.indices])
        return result

    def watched_fit(self: Trainer) -> object:
        if "VALIDATE" in os.environ:
            scored = self.validate(lambda: None)
            counts = {name: np.asarray(value).tolist() for name, value in self._scores(scored).items()}
            _note("scores", ids=list(scored.counts.ids), **counts)
        outcome = fit(self)
        state = self.model.state_dict()
        finite = all(bool(value.isfinite().all()) for value in state.values())
        _note("end", digest=digest(state), finite=finite)
        return outcome

    def watched_update(self: Learner) -> object:
        if "PLAIN" in os.environ:
            gradients = [value.grad.flatten() for value in self.model.parameters() if value.grad is not None]
            _note("gradient", values=torch.cat(gradients).tolist())
        return update(self)

    replace(Trainer, "_step", watched_step)
    replace(Trainer, "fit", watched_fit)
    replace(Learner, "_update", watched_update)
    if "PLAIN" in os.environ:
        replace(building, "build_model", _plain(building.build_model))


def _watch_files() -> None:
    root = os.environ.get("WRITES")
    if root is None:
        return

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if event != "open" or not isinstance(given[0], str) or not given[0].startswith(root):
            return
        if given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            _note("write", path=given[0])

    sys.addaudithook(hook)


def _plain(build: Callable[..., Any]) -> Callable[..., Any]:
    from torch import nn

    def plain(*given: Any) -> nn.Module:
        model = build(*given)
        for parent in list(model.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.BatchNorm2d):
                    setattr(parent, name, nn.Identity())
        return model

    return plain


if __name__ == "__main__":
    from seg_scse.cli import main

    watch(setattr)
    _watch_files()
    sys.exit(main(["train", *sys.argv[1:]]))
