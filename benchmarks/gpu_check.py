"""What to run first on a new GPU: `python benchmarks/gpu_check.py`, about five minutes.

1. The bandwidth of a copy, the unit of all that follows: an scSE block does little but move its map.
2. Values and gradients of the Triton form against float64: shapes, merges, precisions and memory formats.
3. The nine attention blocks of a U-Net with a resnet34, 16 images of 512 x 512 in bfloat16, channels last: smp's block
   and the forms of ours. "Passes" are reads or writes of the block's map that the copy makes in the same time: smp
   moves 33 forward and backward, the kernels 7.
4. Training steps of that network: without attention, with smp's scSE, with ours.

The exit status is 1 if a result is wrong. `TRITON_INTERPRET=1 python benchmarks/gpu_check.py --smoke` runs every part
at a tiny size without a GPU: its times then mean nothing.
"""

import argparse
import gc
import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import segmentation_models_pytorch as smp
import torch
import triton
from segmentation_models_pytorch.base.modules import SCSEModule
from torch import Tensor, nn
from train_step import networks, seconds, training_step

from seg_scse.attention import SCSE
from seg_scse.attention.functional import scse
from seg_scse.attention.triton_form import scse_triton
from seg_scse.provenance import describe_device

Run = Callable[[Tensor], Tensor]
LIMITS = {torch.float32: (1e-6, 1e-5), torch.bfloat16: (5e-3, 1e-4), torch.float16: (1e-3, 1e-4)}
"""Relative errors of maps and of the weights' gradients that count as right."""


@dataclass(frozen=True)
class Size:
    """How large everything is."""

    device: torch.device
    copied: int
    batch: int
    decoder: tuple[tuple[int, int], ...]
    """Channels and side of the blocks that are timed."""
    others: tuple[tuple[int, tuple[int, ...]], ...]
    """Channels and sizes of maps that are checked beside them."""
    backend: str
    """Of torch.compile."""
    encoder: str
    image: int
    rounds: int


GPU = Size(
    device=torch.device("cuda"),
    copied=2**29,
    batch=16,
    decoder=(
        *((768, 32), (384, 64), (192, 128), (128, 256)),
        *((256, 32), (128, 64), (64, 128), (32, 256), (16, 512)),
    ),
    others=((1, (7,)), (5, (3, 1)), (33, (17, 19, 5)), (300, (31, 29)), (2048, (16, 16))),
    backend="inductor",
    encoder="resnet34",
    image=512,
    rounds=20,
)
SMOKE = Size(
    device=torch.device("cpu"),
    copied=2**16,
    batch=2,
    decoder=((16, 8), (40, 4)),
    others=((5, (3, 1)),),
    backend="aot_eager",
    encoder="resnet18",
    image=32,
    rounds=1,
)


def milliseconds(run: Callable[[], object], device: torch.device) -> float:
    """Return the median time of a function, on a GPU with its cache emptied before each call."""
    if device.type == "cuda":
        return float(triton.testing.do_bench(run, warmup=50, rep=200, return_mode="median"))
    started = time.process_time()
    run()
    return (time.process_time() - started) * 1e3


def bandwidth(size: Size) -> float:
    """Return how many bytes a copy reads and writes in a millisecond."""
    source = torch.ones(size.copied, device=size.device, dtype=torch.bfloat16)
    target = torch.empty_like(source)
    return 2 * source.nbytes / milliseconds(lambda: target.copy_(source), size.device)


