"""Loading: the same uint8 batches for any number of workers, resumed anywhere, with errors that name the sample."""

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from seg_scse.config.schema import AugmentationConfig
from seg_scse.data.dataset import TrainingSet, _collate, _prepare_worker, training_loader
from seg_scse.data.sampler import EpochBatchSampler
from seg_scse.data.transforms import build_transform
from seg_scse.errors import DataError

SIZE = 10


class DrawnStore:
    """Random samples; the ones named bad raise."""

    def __init__(self, channels=3, bad=(), error=DataError):
        self.channels, self.bad, self.error = channels, bad, error

    def image(self, index):
        if index in self.bad:
            raise self.error(f"images/{index}.png: cut after 100 bytes")
        return np.random.default_rng(index).integers(0, 256, (70, 80, self.channels), dtype=np.uint8)

    def mask(self, index):
        return np.random.default_rng([index, 1]).integers(0, 3, (70, 80), dtype=np.uint8)


class ThreadStore(DrawnStore):
    """Tells the thread counts of its process in the mask."""

    def mask(self, index):
        return np.full((70, 80), 10 * torch.get_num_threads() + cv2.getNumThreads(), np.uint8)


def _set(store=None, indices=range(SIZE), seed=1, preset="medium", crop=32):
    return TrainingSet(store or DrawnStore(), indices, build_transform(AugmentationConfig(preset=preset), crop), seed)


def _loader(dataset=None, workers=0, batch_size=2, repeats=1):
    dataset = dataset or _set()
    sampler = EpochBatchSampler([repeats] * len(dataset), batch_size, 3, 0, 1)
    return training_loader(dataset, sampler, workers, False), sampler


def _frozen(batch):
    return tuple(batch[name].numpy().tobytes() for name in ("image", "mask", "index"))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sample_is_uint8_channels_first(channels):
    sample = _set(DrawnStore(channels))[(0, 0, 4)]
    assert sample["image"].shape == (channels, 32, 32)
    assert sample["mask"].shape == (32, 32)
    assert sample["image"].dtype == sample["mask"].dtype == torch.uint8
    assert sample["index"] == 4


def test_a_position_is_looked_up_in_the_indices():
    assert _set(indices=[7, 2])[(0, 0, 1)]["index"] == 2


def test_a_batch_is_uint8_in_channels_last_memory():
    loader, sampler = _loader()
    batches = list(loader)
    assert len(batches) == len(loader) == len(sampler) == SIZE // 2
    for batch in batches:
        assert batch["image"].shape == (2, 3, 32, 32)
        assert batch["image"].is_contiguous(memory_format=torch.channels_last)
        assert batch["mask"].shape == (2, 32, 32)
        assert batch["image"].dtype == batch["mask"].dtype == torch.uint8
        assert batch["index"].dtype == torch.int64


def test_collating_changes_no_pixel():
    samples = _set().__getitems__([(0, 0, 1), (0, 0, 2)])
    batch = _collate(samples)
    for row, sample in enumerate(samples):
        assert torch.equal(batch["image"][row], sample["image"])
        assert torch.equal(batch["mask"][row], sample["mask"])
        assert batch["index"][row] == sample["index"]


def test_no_two_samples_share_a_draw_over_two_epochs():
    transform, seeds = build_transform(AugmentationConfig(preset="medium"), 32), []

    def noting(image, mask, seed, around):
        seeds.append(seed)
        return transform(image, mask, seed, around)

    dataset = TrainingSet(DrawnStore(), range(SIZE), noting, 1)
    loader, sampler = _loader(dataset, repeats=3)
    batches = []
    for epoch in range(2):
        sampler.position(epoch, 0)
        batches += list(loader)
    images = {image.numpy().tobytes() for batch in batches for image in batch["image"]}
    assert len(set(seeds)) == len(seeds) == 2 * 3 * SIZE
    assert len(images) == 2 * 3 * SIZE


def test_a_draw_depends_on_seed_epoch_repeat_and_sample_only():
    dataset, again, other = _set(), _set(), _set(seed=2)
    image = dataset[(1, 0, 3)]["image"]
    dataset[(5, 0, 3)]
    assert torch.equal(dataset[(1, 0, 3)]["image"], image)
    assert torch.equal(again[(1, 0, 3)]["image"], image)
    for changed in (dataset[(2, 0, 3)], dataset[(1, 1, 3)], other[(1, 0, 3)]):
        assert not torch.equal(changed["image"], image)


def test_the_global_generators_are_not_used():
    loader, _ = _loader()
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - the global state must stay as it is
    before = torch.get_rng_state(), np.random.get_state()[1].tobytes()  # noqa: NPY002
    list(loader)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tobytes() == before[1]  # noqa: NPY002


