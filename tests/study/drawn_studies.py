"""Studies whose runs were drawn instead of trained: what training and evaluation leave behind, and nothing else."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seg_scse.config.loading import load_config
from seg_scse.config.printing import to_yaml
from seg_scse.study.cells import Cell, cells
from seg_scse.study.declaration import Declaration
from seg_scse.study.frozen import frozen_part
from seg_scse.study.variants import Variant

from ..evaluation.compared_runs import Masks, strips, write_run

NONE = Variant("none", "baseline", ("model.attention.type=none",), "no gates")
SCSE = Variant("scse-add", "variant", ("model.attention.type=scse", "model.attention.merge=add"), "scse gates")
CSE = Variant("cse", "variant", ("model.attention.type=cse",), "cse gates")
WIDER = Variant("wider", "control", ("model.decoder_channels=[64]",), "no gates, a wider decoder", of="scse-add")
FROZEN = Variant("frozen", "control", SCSE.overrides, "gates replaced", of="scse-add", trained=False)


def declared(*variants: Variant, seeds: int = 2, **changes: Any) -> Declaration:
    """Declare a study; of several variants the second is the treatment of the controls."""
    treatment = SCSE.name if any(one.kind == "control" for one in variants) else None
    facts = {"name": "drawn", "metric": "dice", "split": "test", "baseline": "none", "treatment": treatment}
    return Declaration(**{**facts, "seeds": tuple(range(seeds)), "folds": None, "variants": variants, **changes})


def begin_study(folder: Path, declaration: Declaration) -> Path:
    """Write the declaration and the configuration of a study without runs."""
    declaration.write(folder)
    overrides = ["evaluation.resamples=1000", "name=drawn"]
    (folder / "config.yaml").write_text(to_yaml(load_config(None, overrides)))
    return folder


def cell_of(folder: Path, declaration: Declaration, variant: str, seed: int, fold: int | None = None) -> Cell:
    """Return a cell by its place."""
    every = cells(folder, declaration)
    return next(one for one in every if (one.variant, one.seed, one.fold) == (variant, seed, fold))


def write_cell(
    cell: Cell,
    found: Sequence[int] | Masks,
    validated: Sequence[float] = (0.5, 0.7, 0.6),
    split: str = "test",
    **facts: Any,
) -> Path:
    """Write a finished run: its state, log, weights' digest and evaluation.

    Args:
        cell: where.
        found: masks, or pixels of each image's prediction whose truth has 10: Dice 2 min(p, 10) / (p + 10).
        validated: the monitored score of each epoch.
        split: that is scored.
        facts: as for `write_run`.
    """
    weights = cell.folder / "checkpoints" / "best.ckpt"
    weights.parent.mkdir(parents=True)
    weights.touch()
    weights.with_name("best.ckpt.sha256").write_text(f"{digest_of(cell)}\n")
    rows = [f"{epoch},{10 * epoch + 10},{score!r}" for epoch, score in enumerate(validated)]
    (cell.folder / "epochs.csv").write_text("\n".join(["epoch,step,dice_per_image", *rows]) + "\n")
    cell.note(status="done", error="", exit_code=0, seconds=12.5)
    write_scores_of(cell, found, split, **facts)
    return cell.folder


def digest_of(cell: Cell) -> str:
    """The digest of the best weights of a drawn run."""
    return f"{cell.label.replace(' ', ''):0>64}"


def write_scores_of(cell: Cell, found: Sequence[int] | Masks, split: str, **facts: Any) -> None:
    """Write an evaluation of a drawn run."""
    masks = found if isinstance(found, Mapping) else strips(found)
    weights = {"file": "checkpoints/best.ckpt", "epoch": 2, "step": 20, "sha256": digest_of(cell)}
    config = {"name": cell.label, "seed": cell.seed, "data": {"split": {"fold": cell.fold}}}
    known = {"checkpoint": weights, "config": config, **facts}
    write_run(cell.folder, masks, split=split, **known)
    if split.endswith("-frozen"):
        change_results(cell, split, split=split.removesuffix("-frozen"), protocol={"gates": "mean"})


def draw_study(
    folder: Path, declaration: Declaration, found: Mapping[str, Sequence[Sequence[int] | None]], **facts: Any
) -> Path:
    """Write a study.

    Args:
        folder: of the study.
        declaration: of the study.
        found: by variant, for each seed, the pixels of each image's prediction; None for a run that is missing.
        facts: as for `write_run`.
    """
    begin_study(folder, declaration)
    for name, by_seed in found.items():
        variant = declaration.variant(name)
        for seed, lengths in zip(declaration.seeds, by_seed, strict=True):
            if lengths is None:
                continue
            cell = cell_of(folder, declaration, name if variant.trained else str(variant.of), seed)
            if variant.trained:
                write_cell(cell, lengths, **facts)
            else:
                write_scores_of(cell, lengths, frozen_part("test"), **facts)
    return folder


def change_results(cell: Cell, part: str = "test", /, **changes: Any) -> None:
    """Change `results.json` of a drawn run; a mapping changes those keys of the mapping that is there."""
    path = cell.evaluation(part) / "results.json"
    results = json.loads(path.read_text())
    for key, value in changes.items():
        results[key] = {**results[key], **value} if isinstance(value, Mapping) else value
    path.write_text(json.dumps(results))
