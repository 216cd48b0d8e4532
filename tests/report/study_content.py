"""The content of `study.json` of studies that were drawn instead of run."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LEVEL = 0.912
CONTROLS = {
    "wider": ("no gates, a wider decoder", True),
    "constant": ("one learned number per channel", True),
    "identity": ("gates that start as the identity", True),
    "frozen": ("gates replaced by their mean", False),
}
COST = {"parameters": 1_000_000, "gate_parameters": 0, "step_ms": 40.0, "step_ratio": 1.0,
        "memory_bytes": 64 << 20, "memory_ratio": 1.0}  # fmt: skip
PROTOCOL = {"resolution": "original", "empty": "exclude", "threshold": 0.5, "ignore_index": 255,
            "surface": {"tolerance": 2.0, "unit": "px"}}  # fmt: skip


def study_row(
    difference: float | None, half: float | None = None, p_holm: float | None = None, seeds: int = 5, **changes: Any
) -> dict[str, Any]:
    """A row whose interval is `difference` +- `half`; None: no interval, for the reason that the statistics give.

    Differences of the seeds lie evenly around the mean; 60 of 133 images are better, 13 equal.
    """
    mean = difference or 0.0
    steps = [0.001 * (seed - (seeds - 1) / 2) for seed in range(seeds)]
    without = difference is None or half is None
    found: dict[str, Any] = {
        "seeds": seeds,
        "images": 133,
        "units": 133,
        "baseline": LEVEL,
        "mean": None if difference is None else LEVEL + mean,
        "difference": difference,
        "low": None if without or half is None else mean - half,
        "high": None if without or half is None else mean + half,
        "bootstrap_low": None,
        "bootstrap_high": None,
        "p": p_holm,
        "p_holm": p_holm,
        "tested": p_holm is not None,
        "reason": f"an interval over seeds needs at least two seeds, not {seeds}" if without else "",
        "effect": None if without else 0.25,
        "improved": 60,
        "ties": 13,
        "worse": 60,
        "by_seed": [{"seed": seed, "difference": mean + step} for seed, step in enumerate(steps)],
        "components": None if without else {"seed": 0.004, "image": 0.03, "interaction": 0.02},
        "detectable": None if without else 0.011,
        "needed": None if without else {"difference": 0.005, "seeds": 12, "images": 800},
    }
    return {**found, **changes}


def study_content(
    rows: Mapping[str, Mapping[str, Any]],
    controls: Mapping[str, Mapping[str, Any]] | None = None,
    against: Mapping[str, Mapping[str, Any]] | None = None,
    seeds: int = 5,
    **changes: Any,
) -> dict[str, Any]:
    """The content of `study.json`.

    Args:
        rows: of each variant against `none`, in the primary metric; `dice` unless `metric` says otherwise.
        controls: the same of the controls; they belong to the first variant.
        against: rows of that variant against each control.
        seeds: number of seeds, from 0.
        changes: of the content.
    """
    metric, treatment = changes.get("metric", "dice"), next(iter(rows))
    controls, against = controls or {}, against or {}
    declared = [_variant("none", "baseline", "no gates")]
    declared += [_variant(name, "variant", f"{name} gates") for name in rows]
    for name in controls:
        says, trained = CONTROLS.get(name, ("another control", True))
        declared.append({**_variant(name, "control", says), "of": treatment, "trained": trained})
    trained_names = [one["name"] for one in declared if one["trained"]]
    compared = [_compared(one, {**rows, **controls}[one["name"]], metric, treatment, seeds) for one in declared[1:]]
    found: dict[str, Any] = {
        "format": 1,
        "name": "nuclei_gates",
        "created": "2026-01-02T03:04:05+00:00",
        "declaration": {
            "format": 1, "name": "nuclei_gates", "metric": metric, "split": "test", "baseline": "none",
            "treatment": treatment if controls else None, "seeds": list(range(seeds)), "folds": None,
            "variants": declared, "history": ["2026-01-01: declared"],
        },
        "device": "cpu",
        "versions": {"torch": "2.9.0", "seg-scse": "0.1.0"},
        "data": {"name": "nuclei", "digest": "ab" * 32, "images": 133, "units": 133, "groups": False,
                 "classes": ["background", "nucleus"]},
        "protocol": PROTOCOL,
        "config": {"name": "nuclei_unet", "optimizer": {"lr": 0.001}},
        "bootstrap": {"level": 0.95, "resamples": 10000, "seed": 0},
        "metric": metric,
        "tests": len(rows) + len(against),
        "declared": len(rows) + len(against),
        "runs": [run(name, seed) for seed in range(seeds) for name in ["none", *rows, *controls]],
        "baseline": {**_named(declared[0]), "cost": COST, "metrics": _levels(seeds)},
        "rows": compared,
        "against": [{"treatment": treatment, "control": name, "row": dict(row)} for name, row in against.items()],
        "selection": {"by": "val", "metric": "dice_per_image",
                      "scores": {name: 0.9 + 0.001 * k for k, name in enumerate(trained_names)},
                      "winner": trained_names[-1]},
        "failures": [],
        "notes": [],
    }  # fmt: skip
    return {**found, **changes}


def _variant(name: str, kind: str, says: str) -> dict[str, Any]:
    kind_of = "none" if kind == "baseline" else name
    overrides = [f"model.attention.type={kind_of}"]
    return {"name": name, "kind": kind, "of": None, "trained": True, "overrides": overrides, "says": says}


def _named(one: Mapping[str, Any]) -> dict[str, Any]:
    return {key: one[key] for key in ("name", "kind", "of", "says")}


def _compared(
    one: Mapping[str, Any], row: Mapping[str, Any], metric: str, treatment: str, seeds: int
) -> dict[str, Any]:
    half = None if row["low"] is None else 0.004
    shares, pixels = study_row(0.002, half, seeds=seeds), study_row(-0.5, half and 1.25, seeds=seeds)
    metrics = {"dice": shares, "iou": shares, "hd95": {**pixels, "baseline": 9.0, "mean": 8.5}, metric: dict(row)}
    cost = {**COST, "parameters": 1_012_300, "step_ratio": 1.18, "memory_ratio": 1.07} if one["trained"] else None
    return {**_named(one), "of": treatment if one["kind"] == "control" else None, "cost": cost, "metrics": metrics}


def _levels(seeds: int) -> dict[str, Any]:
    levels = {"dice": LEVEL, "iou": 0.85, "hd95": 9.0}
    return {
        name: {
            "mean": mean,
            "sd": 0.002 if seeds > 1 else None,
            "by_seed": [{"seed": seed, "score": mean + 0.001 * seed} for seed in range(seeds)],
        }
        for name, mean in levels.items()
    }


def run(variant: str, seed: int, status: str = "done", **changes: Any) -> dict[str, Any]:
    """A cell of the grid."""
    found: dict[str, Any] = {"variant": variant, "seed": seed, "fold": None, "status": status, "error": ""}
    done = {"best_epoch": 12, "epochs": 20, "steps": 800, "val_score": 0.9, "seconds": 123.4,
            "scores": {"dice": LEVEL + 0.001 * seed, "iou": 0.85, "hd95": 9.0}}  # fmt: skip
    missing = {**dict.fromkeys(done), "scores": {"dice": None, "iou": None, "hd95": None}}
    return {**found, **(done if status == "done" else missing), **changes}


def write_content(folder: Path, content: Mapping[str, Any]) -> Path:
    """Write `study.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.json").write_text(json.dumps(content))
    return folder


def usual(names: Sequence[str] = ("scse-add", "cse", "sse", "scse-max")) -> dict[str, Any]:
    """A study of four variants and all controls: `scse-max` is better, the others are not distinguishable."""
    rows = {name: study_row(0.004, 0.006, 0.31) for name in names}
    rows[names[-1]] = study_row(0.012, 0.005, 0.004)
    controls = {name: study_row(0.003, 0.006) for name in CONTROLS}
    against = {name: study_row(0.001, 0.005, 1.0) for name in CONTROLS}
    against["frozen"] = study_row(0.009, 0.004, 0.003)
    return study_content(rows, controls, against)
