"""A configuration for two folders: what was seen in them, what was chosen, and why."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from statistics import median
from typing import Any

import torch

from seg_scse.config.loading import override, path_name
from seg_scse.config.schema import Config, DataConfig
from seg_scse.data.checking.inspection import Seen, inspect, require_sound
from seg_scse.data.checking.layout import folder_config
from seg_scse.data.checking.proposals import Reasons, between, group_comment, propose_images, propose_mask
from seg_scse.errors import DataError

CPU_STEPS, GPU_STEPS = 600, 6000
"""Optimizer steps of a first run: about half an hour on two cores, or on a GPU."""

BATCH_PIXELS = {"cpu": 4 * 256 * 256, "cuda": 16 * 512 * 512}
"""Pixels per step that keep the device busy without exhausting its memory."""

_DECLARED = ("files", "polygons", "rle")
"""Encodings that folders or overrides declare: what one file holds does not tell them."""


def choose_config(
    images: Path, masks: Path, overrides: Sequence[str], strict: bool = True
) -> tuple[Config, dict[str, str]]:
    """Look at two folders and choose a configuration.

    Args:
        images: folder of images.
        masks: folder of masks with the same stems, or an annotation file.
        overrides: `section.key=value` texts, which win over every choice.
        strict: refuse data with a problem; False chooses what can be chosen, for a check that names the problems.

    Returns:
        the configuration and the reasons by dotted key.

    Raises:
        ConfigError: an override is wrong.
        DataError: the folders do not hold a data set that can be read; where not strict, a folder is missing.
    """
    base, reasons = folder_config(images, masks, overrides)
    seen = inspect(base)
    if strict:
        require_sound(seen, images, masks)
    device = "cuda" if torch.cuda.is_available() and "trainer.device=cpu" not in overrides else "cpu"
    given = [text.partition("=")[0] for text in overrides]
    data = _data(base, seen, reasons, given, strict)
    trainer: dict[str, Any] = {}
    with _tolerance(strict):
        trainer = _trainer(seen, device, reasons) if seen.heights else {}
    encoder = "resnet34" if device == "cuda" else "resnet18"
    reasons["model.encoder"] = f"{encoder} is what a {device.upper()} trains in a reasonable time"
    reasons["model.attention.type"] = "scSE after every decoder stage; type: none is the same network without it"
    reasons["loss.terms"] = _loss_reason(seen, len(data.get("classes", base.classes)), base.task)
    config = Config.model_validate(
        {
            "name": path_name(images.absolute().parent),
            "data": data,
            "model": {"encoder": encoder, "attention": {"type": "scse"}},
            "trainer": trainer,
            "optimizer": {"warmup_steps": 20},
        }
    )
    return override(config, overrides), {key: why for key, why in reasons.items() if key not in given}


def _tolerance(strict: bool) -> AbstractContextManager[None]:
    return nullcontext() if strict else suppress(DataError)


def _data(base: DataConfig, seen: Seen, reasons: dict[str, str], given: Sequence[str], strict: bool) -> dict[str, Any]:
    """The folders as they are laid out, with what the files call for wherever nothing else was given."""
    chosen: dict[str, Any] = {}
    for propose in (_images, _masks, _split):
        with _tolerance(strict):
            found, why = propose(base, seen, given)
            chosen |= found
            reasons |= why
    return base.model_dump(exclude_unset=True) | chosen


def _images(_: DataConfig, seen: Seen, given: Sequence[str]) -> tuple[dict[str, Any], Reasons]:
    chosen, reasons = propose_images(seen) if seen.heights else ({}, {})
    keys = {key.split(".")[1] for key in given if key.startswith("data.")}
    if keys & {"channels", "bands"}:
        keys |= {"channels", "bands"}
    kept = {key: value for key, value in chosen.items() if key not in keys}
    return kept, {f"data.{key}": reasons[f"data.{key}"] for key in kept}


def _masks(base: DataConfig, seen: Seen, given: Sequence[str]) -> tuple[dict[str, Any], Reasons]:
    encoding = base.mask.encoding
    opened = f"{seen.inspected} of {len(seen.samples)} pairs were opened; every file is checked before training"
    if encoding in _DECLARED:
        mask = base.mask.model_dump(exclude_unset=True)
        fits = encoding == "files" and "threshold" not in mask and seen.values
        return ({"mask": mask | {"threshold": between(sorted(seen.values))}} if fits else {}), {}
    fixed = "data.mask.encoding" in given
    try:
        chosen, reasons = propose_mask(seen)
    except DataError:
        if fixed:
            return {}, {}
        raise
    if fixed and chosen["mask"].get("encoding", "index") != encoding:
        return {}, {}
    return chosen, reasons | {"data.mask": f"{reasons['data.mask']} ({opened})"}


def _split(_: DataConfig, seen: Seen, __: Sequence[str]) -> tuple[dict[str, Any], Reasons]:
    volumes = any(sample.plane is not None for sample in seen.samples)
    split: dict[str, Any] = {}
    if all(sample.split is None for sample in seen.samples):
        units = {sample.group for sample in seen.samples}
        split["split"] = _shares(len(units), "volumes" if volumes else "pairs of image and mask")
    reason = (
        "at random by volume: the slices of one stay together"
        if volumes
        else f"at random by image. {group_comment(seen.samples)}"
    )
    return split, {"data.split": reason}


def _trainer(seen: Seen, device: str, reasons: dict[str, str]) -> dict[str, Any]:
    short = median(min(sides) for sides in zip(seen.heights, seen.widths, strict=True))
    area = median(height * width for height, width in zip(seen.heights, seen.widths, strict=True))
    largest = 512 if device == "cuda" else 256
    crop = max(32, min(largest, int(short) // 32 * 32))
    train = max(1, round(_shares(len(seen.samples))["train"] * len(seen.samples)))
    batch = max(2, min(32, BATCH_PIXELS[device] // crop**2))
    steps = CPU_STEPS if device == "cpu" else GPU_STEPS
    most = max(1, steps // 10 * batch // train)  # so that there are about ten epochs, each with a validation
    repeats = min(most, max(round(area / crop**2), -(-10 * batch // train)))
    per_epoch = max(1, train * repeats // batch)
    epochs = -(-steps // per_epoch)
    reasons["trainer.crop"] = (
        f"multiple of 32 within the median short side of {short:g} px, at most {largest} on {device}"
    )
    reasons["trainer.batch_size"] = f"{batch} crops of {crop} x {crop} px per step suit {device}"
    reasons["trainer.repeats"] = (
        f"crops per image and epoch: the median image has the area of {area / crop**2:.1f} crops; an epoch should have "
        f"at least 10 steps, and the run about 10 epochs"
    )
    reasons["trainer.max_steps"] = f"a first run of {steps} steps, at {per_epoch} steps per epoch; longer is better"
    return {"crop": crop, "batch_size": batch, "repeats": repeats, "max_epochs": epochs, "max_steps": steps}


def _shares(count: int, what: str = "pairs of image and mask") -> dict[str, float]:
    """Return the shares of a split that leaves no part empty, with at least one unit each from three units on."""
    if count < 3:
        raise DataError(f"{count} {what}: training, validation and test need at least one each.")
    held_out = max(0.15, 1.0 / count)
    return {"train": 1.0 - 2 * held_out, "val": held_out, "test": held_out}


def _loss_reason(seen: Seen, classes: int, task: str) -> str:
    if task == "multilabel":
        return "binary cross-entropy of each label for smooth gradients plus its Dice, which does not mind rare labels"
    total = seen.values.total()
    if seen.objects or seen.coloured or classes != len(seen.values):
        return "cross-entropy for smooth gradients plus Dice, which does not mind rare classes"
    shares = ", ".join(f"{count / total:.1%} of value {value}" for value, count in sorted(seen.values.items()))
    return f"cross-entropy for smooth gradients plus Dice, which does not mind rare classes ({shares})"
