"""What loading costs: `python benchmarks/data.py [--size 1024] [--crop 512] [--images 64] [--preset light]`.

Reading, augmentation and collating of crops from PNG images: by this package with its cache of decoded images, without
it and in its first epoch; by the plain recipe (PIL or OpenCV, albumentations, float32 images and int64 masks, torch's
collate); and by MONAI's, where it is installed, without a cache and with its two. All do the same kind of augmentation.
The images are drawn: shapes, and noise on all scales as in photographs, so that decoding costs what it costs there.

The forms take turns in one process, in reversed order every other round, so that a busy machine slows all alike. The
clock is the processor time of one thread. Printed are medians over rounds, and of the ratio to ours in the same round
with its least and greatest. Then follow parts alone, the bytes of a sample that go to the device, and what is left to
the main process when others load (`--workers`, 0 for none; images/s there by the clock on the wall).
"""

import argparse
import importlib.util
import logging
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch.utils.data import default_collate
from usual_loading import DECODERS, Files, PlainSet, monai_loader, one_thread, plain_loader, plain_steps

from seg_scse.config.data import DataConfig, SplitConfig
from seg_scse.config.schema import AugmentationConfig
from seg_scse.data.dataset import TrainingSet, training_loader
from seg_scse.data.lazy import recent_files
from seg_scse.data.listing.manifest import build_manifest
from seg_scse.data.sampler import EpochBatchSampler
from seg_scse.data.store import Store
from seg_scse.data.transforms import build_transform
from seg_scse.provenance import describe_device, versions

Epoch = Callable[[], None]
OURS = "ours, cached"


