"""What boundary scores cost: `python benchmarks/surfaces.py [--sizes 256,512,1024,2048] [--rounds 5]`.

For each size and kind of mask, ours (hd95, assd, nsd and boundary IoU), hd95 by MONAI alone, and two distance
transforms of the full frame by scipy alone, one per side, take turns in one process, in reversed order every other
round, so that a busy machine slows all alike; ratios of the same round are printed, never absolute times alone. The
clock is the processor time of one thread.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import cv2
import numpy as np
import torch
from monai.metrics import compute_hausdorff_distance
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from seg_scse.metrics.boundaries import boundary
from seg_scse.metrics.surfaces import measure_surfaces
from seg_scse.provenance import describe_device, versions

Mask = NDArray[np.uint8]
TOLERANCE = 2.0


def discs(size: int, number: int, radius: float, shift: float, seed: int) -> tuple[Mask, Mask]:
    """Draw discs, and the same ones wobbling by up to `shift` pixels in place and size."""
    random = np.random.default_rng(seed)
    masks = [np.zeros((size, size), np.uint8) for _ in range(2)]
    reach = min(radius * 1.1, size / 2 - 1)
    for row, column in random.uniform(reach, size - reach, (number, 2)):
        scale = random.uniform(0.6, 1)
        for mask, change in zip(masks, (np.zeros(3), random.uniform(-shift, shift, 3)), strict=True):
            centre = (round(column + change[0]), round(row + change[1]))
            cv2.circle(mask, centre, max(1, round(radius * scale + change[2])), 1, cv2.FILLED)
    return masks[0], masks[1]


def vessels(size: int, miss: float, seed: int) -> tuple[Mask, Mask]:
    """Draw thin lines, and the same ones moved by a pixel, where a share `miss` is elsewhere."""
    random = np.random.default_rng(seed)
    masks = [np.zeros((size, size), np.uint8) for _ in range(2)]
    for _ in range(max(4, size // 12)):
        start, end = random.uniform(0, size, (2, 2))
        end = start + (end - start) * 0.6
        other = random.uniform(0, size, (2, 2)) if random.random() < miss else np.array([start, end]) + 1
        width = int(random.integers(1, 6))
        for mask, (first, last) in zip(masks, ((start, end), other), strict=True):
            cv2.line(mask, tuple(map(int, first)), tuple(map(int, last)), 1, width)
    return masks[0], masks[1]


def scenes(size: int) -> dict[str, tuple[Mask, Mask]]:
    """Prediction and truth of each kind of mask."""
    rows, columns = np.mgrid[:size, :size]
    small = (rows - size / 4) ** 2 + (columns - size / 4) ** 2 < (size / 20) ** 2
    large = (rows - size / 2) ** 2 + (columns - size / 2) ** 2 < (0.45 * size) ** 2
    noise = [np.random.default_rng(seed).random((size, size)) < 0.5 for seed in (0, 1)]
    return {
        "large object": discs(size, 1, 0.35 * size, 0.01 * size, 0),
        "small object": discs(size, 1, 0.05 * size, 3, 0),
        "100 nuclei": discs(size, 100, size / 30, 2, 0),
        "thin vessels": vessels(size, 0.1, 0),
        "vessels, half missed": vessels(size, 0.5, 1),
        "small inside large": (small.view(np.uint8), large.view(np.uint8)),
        "noise": (noise[0].view(np.uint8), noise[1].view(np.uint8)),
    }


def scorers(prediction: Mask, truth: Mask, spacing: tuple[float, float]) -> dict[str, Callable[[], object]]:
    """The forms that are compared, by name."""
    outside = [1 - boundary(mask) for mask in (prediction, truth)]
    pair = [torch.from_numpy(mask)[None, None] for mask in (prediction, truth)]
    options = {"include_background": True, "percentile": 95, "spacing": spacing}
    return {
        "ours": lambda: measure_surfaces(prediction, truth, 2, spacing, TOLERANCE),
        "MONAI": lambda: compute_hausdorff_distance(*pair, **options),
        "scipy": lambda: [distance_transform_edt(mask, sampling=spacing) for mask in outside],
    }


def take_turns(forms: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each form in each round, after one that warms up."""
    times: dict[str, list[float]] = {name: [] for name in forms}
    for number in range(rounds + 1):
        for name in list(forms) if number % 2 else list(forms)[::-1]:
            started = time.process_time()
            forms[name]()
            if number:
                times[name].append(time.process_time() - started)
    return times


def ratio(times: dict[str, list[float]], other: str) -> str:
    """Ours over another form: the median of the rounds, and their range."""
    ratios = sorted(ours / theirs for ours, theirs in zip(times["ours"], times[other], strict=True))
    return f"{statistics.median(ratios):.3f} of {other} ({ratios[0]:.3f}-{ratios[-1]:.3f})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="256,512,1024,2048", help="sides of the images, separated by commas")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--spacing", default="1,1", help="height and width of a pixel")
    args = parser.parse_args()
    warnings.filterwarnings("ignore", module="monai")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    height, width = map(float, args.spacing.split(","))
    print(f"{describe_device(torch.device('cpu'))}; {', '.join(f'{k} {v}' for k, v in versions().items())}")
    for size in map(int, args.sizes.split(",")):
        for name, (prediction, truth) in scenes(size).items():
            times = take_turns(scorers(prediction, truth, (height, width)), args.rounds)
            milliseconds = 1000 * statistics.median(times["ours"])
            ratios = "   ".join(ratio(times, other) for other in ("scipy", "MONAI"))
            print(f"{size:5} {name:21} {milliseconds:8.2f} ms   {ratios}", flush=True)


if __name__ == "__main__":
    main()
