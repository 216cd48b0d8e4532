"""What scoring costs: `python benchmarks/evaluation.py [--images 1000] [--size 1024] [--classes 2,20]`.

A U-Net predicts an image; then its logits are scored by this package and by the recipes of torchmetrics, smp and MONAI.
The network is timed, but its weights are random, and boundaries of noise are like those of no trained network; so the
scored logits are drawn: those of a network that is right but for a shift of all boundaries by a few pixels.

Ours are everything that `evaluate.py` does after the network: probabilities, labels and counts ("pixels"), and by
default boundaries and histograms of probabilities too ("all"). Others start from the logits as well. All take turns in
one process, in reversed order every other image, so that a busy machine slows all alike. The clock is the processor
time of one thread; printed is the share of the forward pass of the same image, the median and the range over the
images.

Then ours scores more images in a process of its own, without a network, which tells how its memory grows with them.
"""

import argparse
import logging
import multiprocessing
import resource
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from usual_loading import one_thread
from usual_scoring import USUAL, Picture, Recipe

from seg_scse.config.schema import ModelConfig
from seg_scse.inference.labelling import decide
from seg_scse.inference.predictor import Predictor
from seg_scse.metrics.counts import CountsTable, count_pixels
from seg_scse.metrics.measures import MeasureTable
from seg_scse.metrics.probabilities import ProbabilityTable, count_probabilities
from seg_scse.metrics.scores import foreground_score
from seg_scse.metrics.surfaces import SURFACE_NAMES, measure_surfaces
from seg_scse.models import build_model
from seg_scse.provenance import describe_device, versions

DRAWN = 2
"""Pictures that are scored in turn: drawing one takes longer than scoring it."""
WARM_UP = 12
"""Pictures after which the allocator has settled: until then it keeps more of the large maps with each one."""
SHIFT = 3
PIXELS, ALL = "ours: pixels", "ours: all"


