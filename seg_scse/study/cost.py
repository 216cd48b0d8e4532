"""What each variant of a study costs in training: parameters, time of a step, memory.

Steps on random batches are timed next to each other in one process, so that the ratios hold on a machine that others
use too. No data is read and no weights are downloaded. `cost.json` keeps the numbers; they are measured once.
"""

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from seg_scse.config.loading import MAY_DIFFER
from seg_scse.config.schema import Config
from seg_scse.errors import SegScseError
from seg_scse.files import write_text
from seg_scse.provenance import describe_device, versions
from seg_scse.study.arms import Arm
from seg_scse.study.declaration import Declaration
from seg_scse.study.timing import AIM, Timing, time_steps
from seg_scse.study.variants import Variant

FILE = "cost.json"
FORMAT = 1
SECONDS = 60.0
"""About how long the measurement of all variants may take."""

_SECTIONS = ("model", "loss", "optimizer", "augmentation", "averaging", "finetune", "trainer")
_FAILURES = (SegScseError, RuntimeError, MemoryError, ValueError)  # of a network that cannot be built or trained here


@dataclass(frozen=True)
class _Measured:
    """Arms that could be tried, bytes that each takes, and why the others could not."""

    arms: dict[str, Arm]
    memory: dict[str, int]
    reasons: dict[str, str]


def cost(folder: Path, declaration: Declaration, config: Config, device: torch.device) -> dict[str, Any]:
    """Return the content of `cost.json`, which is measured and written where it does not fit the declaration.

    Args:
        folder: of the study.
        declaration: its variants.
        config: what they are variants of, with the settings of its card, as in `config.yaml` of a study.
        device: where the runs are trained.

    Raises:
        WriteError: the file cannot be written.
    """
    path = folder / FILE
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        if known["format"] == FORMAT and known["fits"] == _digest(declaration, config):
            return dict(known)
    except (OSError, ValueError, KeyError, TypeError):  # absent, or of no use: it can be had again
        pass
    measured = measure_cost(declaration, config, device)
    write_text(path, json.dumps(measured, indent=2, ensure_ascii=False) + "\n")
    return measured


def measure_cost(
    declaration: Declaration, config: Config, device: torch.device, seconds: float = SECONDS
) -> dict[str, Any]:
    """Measure what a training step of each variant costs.

    On a CPU the clock is the processor time of one thread, whatever the runs have: it does not depend on what else the
    machine does. Where it is too slow for the whole batch, all variants are given the same share of it: `batch` of each
    says how many samples its numbers are of. Random numbers and threads of this process are left as they were.

    Args:
        declaration: the variants.
        config: what they are variants of, with the settings of its card.
        device: where the runs are trained.
        seconds: about how long it may take; a few rounds are timed in any case.

    Returns:
        plain values: `fits`, by which `cost` knows what was measured; `device`, `versions`, `threads`, `rounds`;
        `memory_of`, what `memory_bytes` counts; `reasons`, by name why a variant could not be measured; and `variants`,
        by name None (not trained, or not measured) or

        `parameters`, `gate_parameters` of the network that predicts; `flops` of the prediction of one crop; `batch`,
        the samples of a forward pass that these are of: `step_ms`, the median; `step_ratio`, the median over the rounds
        of the ratio to the baseline; `step_ratio_range`, its quartiles; `memory_bytes` and `memory_ratio`. Ratios are
        None where the baseline was not measured.
    """
    trained = [one for one in declaration.variants if one.trained]
    threads = torch.get_num_threads()
    try:
        if device.type == "cpu":
            torch.set_num_threads(1)
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            share = _share(trained[0].config(config), device, len(trained), seconds)
            tried = _try(trained, config, device, share)
            first = declaration.baseline if declaration.baseline in tried.arms else next(iter(tried.arms), "")
            timings, rounds = _timed(tried, first, device, seconds)
        return {
            "format": FORMAT,
            "fits": _digest(declaration, config),
            "device": describe_device(device),
            "versions": versions(),
            "threads": torch.get_num_threads(),
            "rounds": rounds,
            "memory_of": "peak on the GPU" if device.type == "cuda" else "kept for the backward pass",
            "baseline": declaration.baseline,
            "reasons": tried.reasons,
            "variants": {
                one.name: _cost(tried, one.name, declaration.baseline, timings) for one in declaration.variants
            },
        }
    finally:
        torch.set_num_threads(threads)


def _timed(tried: _Measured, first: str, device: torch.device, seconds: float) -> tuple[dict[str, Timing], int]:
    if not tried.arms:
        return {}, 0
    return time_steps({name: arm.step for name, arm in tried.arms.items()}, first, device, seconds)


def _try(trained: list[Variant], config: Config, device: torch.device, share: float) -> _Measured:
    """Build every network and let it do its first steps; one that fails does not stop the others."""
    tried = _Measured({}, {}, {})
    for variant in trained:
        before = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
        try:
            arm = Arm(variant.config(config), device, share)
            tried.memory[variant.name] = arm.memory(before)
            tried.arms[variant.name] = arm
        except _FAILURES as error:
            tried.reasons[variant.name] = (str(error).strip() or type(error).__name__).splitlines()[0]
    return tried


def _cost(tried: _Measured, name: str, baseline: str, timings: dict[str, Timing]) -> dict[str, Any] | None:
    if name not in timings:
        return None
    arm, timing, memory, comparable = tried.arms[name], timings[name], tried.memory[name], baseline in timings
    return {
        **arm.size,
        "batch": arm.samples,
        "step_ms": 1000 * timing.seconds,
        "step_ratio": timing.ratio if comparable else None,
        "step_ratio_range": [timing.low, timing.high] if comparable else None,
        "memory_bytes": memory,
        "memory_ratio": memory / tried.memory[baseline] if comparable else None,
    }


def _share(config: Config, device: torch.device, variants: int, seconds: float) -> float:
    """Return the share of the batch with which the time is enough: all on a GPU, which a small batch leaves idle."""
    if device.type == "cuda":
        return 1.0
    try:
        arm = Arm(config, device, 0.0)
        arm.step()
        begun = time.monotonic()
        arm.step()
        needed = (time.monotonic() - begun) / arm.samples * arm.full * variants * (AIM + 2)
    except _FAILURES:  # `_try` says why
        return 0.0
    return min(1.0, seconds / needed)


def _digest(declaration: Declaration, config: Config) -> str:
    """Return what tells measurements of other networks, losses or batches from these."""
    free = {key for key in MAY_DIFFER if key.startswith("trainer.")}
    settings = {
        f"{section}.{key}": value
        for section in _SECTIONS
        for key, value in getattr(config, section).model_dump(mode="json").items()
        if f"{section}.{key}" not in free
    }
    shape = [len(config.data.band_names), len(config.data.classes), config.data.task]
    variants = [[one.name, list(one.overrides), one.trained] for one in declaration.variants]
    text = json.dumps([declaration.baseline, variants, shape, settings], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