def test_a_bad_file_is_named_with_its_sample():
    with pytest.raises(DataError, match=r"^images/6\.png: cut after 100 bytes \(sample 6, epoch 1\)$"):
        list(_loader(_set(DrawnStore(bad=(6,))))[0])


def test_an_unexpected_error_carries_a_note_with_the_sample():
    with pytest.raises(ZeroDivisionError) as caught:
        list(_loader(_set(DrawnStore(bad=(6,), error=ZeroDivisionError)))[0])
    assert caught.value.__notes__ == ["while drawing sample 6, epoch 1, draw 0"]


def test_the_errors_of_a_sample_can_be_pickled():
    error = pickle.loads(pickle.dumps(_set(DrawnStore(bad=(6,))).__getitems__([(2, 0, 6)])))  # noqa: TID251 - pickled here
    assert type(error) is DataError
    assert str(error) == "images/6.png: cut after 100 bytes (sample 6, epoch 3)"


def test_a_prepared_worker_uses_one_thread_and_leaves_ctrl_c_to_the_main_process(monkeypatch):
    calls = []
    monkeypatch.setattr("cv2.setNumThreads", lambda count: calls.append(("cv2", count)))
    monkeypatch.setattr("torch.set_num_threads", lambda count: calls.append(("torch", count)))
    monkeypatch.setattr("signal.signal", lambda *args: calls.append(args))
    _prepare_worker(0)
    assert calls == [("cv2", 0), ("torch", 1), (signal.SIGINT, signal.SIG_IGN)]


# One test, one loader: starting processes takes seconds.
def test_two_workers_give_the_same_batches_and_resume_mid_epoch():
    alone, alone_sampler = _loader()
    loader, sampler = _loader(workers=2)
    expected = {}
    for epoch in range(3):
        alone_sampler.position(epoch, 0)
        expected[epoch] = [_frozen(batch) for batch in alone]

    assert [_frozen(batch) for batch in loader] == expected[0]
    sampler.position(1, 3)
    assert [_frozen(batch) for batch in loader] == expected[1][3:]
    sampler.position(1, 0)
    for batch in loader:  # left in the middle, with batches already fetched ahead
        assert _frozen(batch) == expected[1][0]
        break
    sampler.position(2, 1)
    assert [_frozen(batch) for batch in loader] == expected[2][1:]


def test_a_bad_file_in_a_worker_keeps_its_error_and_its_message():
    dataset = _set(ThreadStore(bad=(6,)), preset="none")
    loader, sampler = _loader(dataset, workers=1)
    position = next(i for i, batch in enumerate(sampler) if any(key[2] == 6 for key in batch))
    batches = iter(loader)
    for _ in range(position):
        assert next(batches)["mask"].unique().tolist() == [11]  # one thread for torch and for OpenCV
    with pytest.raises(DataError, match=r"^images/6\.png: cut after 100 bytes \(sample 6, epoch 1\)$"):
        next(batches)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")  # torch's hint on small machines
@pytest.mark.parametrize("workers", [1, 4])
def test_any_number_of_workers_gives_the_same_batches(workers):
    assert [_frozen(batch) for batch in _loader(workers=workers)[0]] == [_frozen(batch) for batch in _loader()[0]]


_ENDLESS = """
import sys, time
import numpy as np
from seg_scse.config.schema import AugmentationConfig
from seg_scse.data.dataset import TrainingSet, training_loader
from seg_scse.data.sampler import EpochBatchSampler
from seg_scse.data.transforms import build_transform

class Store:
    def image(self, index): return np.zeros((8, 8, 1), np.uint8)
    def mask(self, index): return np.zeros((8, 8), np.uint8)

if __name__ == "__main__":
    dataset = TrainingSet(Store(), range(4), build_transform(AugmentationConfig(), 32), 0)
    batches = iter(loader := training_loader(dataset, EpochBatchSampler([1000] * 4, 1, 0, 0, 1), 2, False))
    next(batches)
    print(*(worker.pid for worker in loader._iterator._workers), flush=True)
    time.sleep(600)
"""


def _is_running(pid):
    state = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True).stdout
    return state != "" and not state.startswith("Z")


@pytest.mark.slow
def test_workers_end_when_the_main_process_is_killed(tmp_path):
    script = tmp_path / "endless.py"
    script.write_text(_ENDLESS)
    paths = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    main = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=paths)
    with main:
        workers = main.stdout.readline().split()
        assert len(workers) == 2
        assert all(map(_is_running, workers))
        main.kill()
    deadline = time.monotonic() + 10
    while any(map(_is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not any(map(_is_running, workers))