def gradients(run: Run, x: Tensor, module: nn.Module, gradient: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Return y and the gradient of x, and the gradients of the weights."""
    x = x.detach().requires_grad_()
    y = run(x)
    x_gradient, *others = torch.autograd.grad(y, [x, *module.parameters()], gradient)
    return [y.detach(), x_gradient], others


def worst(values: list[Tensor], exact: list[Tensor]) -> float:
    """Return the largest relative error of some tensors."""
    return max(float((a.double() - b).norm() / b.norm()) for a, b in zip(values, exact, strict=True))


def errors(x: Tensor, merge: str) -> tuple[float, float]:
    """Return the worst errors of maps and of weights against the reference form in float64."""
    torch.manual_seed(0)
    block = SCSE(x.shape[1], merge=merge, min_width=1).to(x.device)
    exact_block = SCSE(x.shape[1], merge=merge, min_width=1).to(x.device).double()
    exact_block.load_state_dict(block.state_dict())
    gradient = torch.randn_like(x)
    maps, weights = gradients(form_of(block, "triton"), x, block, gradient)
    exact = gradients(form_of(exact_block, "reference"), x.double(), exact_block, gradient.double())
    if maps[0].stride() != x.stride() or maps[1].stride() != x.stride():
        raise RuntimeError(f"the result for a map of strides {x.stride()} has strides {maps[0].stride()}")
    return worst(maps, exact[0]), worst(weights, exact[1])


def maps(size: Size, dtype: torch.dtype, last: bool) -> Iterator[Tensor]:
    """Draw the maps that are checked."""
    shapes = [(size.batch, channels, side, side) for channels, side in size.decoder]
    shapes += [(2, channels, *sides) for channels, sides in size.others]
    for shape in shapes:
        x = torch.randn(shape, device=size.device).to(dtype)
        yield x.movedim(1, -1).contiguous().movedim(-1, 1) if last else x


def check(size: Size) -> bool:
    """Print the worst errors of each kind; return whether all are within their limits."""
    print("| precision | merge | layout | maps | weights | |\n|---|---|---|---|---|---|")
    right = True
    for dtype, merge, last in itertools.product(LIMITS, ("add", "max", "mul"), (True, False)):
        found = [errors(x, merge) for x in maps(size, dtype, last)]
        most = tuple(max(column) for column in zip(*found, strict=True))
        good = all(error <= limit for error, limit in zip(most, LIMITS[dtype], strict=True))
        layout = "channels last" if last else "channels first"
        verdict = "right" if good else "WRONG"
        print(f"| {str(dtype)[6:]} | {merge} | {layout} | {most[0]:.1e} | {most[1]:.1e} | {verdict} |", flush=True)
        right &= good
    return right


def form_of(block: SCSE, form: str) -> Run:
    """Return a form of a block."""
    compute = scse_triton if form == "triton" else partial(scse, form=form)
    return lambda x: compute(x, *block._weights(), block.recipe)


def candidates(channels: int, size: Size) -> dict[str, tuple[Run, nn.Module]]:
    """Return what is compared, by name."""
    ours, theirs = SCSE(channels, reduction=16).to(size.device), SCSEModule(channels).to(size.device)
    compiled = torch.compile(form_of(ours, "fusible"), backend=size.backend, dynamic=False)
    return {
        "smp eager": (theirs, theirs),
        "ours eager": (form_of(ours, "eager"), ours),
        "ours compiled": (compiled, ours),
        "ours triton": (form_of(ours, "triton"), ours),
    }


def time_blocks(size: Size, bytes_per_ms: float) -> None:
    """Print times of the nine blocks, forward and with backward, under autocast."""
    print("| block | form | forward ms | with backward ms | passes | of smp |\n|---|---|---|---|---|---|")
    sums: dict[str, list[float]] = {}
    for channels, side in size.decoder:
        torch.compiler.reset()  # dynamo stops compiling after eight shapes of one function
        x = torch.randn(size.batch, channels, side, side, device=size.device).bfloat16()
        x = x.contiguous(memory_format=torch.channels_last)
        for name, (run, module) in candidates(channels, size).items():

            def forward(run: Run = run, x: Tensor = x) -> Tensor:
                with torch.autocast(size.device.type, dtype=torch.bfloat16):
                    return run(x)

            with torch.no_grad():
                alone = milliseconds(forward, size.device)
            both = milliseconds(
                lambda run=forward, x=x, module=module: gradients(lambda x: run(x=x), x, module, x), size.device
            )
            total = sums.setdefault(name, [0.0, 0.0, 0.0])
            total[:] = [total[0] + alone, total[1] + both, total[2] + x.nbytes]
            print_row(f"{channels} x {side}", name, alone, both, x.nbytes / bytes_per_ms, None)
    for name, (alone, both, moved) in sums.items():
        print_row("all", name, alone, both, moved / bytes_per_ms, sums["smp eager"][1])


def print_row(block: str, name: str, alone: float, both: float, one_pass: float, smp_time: float | None) -> None:
    """Print one line of the table of blocks."""
    ratio = "" if smp_time is None else f"{both / smp_time:.2f}"
    print(f"| {block} | {name} | {alone:.4f} | {both:.4f} | {both / one_pass:.1f} | {ratio} |", flush=True)


def time_steps(size: Size) -> None:
    """Print times of training steps, interleaved, and the memory of each."""
    print("| network | step ms | of none | peak GB |\n|---|---|---|---|")
    options = argparse.Namespace(batch=size.batch, size=size.image, precision="bf16")
    built = networks(size.encoder).items()
    steps = {name: training_step(network, options, size.device) for name, network in built}
    peaks = {}
    for name, step in steps.items():  # also warms up
        step()
        if size.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            held = torch.cuda.memory_allocated()
            step()
            peaks[name] = (torch.cuda.max_memory_allocated() - held) / 1e9
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(size.rounds):
        for name in list(steps) if number % 2 else list(steps)[::-1]:
            times[name].append(seconds(steps[name], size.device) * 1e3)
    for name, values in times.items():
        ratio = statistics.median(value / base for value, base in zip(values, times["none"], strict=True))
        print(f"| {name} | {statistics.median(values):.2f} | {ratio:.3f} | {peaks.get(name, float('nan')):.2f} |")


def main() -> None:
    """Run every part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes in Triton's interpreter, without a GPU")
    size = SMOKE if parser.parse_args().smoke else GPU
    if size is SMOKE and os.environ.get("TRITON_INTERPRET") != "1":
        parser.error("--smoke needs TRITON_INTERPRET=1 in the environment")
    if size is GPU and not torch.cuda.is_available():
        parser.error("no CUDA device; TRITON_INTERPRET=1 and --smoke run this without one")
    print(
        f"{describe_device(size.device)}; torch {torch.__version__}, triton {triton.__version__}, smp {smp.__version__}"
    )
    moved = bandwidth(size)
    print(f"copy: {moved / 1e9:.3f} TB/s\n", flush=True)
    right = check(size)
    print()
    time_blocks(size, moved)
    gc.collect()
    print()
    time_steps(size)
    sys.exit(0 if right else 1)


if __name__ == "__main__":
    main()
