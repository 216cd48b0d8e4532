"""What one scSE block costs next to smp's: `python benchmarks/attention.py [--quick] [--batch 4] [--size 256]`.

Nine shapes of map, those of smp's gates in a U-Net with a resnet34; two memory formats, two precisions; forward with
backward pass, and inference. Printed are ratios to smp's eager block of the time of ours in eager mode, under
`torch.compile`, and (on a GPU) by the Triton kernels: the median over rounds, and the least and greatest. The forms
take turns in each round, in reversed order every other round, so that a busy machine slows all alike. On the CPU the
clock is the processor time of one thread, on a GPU the time of the stream.
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial

import torch
from segmentation_models_pytorch.base.modules import SCSEModule
from torch import Tensor
from train_step import seconds

from seg_scse.attention import SCSE
from seg_scse.attention.functional import Form, scse
from seg_scse.provenance import describe_device, versions

SHAPES = ((768, 16), (384, 8), (192, 4), (128, 2), (256, 16), (128, 8), (64, 4), (32, 2), (16, 1))
"""Channels, and image side / map side: before and after the convolutions of the decoder's stages."""
FORMATS = {"NHWC": torch.channels_last, "NCHW": torch.contiguous_format}
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def forms(x: Tensor) -> dict[str, Callable[[Tensor], Tensor]]:
    """Return the blocks to compare for maps like x by name, smp's first."""
    block = SCSE(x.shape[1], reduction=16).to(x.device, x.dtype)

    def ours(x: Tensor, form: Form) -> Tensor:
        return scse(x, block.channel.weights(), block.spatial.weights(), block.recipe, form)

    found: dict[str, Callable[[Tensor], Tensor]] = {
        "smp": SCSEModule(x.shape[1], reduction=16).to(x.device, x.dtype),
        "eager": partial(ours, form="eager" if x.is_cuda else "auto"),
        "compiled": torch.compile(partial(ours, form="fusible"), dynamic=False),
    }
    if x.is_cuda:
        found["triton"] = partial(ours, form="triton")
    return found


def measure(x: Tensor, rounds: int) -> dict[str, dict[str, tuple[float, float, float]]]:
    """Return median, least and greatest ratio to smp by kind of pass and form."""
    g = torch.randn_like(x)
    results = {}
    repeats = max(2**22 // x.numel(), 1)  # a small map takes too little time for the clock
    blocks = forms(x)
    for kind, run in (("fwd+bwd", partial(train, x.clone().requires_grad_(), g)), ("inference", partial(infer, x))):
        times: dict[str, list[float]] = {name: [] for name in blocks}
        for number in range(rounds + 2):  # the first two rounds compile and warm up
            for name in list(blocks) if number % 2 else list(blocks)[::-1]:
                taken = seconds(partial(run, blocks[name], repeats), x.device)
                if number > 1:
                    times[name].append(taken)
        ratios = {
            name: [value / base for value, base in zip(values, times["smp"], strict=True)]
            for name, values in times.items()
        }
        results[kind] = {name: (statistics.median(values), min(values), max(values)) for name, values in ratios.items()}
    return results


def train(x: Tensor, g: Tensor, block: Callable[[Tensor], Tensor], repeats: int) -> None:
    for _ in range(repeats):
        block(x).backward(g)
        x.grad = None


def infer(x: Tensor, block: Callable[[Tensor], Tensor], repeats: int) -> None:
    with torch.no_grad():
        for _ in range(repeats):
            block(x)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="side of the image that the maps belong to")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="two shapes and three rounds")
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        torch.set_num_threads(1)
    shapes, rounds = (SHAPES[3::5], 3) if args.quick else (SHAPES, args.rounds)
    print(f"{describe_device(device)}; torch {versions()['torch']}")
    print(f"maps of {args.batch} x {args.size} x {args.size} images; {rounds} rounds; time / smp's, median (range)")
    for precision, dtype in PRECISIONS.items():
        for layout, memory_format in FORMATS.items():
            for channels, stride in shapes:
                torch._dynamo.reset()  # each shape is compiled for itself
                side = args.size // stride
                x = torch.randn(args.batch, channels, side, side, device=device, dtype=dtype)
                for kind, ratios in measure(x.contiguous(memory_format=memory_format), rounds).items():
                    cells = [f"{name} {m:.2f} ({a:.2f}-{b:.2f})" for name, (m, a, b) in ratios.items() if name != "smp"]
                    print(f"{precision} {layout} {channels:3}@{side:<4} {kind:9}  {'  '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
