import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from .browser import Browser, find_browser
from .drawn_evaluation import build_run

EPOCH_HEADER = "epoch,step,lr,train_loss,val_loss,dice_per_image,dice_pooled,iou_per_image,iou_pooled,seconds"
Run = Callable[..., Path]


def write_epochs(run_dir: Path, rows: list[str]) -> None:
    (run_dir / "epochs.csv").write_text("\n".join([EPOCH_HEADER, *rows]) + "\n")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests of a module."""
    started = Browser(find_browser())
    yield started
    started.close()


@pytest.fixture
def make_run(tmp_path: Path) -> Run:
    return lambda **arguments: build_run(tmp_path, **arguments)


@pytest.fixture
def make_epochs() -> Callable[[Path, list[str]], None]:
    return write_epochs


@pytest.fixture
def drawn_figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved while a test runs."""
    figures: list[Figure] = []
    original = Figure.savefig

    def capture(self: Figure, *args: Any, **kwargs: Any) -> None:
        figures.append(self)
        original(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", capture)
    return figures


def build_explanation(
    folder: Path,
    classes: tuple[str, ...] = ("background", "nucleus"),
    ids: tuple[str, ...] = ("image_0",),
    gates: tuple[tuple[str, ...], ...] = (("channel", "spatial"), ("channel", "spatial")),
    flags: tuple[str, ...] = (),
    study: bool = True,
    truth: bool = True,
    window: dict[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """Write an explanation of drawn maps: stage k has 8k channels and the gates named for it; a tile has 32 pixels."""
    random = np.random.default_rng(0)
    sites = [f"decoder.{number}" for number in range(1, len(gates) + 1)]
    (folder / "pages").mkdir(parents=True)
    window = window or {"y": 0, "x": 0, "height": 32, "width": 32, "chosen": "whole"}
    for number in range(len(ids)):
        arrays = _page_arrays(random, sites, gates, (window["height"], window["width"]), truth)
        if window["chosen"] != "whole":
            arrays["overview"] = arrays["image"]
        np.savez(folder / "pages" / f"{number}.npz", **arrays)
    groups = [{"name": name, "images": 4} for name in ("little foreground", "much foreground")]
    profiles: dict[str, np.ndarray] = {}
    stages, found = [], {}
    for number, (site, names) in enumerate(zip(sites, gates, strict=True), start=1):
        channels = 8 * number
        if "channel" in names and study:
            values = random.random((8, channels)).astype(np.float32)
            halves = values.reshape(2, 4, channels)
            profiles |= {f"{site}.gates": values, f"{site}.mean": halves.mean(1), f"{site}.std": halves.std(1)}
        stages.append({"site": site, "type": "scse", "channels": channels, "hidden": channels // 2, "gain": 1.0})
        spread = {"mean": 0.512, "std": 0.123, "low": 0.004, "high": 0.0025, "flags": list(flags)}
        scores = {"mean": 0.875, "images": 7, "undefined": 1}
        found[site] = {
            "gates": {name: spread for name in names},
            "between_images": 0.037 if "channel" in names else None,
            "eta_squared": 0.222 if "channel" in names else None,
            "auroc": dict.fromkeys(["foreground", *classes[1:]], scores) if "spatial" in names else {},
        }
    np.savez(folder / "profiles.npz", **profiles)
    content = {
        "format": 1,
        "name": "drawn",
        "split": "test",
        "created": "2026-01-02T03:04:05+00:00",
        "classes": classes,
        "checkpoint": {
            "file": "checkpoints/best.ckpt",
            "epoch": 12,
            "step": 800,
            "sha256": hashlib.sha256(b"w").hexdigest(),
        },
        "tile": 32,
        "same_data": True,
        "versions": {"torch": "2.9.0"},
        "device": "cpu",
        "stages": stages,
        "study": {"images": 8, "rule": "a rule", "groups": groups, "eta_squared_by_chance": 0.143, "stages": found}
        if study
        else None,
        "pages": [
            {
                "id": name,
                "kind": None,
                "arrays": f"pages/{number}.npz",
                "size": [40, 64] if window["chosen"] != "whole" else [window["height"], window["width"]],
                "window": window,
                "label": 1,
                "predicted": True,
                "cells": {site: [8, 8] for site in sites},
            }
            for number, name in enumerate(ids)
        ],
        **changes,
    }
    (folder / "explain.json").write_text(json.dumps(content))
    return folder


def _page_arrays(
    random: np.random.Generator,
    sites: list[str],
    gates: tuple[tuple[str, ...], ...],
    size: tuple[int, int],
    truth: bool,
) -> dict[str, np.ndarray]:
    """Maps of 8 x 8 cells for 32 pixels; features after the gate are three times as strong as before."""
    cells = (-(-size[0] // 4), -(-size[1] // 4))
    labels = np.zeros(size, np.uint8)
    labels[4:12, 6:20] = 1
    arrays = {"image": random.integers(0, 256, (*size, 3), dtype=np.uint8), "prediction": np.roll(labels, 2, axis=0)}
    if truth:
        arrays["truth"] = labels
    for number, (site, names) in enumerate(zip(sites, gates, strict=True), start=1):
        before = random.random(cells).astype(np.float32)
        arrays |= {f"before.{site}": before, f"after.{site}": 3 * before, f"activation.{site}": before / before.max()}
        if "channel" in names:
            arrays[f"channel.{site}"] = random.random(8 * number).astype(np.float32)
        if "spatial" in names:
            arrays[f"spatial.{site}"] = random.random(cells).astype(np.float32)
    return arrays


@pytest.fixture
def make_explanation(tmp_path: Path) -> Run:
    """Build an explanation at the place that belongs to the evaluation of `make_run`."""
    return lambda **arguments: build_explanation(tmp_path / "run" / "explain" / "test", **arguments)
