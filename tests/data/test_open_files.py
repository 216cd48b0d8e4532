"""Files that loading leaves open: none, and none for each batch whose numbers are kept."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FD = Path("/proc/self/fd")
pytestmark = pytest.mark.skipif(not FD.exists(), reason="counts open files in /proc")

_EPOCH = """
import os, resource, sys
import numpy as np
from pathlib import Path
from PIL import Image
from seg_scse.config.data import DataConfig, SplitConfig
from seg_scse.config.schema import AugmentationConfig
from seg_scse.data.dataset import TrainingSet, training_loader
from seg_scse.data.listing.manifest import build_manifest
from seg_scse.data.sampler import EpochBatchSampler
from seg_scse.data.store import Store
from seg_scse.data.transforms import build_transform

def store(root, cache_gb):
    rng = np.random.default_rng(0)
    for kind, most in (("images", 256), ("masks", 2)):
        (root / kind).mkdir(parents=True, exist_ok=True)
        for number in range(4):
            shape = (40, 40, 3) if kind == "images" else (40, 40)
            Image.fromarray(rng.integers(0, most, shape, dtype=np.uint8)).save(root / kind / f"{number}.png")
    split = SplitConfig(train=1.0, val=0.0, test=0.0)
    config = DataConfig(root=str(root), cache=str(root / "cache"), cache_gb=cache_gb, split=split)
    return Store.prepare(build_manifest(config), config)

if __name__ == "__main__":
    root, workers, cache_gb = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    dataset = TrainingSet(store(root, cache_gb), range(4), build_transform(AugmentationConfig(preset="light"), 32), 0)
    loader = training_loader(dataset, EpochBatchSampler([50] * 4, 1, 0, 0, 1), workers, False)
    if workers:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    kept, opened = [], []
    for epoch in range(2):
        kept += [batch["index"] for batch in loader]
        opened.append(len(os.listdir("/proc/self/fd")))
    print(len(kept), opened[1] - opened[0])
"""


def _epochs(folder, workers, cache_gb=1.0):
    script = folder / "epochs.py"
    script.write_text(_EPOCH)
    paths = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, script, folder, str(workers), str(cache_gb)]
    # a loader that cannot open a file any more waits for ever
    return subprocess.run(command, capture_output=True, text=True, env=paths, check=True, timeout=100).stdout.split()


@pytest.mark.parametrize("cache_gb", [1.0, 1e-6])
def test_an_epoch_leaves_no_file_open(tmp_path, cache_gb):
    assert _epochs(tmp_path, 0, cache_gb) == ["400", "0"]


def test_the_numbers_of_400_batches_are_kept_where_64_files_may_be_open(tmp_path):
    assert _epochs(tmp_path, 1) == ["400", "0"]