def draw(folder: Path, images: int, size: int) -> Files:
    """Draw PNG images and masks of four classes."""
    rng = np.random.default_rng(0)
    files = []
    for number in range(images):
        field = sum(_noise(rng, size, scale) * scale**0.9 for scale in (2**k for k in range(size.bit_length())))
        shapes = _noise(rng, size, size // 8)[..., 0]
        grain = 3 * rng.standard_normal((size, size, 3))  # of a camera: most of what a PNG file of a photograph holds
        image = 128 + 40 * (field / field.std()) + 30 * np.rint(shapes)[..., None] + grain
        mask = np.clip(np.rint(shapes + 1.5), 0, 3)
        pair = folder / "images" / f"{number:04}.png", folder / "masks" / f"{number:04}.png"
        for path, pixels in zip(pair, (image, mask), strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
        files.append(pair)
    return files


def _noise(rng: np.random.Generator, size: int, scale: int) -> np.ndarray:
    side = max(size // max(scale, 1), 1) + 1
    coarse = rng.standard_normal((side, side, 3)).astype(np.float32)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)


class Ours:
    """This package's loading of a folder."""

    def __init__(self, folder: Path, cache: Path, args: argparse.Namespace) -> None:
        self._folder, self._cache, self._args = folder, cache, args
        self.transform = build_transform(AugmentationConfig(preset=args.preset), args.crop)

    def store(self, cache_gb: float | None = None) -> Store:
        """Read all samples, or find them in the cache."""
        config = DataConfig(
            root=str(self._folder),
            classes=("background", "a", "b", "c"),
            split=SplitConfig(train=1.0, val=0.0, test=0.0),
            cache=str(self._cache),
            cache_gb=cache_gb,
        )
        return Store.prepare(build_manifest(config), config)

    def loader(self, store: Store, workers: int = 0) -> Iterable[Any]:
        """Return the loader that training uses."""
        dataset = TrainingSet(store, range(len(store)), self.transform, 0)
        sampler = EpochBatchSampler([1] * len(store), self._args.batch, 0, 0, 1)
        return training_loader(dataset, sampler, workers, pin_memory=False)

    def first_epoch(self) -> None:
        """Decode, check, measure and keep all images, then draw from them."""
        shutil.rmtree(self._cache, ignore_errors=True)
        exhaust(self.loader(self.store()))


def exhaust(batches: Iterable[Any]) -> None:
    for _ in batches:
        pass


def forms(files: Files, folder: Path, args: argparse.Namespace) -> Iterator[tuple[str, Epoch]]:
    """Yield what is compared by name, ours first; each call is an epoch."""
    cached = Ours(folder, folder / "cache", args)
    yield OURS, partial(exhaust, cached.loader(cached.store()))
    uncached = Ours(folder, folder / "no_cache", args)
    yield "ours, beyond cache_gb", partial(exhaust, uncached.loader(uncached.store(1e-6)))
    yield "ours, first epoch", Ours(folder, folder / "new_cache", args).first_epoch
    for decoder in DECODERS:
        steps = plain_steps(args.preset, args.crop)
        yield f"plain, {decoder}", partial(exhaust, plain_loader(files, decoder, steps, args.batch))
    if importlib.util.find_spec("monai") is None:
        print("MONAI is not installed: left out")
    elif args.preset == "medium":
        print("MONAI has no grid distortion: left out")
    else:
        for cache in ("none", "disk", "memory"):
            loader = monai_loader(files, args.preset, args.crop, args.batch, cache, folder / "monai")
            yield f"MONAI, cache: {cache}", partial(exhaust, loader)


def parts(files: Files, folder: Path, args: argparse.Namespace) -> Iterator[tuple[str, Epoch]]:
    """Yield parts of the work by name, ours before the plain recipe's."""
    ours = Ours(folder, folder / "cache", args)
    store = ours.store()
    arrays = [(np.array(store.image(index)), np.array(store.mask(index))) for index in range(len(store))]
    steps = plain_steps(args.preset, args.crop)
    yield "ours: reading from the cache", lambda: [(store.image(k), store.mask(k)) for k in range(len(store))]
    yield "ours: augmentation", lambda: [ours.transform(*pair, seed) for seed, pair in enumerate(arrays)]
    yield "plain: augmentation", lambda: [steps(image=image, mask=mask) for image, mask in arrays]
    ours_batch = [TrainingSet(store, [0], ours.transform, 0)[(0, 0, 0)]] * args.batch
    plain_batch = [PlainSet(files, "PIL", steps)[0]] * args.batch
    collate = ours.loader(store).collate_fn
    batches = range(len(store) // args.batch)
    yield "ours: collating", lambda: [collate(ours_batch) for _ in batches]
    yield "plain: collating", lambda: [default_collate(plain_batch) for _ in batches]


def interleaved(epochs: dict[str, Epoch], rounds: int, samples: int) -> dict[str, list[float]]:
    """Return milliseconds a sample of processor time, by name and round."""
    times: dict[str, list[float]] = {name: [] for name in epochs}
    for number in range(rounds + 1):  # the first round warms up
        for name in list(epochs) if number % 2 else list(epochs)[::-1]:
            started = time.process_time()
            epochs[name]()
            if number:
                times[name].append((time.process_time() - started) / samples * 1000)
    return times


def report(times: dict[str, list[float]]) -> None:
    for name, values in times.items():
        ratios = sorted(value / base for value, base in zip(values, times[OURS], strict=True))
        middle, median = statistics.median(ratios), statistics.median(values)
        print(
            f"{name:22} {median:8.2f} ms {1000 / median:8.1f} images/s   {middle:6.2f} x the time of ours "
            f"({ratios[0]:.2f}-{ratios[-1]:.2f})"
        )


def report_bytes(name: str, batch: Iterable[Any], samples: int) -> None:
    tensors = [value for value in batch if value.dim() > 1]
    print(f"{name:30} {sum(value.nbytes for value in tensors) / samples / 1e6:8.3f} MB a sample to the device")


def report_workers(files: Files, folder: Path, args: argparse.Namespace) -> None:
    """Print what a loader with processes of its own costs this one, and how fast it is."""
    ours = Ours(folder, folder / "cache", args)
    loaders = {
        "ours": ours.loader(ours.store(), args.workers),
        "plain": plain_loader(files, "PIL", plain_steps(args.preset, args.crop), args.batch, args.workers),
    }
    for loader in loaders.values():
        exhaust(loader)  # starts the processes
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in loaders}
    for number in range(args.rounds):
        for name in list(loaders) if number % 2 else list(loaders)[::-1]:
            started = time.process_time(), time.perf_counter()
            exhaust(loaders[name])
            found[name].append((time.process_time() - started[0], time.perf_counter() - started[1]))
    samples = len(files) // args.batch * args.batch
    for name, values in found.items():
        main, wall = (statistics.median(column) for column in zip(*values, strict=True))
        print(
            f"{name + f', {args.workers} processes':22} {main / samples * 1000:8.2f} ms in the main process "
            f"{samples / wall:8.1f} images/s"
        )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024, help="side of the images")
    parser.add_argument("--crop", type=int, default=512)
    parser.add_argument("--images", type=int, default=64, help="a multiple of --batch")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--preset", choices=("flips", "light", "medium"), default="light")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    if args.images % args.batch:
        parser.error("--images must be a multiple of --batch")
    return args


def main() -> None:
    """Measure and print."""
    args = arguments()
    one_thread()
    logging.disable(logging.WARNING)  # MONAI's on decoders that are not needed here
    warnings.filterwarnings("ignore", module="monai")
    recent_files.most_bytes = 0  # no image is met a second time, as in a data set that is larger than the memory
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = draw(folder, args.images, args.size)
        size = sum(path.stat().st_size for pair in files for path in pair) / len(files) / 1e6
        print(f"{describe_device(torch.device('cpu'))}; torch {versions()['torch']}")
        print(
            f"{args.images} PNG images of {args.size} px ({size:.1f} MB with mask), crops of {args.crop} px, "
            f"preset {args.preset}, batches of {args.batch}; {args.rounds} rounds"
        )
        report(interleaved(dict(forms(files, folder, args)), args.rounds, args.images))
        for part, values in interleaved(dict(parts(files, folder, args)), args.rounds, args.images).items():
            print(f"{part:30} {statistics.median(values):8.3f} ms")
        ours = Ours(folder, folder / "cache", args)
        report_bytes("ours", next(iter(ours.loader(ours.store()))).values(), args.batch)
        plain = plain_loader(files, "PIL", plain_steps(args.preset, args.crop), args.batch)
        report_bytes("plain", next(iter(plain)), args.batch)
        if args.workers:
            report_workers(files, folder, args)


if __name__ == "__main__":
    main()
