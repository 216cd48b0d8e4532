"""What scSE costs in a training step: `python benchmarks/train_step.py [--size 256] [--batch 4] [--precision bf16]`.

Networks train side by side in one process: a U-Net without attention, ours with scSE after every decoder stage, ours
with smp's gates, and smp's own scSE; with `--compile-gates`, ours with smp's gates compiled too. The steps are
interleaved, in reversed order every other round, so that a busy machine slows all alike; ratios of the same round are
printed, never absolute times alone. On the CPU the clock is the processor time of one thread, on a GPU the time of the
stream.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import segmentation_models_pytorch as smp
import torch
from torch import nn

from seg_scse.attention.compiling import compile_gates
from seg_scse.config.attention import AttentionConfig
from seg_scse.config.schema import LossConfig, ModelConfig
from seg_scse.inference.predictor import autocast
from seg_scse.losses import build_loss
from seg_scse.models import build_model
from seg_scse.provenance import describe_device, versions


def networks(encoder: str, compiled: bool = False) -> dict[str, nn.Module]:
    """Return the networks by name."""
    ours = ModelConfig(encoder=encoder, attention=AttentionConfig(type="scse"))
    preset = ModelConfig(encoder=encoder, attention=AttentionConfig(preset="smp"))
    found = {
        "none": build_model(ModelConfig(encoder=encoder), 3, 2),
        "ours scse (r 2, add)": build_model(ours, 3, 2),
        "ours, preset smp": build_model(preset, 3, 2),
        "smp scse (r 16, add)": smp.Unet(encoder, encoder_weights=None, decoder_attention_type="scse"),
    }
    if compiled:
        found["ours, smp compiled"] = compile_gates(build_model(preset, 3, 2))
    return found


def training_step(network: nn.Module, args: argparse.Namespace, device: torch.device) -> Callable[[], None]:
    """Return a function that does one forward pass, backward pass and update."""
    network = network.to(device).to(memory_format=torch.channels_last).train()
    images = torch.randn(args.batch, 3, args.size, args.size, device=device).to(memory_format=torch.channels_last)
    target = torch.randint(0, 2, (args.batch, args.size, args.size), device=device, dtype=torch.uint8)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    loss = build_loss(LossConfig(), 2).to(device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast(device, args.precision):
            logits = network(images)
        loss(logits, target)[0].backward()
        optimizer.step()

    return step


def seconds(step: Callable[[], None], device: torch.device) -> float:
    """Return the time of one step."""
    if device.type == "cpu":
        started = time.process_time()
        step()
        return time.process_time() - started
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    step()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="resnet34")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile-gates", action="store_true", help="add a network whose gates are compiled")
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        torch.set_num_threads(1)
    steps = {
        name: training_step(network, args, device)
        for name, network in networks(args.encoder, args.compile_gates).items()
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(args.rounds + 1):  # the first round warms up
        names = list(steps) if number % 2 else list(steps)[::-1]
        for name in names:
            taken = seconds(steps[name], device)
            if number:
                times[name].append(taken)
    print(f"{describe_device(device)}; torch {versions()['torch']}, smp {smp.__version__}")
    print(f"unet-{args.encoder}, {args.batch} x {args.size} x {args.size}, {args.precision}, {args.rounds} rounds")
    for name, values in times.items():
        ratios = sorted(value / base for value, base in zip(values, times["none"], strict=True))
        middle = statistics.median(ratios)
        print(f"{name:22} {statistics.median(values):8.3f} s   {middle:.3f} of none ({ratios[0]:.3f}-{ratios[-1]:.3f})")


if __name__ == "__main__":
    main()
