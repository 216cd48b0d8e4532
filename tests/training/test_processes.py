"""The loop on two processes, which share gradients over gloo."""

import sys
from pathlib import Path

import pytest

from ..launching import together

WORKER = """
import os
import signal
import sys
from pathlib import Path

import torch
import torch.distributed as dist

sys.path.insert(0, sys.argv[3])
import small
from seg_scse.errors import Stopped
from seg_scse.training import loop

torch.set_num_threads(1)
rank, base = int(sys.argv[1]), Path(sys.argv[2])
dist.init_process_group("gloo", init_method=f"file://{base}/store", rank=rank, world_size=2)
loop.ASK_EVERY = 2

FREEZE = ["finetune.source=x", "finetune.freeze=[encoder]", "finetune.unfreeze_epoch=1", "trainer.batch_size=1"]
SETTINGS = [*small.EVERYTHING, *FREEZE, "trainer.save_every_steps=1"]
SWA = ["averaging.method=swa", "averaging.start=0.1", "trainer.max_epochs=3"]


def same_on_both(one):
    values = [*one.model.parameters(), *(one.learner.scored.parameters())]
    total = torch.stack([value.detach().double().sum() for value in values])
    both = [torch.zeros_like(total) for _ in range(2)]
    dist.all_gather(both, total)
    assert torch.equal(*both), both


def uninterrupted(name, settings):
    one = small.trainer(folder / name, *settings, model=small.Net)
    given = []
    dist.barrier()
    one.fit()
    same_on_both(one)
    return one


def resumed(name, settings, steps):
    for step in steps:
        dist.barrier()
        one = small.continued(folder / name, *settings, model=small.Net)
        small.stop_before_step(one, step)
        small.run_until_killed(one)
    assert one.progress.finished
    same_on_both(one)


def stopped_in_validation(name, settings):
    one = small.trainer(folder / name, *settings, model=small.Net)
    validate = one.validate

    def validating(check):
        if rank == 1 and one.progress.epoch == 1:
            os.kill(os.getpid(), signal.SIGTERM)  # the other process never hears of it but through this one
        return validate(check)

    one.validate = validating
    try:
        one.fit()
    except Stopped as stop:
        assert stop.exit_code == 143
        assert (one.progress.epoch, one.progress.in_epoch) == (1, 4), one.progress
    else:
        raise AssertionError("not stopped")
    dist.barrier()
    again = small.continued(folder / name, *settings, model=small.Net)
    again.fit()
    same_on_both(again)


def equal():
    if rank == 0:
        assert small.differing(small.outcome(folder / "a"), small.outcome(folder / "whole")) == []
    dist.barrier()


def part(name):
    global folder
    folder = base / name
    if rank == 0:
        folder.mkdir()
    dist.barrier()


part("kills")
whole = uninterrupted("whole", SETTINGS)
shares = [None, None]
dist.all_gather_object(shares, whole.loader.given)
first = [[key[2] for key in share if key[0] == 0] for share in shares]
assert sorted(first[0] + first[1]) == list(range(16)), "each sample once, by one of the processes"
resumed("a", SETTINGS, (2, 6, 99))
equal()

part("signal")
uninterrupted("whole", SETTINGS)
stopped_in_validation("a", SETTINGS)
equal()

part("swa")
uninterrupted("whole", SWA)
resumed("a", [*SWA, "trainer.save_every_steps=1"], (1, 99))
equal()
print("equal")
dist.barrier()
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_end_as_if_never_killed_or_stopped_in_a_validation(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error::UserWarning", "-c", WORKER]
    outputs = together(*([*command, str(rank), str(tmp_path), str(Path(__file__).parent)] for rank in range(2)))
    assert "equal" in outputs[0]
