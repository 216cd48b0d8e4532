"""Training loaders whose processes fail in each of the ways named on the command line; prints what was raised.

A script, because loader processes import the main module again.
"""

import json
import multiprocessing
import os
import resource
import signal
import sys
import time
from pathlib import Path

import numpy as np
from torch.utils.data import _utils

from seg_scse.config.schema import AugmentationConfig
from seg_scse.data import dataset
from seg_scse.data.dataset import TrainingSet, training_loader
from seg_scse.data.sampler import EpochBatchSampler
from seg_scse.data.transforms import build_transform
from seg_scse.errors import WriteError

SIGNALS = {"segfault": signal.SIGSEGV, "bus": signal.SIGBUS}


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


class FaultyStore:
    """Noise; from sample 4 on, the fault."""

    def __init__(self, fault, size):
        self.fault, self.size = fault, size

    def image(self, index):
        if index >= 4:
            self.fail()
        return np.random.default_rng(index).integers(0, 256, (self.size, self.size, 3), dtype=np.uint8)

    def mask(self, index):
        return np.zeros((self.size, self.size), np.uint8)

    def fail(self):
        if self.fault in SIGNALS:
            os.kill(os.getpid(), SIGNALS[self.fault])
        elif self.fault == "hang":
            time.sleep(1000)
        elif self.fault == "exit":
            os._exit(3)
        elif self.fault == "full":
            raise WriteError("cache: the disk is full")
        elif self.fault == "defect":
            raise ValueError("a defect in the program")
        elif self.fault == "files in the worker":
            opened = open_files()
            resource.setrlimit(resource.RLIMIT_NOFILE, (opened, opened))


def meet(fault):
    size = 512 if fault == "shared memory" else 40
    crop = build_transform(AugmentationConfig(preset="none"), size)
    images = TrainingSet(FaultyStore(fault, size), range(40), crop, 0)
    sampler = EpochBatchSampler([1] * 40, 1, 0, 0, 1)
    loader = training_loader(images, sampler, 2, False)
    kept, limit = [], resource.getrlimit(resource.RLIMIT_NOFILE)
    for batch in loader:
        if fault == "killed":
            for worker in multiprocessing.active_children():
                worker.kill()
        elif fault == "files" and not kept:
            opened = open_files()
            resource.setrlimit(resource.RLIMIT_NOFILE, (opened + 16, limit[1]))
        if fault in {"files", "shared memory"}:
            kept.append(batch)


def main(faults):
    dataset._LOOK_SECONDS, dataset._STALLED_SECONDS = 0.5, 3.0
    _utils.MP_STATUS_CHECK_INTERVAL = 0.5  # what torch waits for a process to end before it ends it
    limits, found = resource.getrlimit(resource.RLIMIT_NOFILE), {}
    for fault in faults:
        started = time.perf_counter()
        try:
            meet(fault)
        except Exception as error:
            found[fault] = {"type": type(error).__name__, "text": str(error)}
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        found.setdefault(fault, {"type": "none", "text": ""})["seconds"] = time.perf_counter() - started
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
