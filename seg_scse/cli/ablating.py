"""`seg-scse ablate`: its options, and what it does. Nothing heavy is imported before it is needed."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg_scse.cli.options import Result, add_command, positive, shard
from seg_scse.config.loading import MAY_DIFFER, load_config, refuse_overrides
from seg_scse.config.wording import counted
from seg_scse.errors import ConfigError
from seg_scse.study.budget import Budget, seconds_of

if TYPE_CHECKING:
    from seg_scse.cli.options import Commands
    from seg_scse.study.cells import Cell
    from seg_scse.study.grid import Study
    from seg_scse.study.work import Share

VARIANTS = "none,cse,sse,scse-add,scse-max"
_NEW = ("variants", "sites", "add", "controls", "folds", "metric", "split", "out")
_EXAMPLES = """Trains every variant with every seed, with the same data order and augmentation per seed, and says what
can be said about the difference: docs/ablation.md. Killed or out of time, the same command goes on.

examples:
  seg-scse ablate --config configs/quickstart.yaml --variants none,scse-add --seeds 3 --controls
  seg-scse ablate --config configs/nuclei_unet.yaml --seeds 5 --controls --budget 6h --out studies/nuclei
  seg-scse ablate --config my.yaml --variants none,scse-add --sites decoder,encoder+decoder --dry-run
  seg-scse ablate --config my.yaml --variants none --add "slow: optimizer.lr=1e-4" --folds 5 --out studies/folds
  seg-scse ablate --resume studies/nuclei --seeds 8                    more seeds; finished runs are kept
  seg-scse ablate --resume studies/nuclei --jobs 3                     three runs side by side, on one GPU or several
  torchrun --nproc-per-node 4 --no-python seg-scse ablate --config my.yaml --out studies/my    a GPU for each
  seg-scse ablate --resume studies/nuclei --publish benchmarks/studies/nuclei    tables and settings, no pictures
  seg-scse ablate --from-scores benchmarks/studies/nuclei              the table again, from published scores