def draw(classes: int, size: int, seed: int) -> Picture:
    """Draw a picture: smooth regions of the classes, and logits with the boundaries a few pixels off."""
    random = np.random.default_rng(seed)
    coarse = random.standard_normal((size // 64 + 2, size // 64 + 2, classes)).astype(np.float32)
    fields = [cv2.resize(coarse[..., index], (size, size), interpolation=cv2.INTER_CUBIC) for index in range(classes)]
    truth = np.argmax(fields, axis=0).astype(np.uint8)
    shifted = np.roll(np.stack(fields), SHIFT, axis=2) * 8
    logits = torch.from_numpy(shifted[1:] - shifted[:1] if classes == 2 else shifted)[None]
    image = random.integers(0, 256, (size, size, 3), dtype=np.uint8)
    return Picture(image, logits.contiguous(memory_format=torch.channels_last), truth)


class Given(nn.Module):
    """A network that says what it was told to."""

    logits: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, whatever the images are."""
        return self.logits.expand(len(images), -1, -1, -1)


class Ours:
    """This package's scoring; the time of each part is kept."""

    def __init__(self, classes: int, everything: bool) -> None:
        self._classes, self._everything, self._network = classes, everything, Given()
        self._counts = CountsTable(classes)
        self._surfaces = MeasureTable(SURFACE_NAMES, classes)
        self._histograms = ProbabilityTable([str(index) for index in range(classes)])
        self.parts: dict[str, list[float]] = {}

    def _timed(self, part: str, work: Callable[[], object]) -> object:
        started = time.process_time()
        result = work()
        self.parts.setdefault(part, []).append(time.process_time() - started)
        return result

    def add(self, picture: Picture) -> None:
        """Predict from the given logits, and score."""
        self._network.logits = picture.logits
        size, device, truth, name = len(picture.image), torch.device("cpu"), picture.truth, str(len(self._counts))
        predictor = Predictor(self._network, nn.Identity(), device, "fp32", size, 0.25, 1, 0.5)
        probabilities = self._timed("probabilities", lambda: predictor.probabilities(picture.image))
        chosen = self._timed("labels", lambda: decide(probabilities, 0.5, False))
        confidence, labels, classes = chosen.confidence.numpy(), chosen.labels, self._classes
        self._counts.add(name, self._timed("counts", lambda: count_pixels(labels, truth, classes)))
        if self._everything:
            found = self._timed("boundaries", lambda: measure_surfaces(labels, truth, classes, (1.0, 1.0), 2.0))
            self._surfaces.add(name, found)
            found = self._timed("histograms", lambda: count_probabilities(confidence, labels, truth, classes))
            self._histograms.add(name, found)

    def result(self) -> float:
        """Mean over the images and foreground classes."""
        return foreground_score(self._counts, "dice_per_image", "exclude")


def forms(classes: int) -> dict[str, Recipe]:
    """Return what is compared by name, ours first."""
    ours = {PIXELS: Ours(classes, everything=False), ALL: Ours(classes, everything=True)}
    return {**ours, **{name: recipe(classes) for name, recipe in USUAL.items()}}


def forward_pass(encoder: str, classes: int, size: int) -> Callable[[], Tensor]:
    """Return the pure forward pass of the U-Net over one image, in the memory layout of this package."""
    network = build_model(ModelConfig(encoder=encoder), 3, classes).eval().to(memory_format=torch.channels_last)
    image = torch.randn(1, 3, size, size).to(memory_format=torch.channels_last)
    return partial(network, image)


def measure(
    forward: Callable[[], Tensor], scoring: dict[str, Recipe], pictures: list[Picture], images: int
) -> Iterator:
    """Yield for each image the seconds of the forward pass and of each form."""
    for number in range(images + 1):  # the first image warms up
        picture = pictures[number % len(pictures)]
        work = {"forward": forward} | {name: partial(recipe.add, picture) for name, recipe in scoring.items()}
        taken = {}
        for name in list(work) if number % 2 else list(work)[::-1]:
            started = time.process_time()
            work[name]()
            taken[name] = time.process_time() - started
        if number:
            yield taken


def report(rows: list[dict[str, float]], scoring: dict[str, Recipe]) -> None:
    """Print the forward pass, and each form as its share."""
    print(f"{'forward pass':34} {statistics.median(row['forward'] for row in rows):8.3f} s an image")
    for name, recipe in scoring.items():
        shares = sorted(row[name] / row["forward"] * 100 for row in rows)
        milliseconds = statistics.median(row[name] for row in rows) * 1000
        print(
            f"{name:34} {milliseconds:8.1f} ms  {statistics.median(shares):6.2f} % of the forward pass "
            f"({shares[0]:.2f}-{shares[-1]:.2f}); mean Dice {recipe.result():.4f}"
        )
    parts = scoring[ALL].parts
    print("  of ours:", ", ".join(f"{part} {statistics.median(found) * 1000:.1f} ms" for part, found in parts.items()))


def grow(classes: int, size: int, images: int) -> float:
    """Return by how many MB the memory of this process grows over so many images, after a few to warm up.

    What is resident now is read where the system tells (Linux); the peak elsewhere, which drawing may have set.
    """
    quieten()
    recipe, pictures = Ours(classes, everything=True), [draw(classes, size, seed) for seed in range(DRAWN)]
    held = []
    for count in (WARM_UP, images):
        for number in range(count):
            recipe.add(pictures[number % DRAWN])
        held.append(resident())
    return held[1] - held[0]


def resident() -> float:
    """Return the memory of this process in MB."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * resource.getpagesize() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def quieten() -> None:
    """Let one thread work, and keep the warnings of others off the screen."""
    one_thread()
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore", module="monai")
    torch.set_grad_enabled(False)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="resnet34")
    parser.add_argument("--size", type=int, default=1024, help="side of the images")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--classes", default="2,20", help="numbers of classes, separated by commas")
    parser.add_argument("--memory-images", type=int, default=100, help="scored to see the memory grow; 0: none")
    args = parser.parse_args()
    quieten()
    print(f"{describe_device(torch.device('cpu'))}; torch {versions()['torch']}")
    for classes in map(int, args.classes.split(",")):
        print(f"\n{classes} classes, {args.images} images of {args.size} px, unet-{args.encoder}, float32, one thread")
        scoring, pictures = forms(classes), [draw(classes, args.size, seed) for seed in range(DRAWN)]
        forward = forward_pass(args.encoder, classes, args.size)
        report(list(measure(forward, scoring, pictures, args.images)), scoring)
        del forward, pictures
        if args.memory_images:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                growth = pool.apply(grow, (classes, args.size, args.memory_images))
            print(f"{ALL:34} {growth:8.1f} MB more memory after {args.memory_images} more images")


if __name__ == "__main__":
    main()
