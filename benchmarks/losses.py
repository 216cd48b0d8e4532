"""What a loss costs: `python benchmarks/losses.py [--classes 2,20] [--size 512] [--batch 2] [--rounds 5] [--compile]`.

Cross-entropy plus Dice, forward and backward, of ours, of segmentation-models-pytorch and, where it is installed, of
MONAI take turns in one process, in reversed order every other round, so that a busy machine slows all alike; ratios of
the same round are printed, never absolute times alone. On a CPU the clock is the processor time of one thread. `kept`
is what the forward pass keeps for the backward pass beside the logits and the target, in units of the logits in
float32. `--compile` adds ours compiled, after a first call that compiles.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import segmentation_models_pytorch as smp
import torch
from torch import Tensor

from seg_scse.config.schema import LossConfig
from seg_scse.losses import build_loss, compile_loss
from seg_scse.provenance import describe_device, versions

Loss = Callable[[Tensor, Tensor], Tensor]


def ours(classes: int, device: torch.device, compiled: bool = False) -> Loss:
    loss = build_loss(LossConfig(), classes).to(device)
    if compiled:
        compile_loss(loss)
    return lambda logits, target: loss(logits, target)[0]


def smps(classes: int) -> Loss:
    """Dice + CE of segmentation-models-pytorch; of two classes with one channel, BCE."""
    if classes == 2:
        binary, bce = smp.losses.DiceLoss("binary"), smp.losses.SoftBCEWithLogitsLoss()
        return lambda logits, target: binary(logits, target) + bce(logits, target.unsqueeze(1).float())
    dice, ce = smp.losses.DiceLoss("multiclass"), smp.losses.SoftCrossEntropyLoss(smooth_factor=0.0)
    return lambda logits, target: dice(logits, target.long()) + ce(logits, target.long())


def monais(classes: int) -> Loss | None:
    """DiceCELoss of MONAI, or None where it is not installed."""
    try:
        from monai.losses import DiceCELoss
    except ImportError:
        return None
    options = {"sigmoid": True} if classes == 2 else {"softmax": True, "to_onehot_y": True}
    loss = DiceCELoss(batch=True, **options)
    return lambda logits, target: loss(logits, target.unsqueeze(1).float())


def draw(classes: int, size: int, batch: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Logits in the memory format of training, and a target of all classes without ignored pixels."""
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(batch, 1 if classes == 2 else classes, size, size, generator=random)
    target = torch.randint(0, classes, (batch, size, size), generator=random, dtype=torch.uint8)
    logits = logits.to(device, dtype).to(memory_format=torch.channels_last)
    return logits.requires_grad_(), target.to(device)


def kept(loss: Loss, logits: Tensor, target: Tensor) -> float:
    """Return what is kept for the backward pass, in units of the logits in float32."""
    given = {tensor.untyped_storage().data_ptr() for tensor in (logits, target)}
    storages: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in given:
            storages[storage.data_ptr()] = storage  # held, so that no other one gets its address
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        total = loss(logits, target)
    assert total.requires_grad
    return sum(storage.nbytes() for storage in storages.values()) / (4 * logits.numel())


def seconds(loss: Loss, logits: Tensor, target: Tensor) -> float:
    """Time one forward and backward pass."""
    clock = time.process_time
    if logits.is_cuda:
        torch.cuda.synchronize()
        clock = time.perf_counter
    started = clock()
    torch.autograd.grad(loss(logits, target), logits)
    if logits.is_cuda:
        torch.cuda.synchronize()
    return clock() - started


def take_turns(forms: dict[str, Loss], logits: Tensor, target: Tensor, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each form in each round, after one that warms up."""
    times: dict[str, list[float]] = {name: [] for name in forms}
    for number in range(rounds + 1):
        for name in list(forms) if number % 2 else list(forms)[::-1]:
            spent = seconds(forms[name], logits, target)
            if number:
                times[name].append(spent)
    return times


def ratio(times: dict[str, list[float]], name: str, other: str) -> str:
    """One form over another: the median of the rounds, and their range."""
    ratios = sorted(a / b for a, b in zip(times[name], times[other], strict=True))
    return f"{statistics.median(ratios):.3f} of {other} ({ratios[0]:.3f}-{ratios[-1]:.3f})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", default="2,20", help="numbers of classes, separated by commas")
    parser.add_argument("--size", type=int, default=512, help="side of the images")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of the logits")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="also ours compiled")
    args = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(args.device)
    print(f"{describe_device(device)}; {', '.join(f'{k} {v}' for k, v in versions().items())}")
    for classes in map(int, args.classes.split(",")):
        logits, target = draw(classes, args.size, args.batch, getattr(torch, args.dtype), device)
        forms = {"ours": ours(classes, device), "smp": smps(classes), "MONAI": monais(classes)}
        if args.compile:
            forms["compiled"] = ours(classes, device, compiled=True)
        known = {name: loss for name, loss in forms.items() if loss is not None}
        times = take_turns(known, logits, target, args.rounds)
        for name, loss in known.items():
            others = [other for other in ("smp", "MONAI") if other in known and other != name]
            print(
                f"K={classes:<3} {name:9} {1000 * statistics.median(times[name]):9.2f} ms   "
                f"kept {kept(loss, logits, target):5.2f}   {'   '.join(ratio(times, name, other) for other in others)}",
                flush=True,
            )


if __name__ == "__main__":
    main()