"""


def register_ablate(actions: "Commands") -> None:
    """Add `ablate`."""
    text = "Find out whether attention helps on your data: variants x seeds, with controls and intervals."
    command = add_command(actions, "ablate", ablate, text, _EXAMPLES)
    command.add_argument("--config", type=Path, metavar="FILE", help="YAML configuration of all runs")
    text = f"what is compared, the baseline first; default: {VARIANTS}"
    command.add_argument("--variants", metavar="A,B,...", help=text)
    text = "places of the gates to try with each variant, such as decoder,encoder+decoder; default: as configured"
    command.add_argument("--sites", metavar="S,T+U,...", help=text)
    text = "a variant by its overrides; may be given several times"
    command.add_argument("--add", action="append", metavar='"NAME: KEY=VALUE ..."', help=text)
    command.add_argument("--seeds", type=positive, metavar="N", help="runs of each variant; default: 5")
    text = "also a wider network without gates, constant gates, gates that start as the identity, and frozen gates"
    command.add_argument("--controls", action="store_true", help=text)
    text = "cross-validation: all K folds with each seed, every image scored once per seed"
    command.add_argument("--folds", type=positive, metavar="K", help=text)
    text = "the score that is tested, declared before the first run: dice, iou, hd95, ...; default: dice"
    command.add_argument("--metric", metavar="NAME", help=text)
    command.add_argument("--split", choices=("val", "test"), help="on which the runs are scored; default: test")
    text = "which split may choose a variant: val; test is refused, because a score that chose proves nothing"
    command.add_argument("--select-by", choices=("val", "test"), default="val", help=text)
    text = "time for the runs of this call, such as 90m or 6h; then the same command goes on"
    command.add_argument("--budget", type=seconds_of, metavar="TIME", help=text)
    command.add_argument("--jobs", type=positive, default=1, metavar="N", help="runs side by side; default: 1")
    text = "make every N-th run only, from the I-th: for machines that share no folder"
    command.add_argument("--shard", type=shard, metavar="I/N", default=(1, 1), help=text)
    command.add_argument("--out", type=Path, metavar="DIR", help="folder of the study; default: studies/<name>")
    command.add_argument("--resume", type=Path, metavar="DIR", help="go on with the study of a folder")
    command.add_argument("--dry-run", action="store_true", help="say what would be trained, and stop")
    command.add_argument("--publish", type=Path, metavar="DIR", help="afterwards, write what may be made public there")
    text = "compute the table again from the scores of a published study"
    command.add_argument("--from-scores", type=Path, metavar="DIR", help=text)


def ablate(options: argparse.Namespace) -> Result:
    """Make the runs of a study, and say what they say."""
    _check(options)
    if options.from_scores:
        return _recompute(options.from_scores)
    rank = int(os.environ.get("RANK", "0"))
    if options.config and rank == 0:
        _say("each network of the study is built once, to refuse now what cannot be trained ...")
    study, lines = _study(options)
    if options.dry_run:
        return _planned(study, lines)
    for line in [*lines, *_introduction(study)] if rank == 0 else []:
        _say(line)
    _work(study, _share(options, rank), options.budget)
    if rank > 0:
        return None
    with study.ending(lambda: "the runs are kept, and the report is not written yet"):
        return _answer(study, options.publish)


def _work(study: "Study", share: "Share", limit: float | None) -> None:
    from seg_scse.study.work import Workers

    known = [cell.state()["seconds"] for cell in study.cells() if cell.state()["status"] == "done"]
    Workers(study, share, Budget(limit, known), _say).run()


def _check(options: argparse.Namespace) -> None:
    ways = [name for name in ("config", "resume", "from_scores") if getattr(options, name)]
    if len(ways) != 1:
        raise ConfigError("give one of --config FILE (a study), --resume DIR (go on with it) and --from-scores DIR.")
    if options.select_by == "test":
        raise ConfigError(
            "--select-by test: the split that shows how good the chosen variant is must not have chosen it; of several "
            "equal variants, the best of chance would win and look better than it is. Leave it out: val chooses."
        )
    given = [f"--{name}" for name in _NEW if getattr(options, name)]
    if given and not options.config:
        raise ConfigError(f"{', '.join(given)}: belongs to a new study, with --config. A study keeps what it declared.")
    if options.from_scores and (options.seeds or options.budget or options.publish or options.dry_run):
        raise ConfigError("--from-scores computes a table from files alone: give no other options.")
    if options.resume:
        refuse_overrides(options.overrides, MAY_DIFFER, "The runs of a study are trained alike.")
    for key in ("seed", "name", "data.split.folds", "data.split.fold"):
        if any(text.startswith(f"{key}=") for text in options.overrides):
            raise ConfigError(f"`{key}`: the study sets it for each run: --seeds, --folds, --out.")


def _study(options: argparse.Namespace) -> "tuple[Study, list[str]]":
    config = load_config(options.config, options.overrides) if options.config else None

    from seg_scse.study import grid

    if config is None:
        return grid.go_on(options.resume, options.seeds, options.overrides, write=not options.dry_run)
    sites = [place.strip().split("+") for place in options.sites.split(",")] if options.sites else []
    wish = grid.Wish(
        names=[name.strip() for name in (options.variants or VARIANTS).split(",")],
        sites=sites,
        additions=options.add or (),
        seeds=options.seeds or 5,
        controls=options.controls,
        folds=options.folds,
        metric=options.metric or "dice",
        split=options.split or "test",
    )
    folder = options.out or Path("studies") / config.name
    return grid.begin(config, wish, folder, write=not options.dry_run)


def _share(options: argparse.Namespace, rank: int) -> "Share":
    from seg_scse.study.work import Share, devices

    local = int(os.environ.get("LOCAL_RANK", "0")) if "RANK" in os.environ else None
    waits = rank == 0 and options.shard == (1, 1)
    return Share(options.jobs, options.shard, waits, devices(local))


def _say(line: str) -> None:
    print(line, flush=True)


def _introduction(study: "Study") -> list[str]:
    cells, declaration = study.cells(), study.declaration
    done = sum(cell.state()["status"] == "done" for cell in cells)
    tested = f"{declaration.metric}_per_image on the {declaration.split} split"
    from seg_scse.study.room import room

    return [
        f"study {study.folder}: {counted(len(declaration.variants), 'variant')}, "
        f"{counted(len(declaration.seeds), 'seed')}, {counted(len(cells), 'run')} of which {done} are done; "
        f"tested: {tested}, {counted(len(declaration.comparisons()), 'comparison')}",
        *room(study),
    ]


def _planned(study: "Study", lines: list[str]) -> Result:
    """Print what would be trained."""
    from seg_scse.cli.tables import aligned

    rows = [["Variant", "Kind", "What it is"]]
    rows += [[one.name, one.kind, one.says] for one in study.declaration.variants]
    print("\n".join([*lines, *_introduction(study), "", aligned(rows)]))
    print("tested: " + "; ".join(f"{one} against {other}" for one, other in study.declaration.comparisons()))
    return study.declaration.as_dict()


def _answer(study: "Study", publish: Path | None) -> Result:
    """Put everything that is finished together, and write the report."""
    unfinished = study.unfinished()
    if unfinished:
        print(f"{counted(len(unfinished), 'run')} not done. To go on: {study.command}")
    if not study.has_answer():
        failures = [_failure(cell) for cell in unfinished if cell.state()["status"] == "failed"]
        return {"declaration": study.declaration.as_dict(), "failures": failures, "exit_code": _said(failures)}

    from seg_scse.report.study_page import study_table
    from seg_scse.study.reporting import report

    content, written = report(study)
    print(study_table(content))
    if publish is not None:
        from seg_scse.study.publishing import publish as write_public

        written += write_public(study.folder, publish)
        print(f"published: {publish}")
    print(f"report: {written[0]}")
    return {**content, "written": [str(path) for path in written], "exit_code": _said(content["failures"])}


def _failure(cell: "Cell") -> dict[str, Any]:
    return {"variant": cell.variant, "seed": cell.seed, "fold": cell.fold, "error": cell.state()["error"]}


def _said(failures: Sequence[Mapping[str, Any]]) -> int:
    """Name the runs that failed, and return the exit code."""
    for one in failures:
        fold = "" if one["fold"] is None else f" fold {one['fold']}"
        print(f"failed: {one['variant']} seed {one['seed']}{fold}: {one['error']}", file=sys.stderr)
    return 1 if failures else 0


def _recompute(folder: Path) -> Result:
    from seg_scse.report.study_page import study_table
    from seg_scse.study.publishing import recompute

    content = recompute(folder)
    print(study_table(content))
    return content
