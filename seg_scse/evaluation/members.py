"""Several checkpoints that predict together, or are scored one after the other on the same images."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from seg_scse.config.loading import load_config
from seg_scse.data.names import shown, some
from seg_scse.data.scaling import from_state
from seg_scse.data.sets.cards import resolve_card
from seg_scse.errors import ConfigError, numbered
from seg_scse.evaluation.loaded import Loaded, build_predictor, checkpoint_facts, load_run, run_of
from seg_scse.evaluation.other_data import require_alike
from seg_scse.inference.ensemble import Ensemble
from seg_scse.inference.predictor import Network

_NAMED = 3  # runs named in a folder's name


def load_members(runs: Sequence[Path], which: str, overrides: Sequence[str]) -> list[Loaded]:
    """Read the checkpoints of several runs; a cross-validation stands for all of its folds.

    Raises:
        CheckpointError: no usable checkpoint.
        ConfigError: fewer than two, one named twice, other classes, bands or task.
    """
    members = [load_run(path, which, overrides) for run in runs for path in _folds_or_run(run)]
    if len(members) < 2:
        raise ConfigError(f"one network ({runs[0]}) is no ensemble: name several runs, or a cross-validation.")
    require_together(members)
    return members


def require_together(members: Sequence[Loaded]) -> None:
    """Refuse checkpoints that cannot predict together.

    Raises:
        ConfigError: one named twice; other classes, bands or task.
    """
    require_distinct(members)
    require_alike({label: member.config.data for label, member in zip(labels(members), members, strict=True)})


def require_distinct(members: Sequence[Loaded]) -> None:
    """Refuse to count one checkpoint twice.

    Raises:
        ConfigError: naming it.
    """
    seen: dict[str, Path] = {}
    for member in members:
        if member.digest in seen:
            raise ConfigError(f"{seen[member.digest]} and {member.file} are one checkpoint: name each run once.")
        seen[member.digest] = member.file


def _folds_or_run(run: Path) -> list[Path]:
    """The folders of the folds of a cross-validation, or the run itself."""
    file = run / "config.yaml"
    split = resolve_card(load_config(file).data).split if file.is_file() else None
    if split is None or split.folds is None or split.fold is not None:
        return [run]
    return [run / f"fold{number}" for number in range(split.folds)]


def build_network(members: Sequence[Loaded], device: torch.device) -> Network:
    """Build what predicts with the weights of one checkpoint, or with the mean of several.

    Raises:
        ConfigError: the checkpoints cannot predict together.
    """
    predictors = [build_predictor(member, device) for member in members]
    if len(predictors) == 1:
        return predictors[0]
    return Ensemble(tuple(predictors), [from_state(member.state.get("scale")) for member in members])


def labels(members: Sequence[Loaded]) -> list[str]:
    """Names of the members: with the folder above where two are alike, and numbered where that is not enough."""
    short = [member.label for member in members]
    above = [member.file.resolve().parents[2].name if member.run else "" for member in members]
    names = [f"{folder}/{name}" if short.count(name) > 1 else name for folder, name in zip(above, short, strict=True)]
    return [f"{name} ({place + 1})" if names.count(name) > 1 else name for place, name in enumerate(names)]


def names_of(runs: Sequence[Path]) -> list[str]:
    """Name runs, each differently, by names that may be those of folders and of columns.

    Args:
        runs: run folders or checkpoint files; `run-last` is the name of RUN/checkpoints/last.ckpt.
    """
    places = [_named_place(run) for run in runs]
    short = [place.name for place in places]
    above = [f"{place.parent.name}-{place.name}" if short.count(place.name) > 1 else place.name for place in places]
    return [f"{name}-{number}" if above.count(name) > 1 else name for number, name in enumerate(above, start=1)]


def _named_place(run: Path) -> Path:
    """The run folder; of a checkpoint file in one a path beside it, with the name of both."""
    place = run.resolve()
    if place.is_dir():
        return place
    folder = run_of(place)
    if folder is None:
        return place.with_suffix("")
    return folder if place.stem == "best" else folder.with_name(f"{folder.name}-{place.stem}")


def beside(runs: Sequence[Path], what: str) -> Path:
    """Return where the results of several runs together belong: `<names>-<what>` beside the first of them."""
    return _named_place(runs[0]).with_name(f"{joined(names_of(runs))}-{what}")


def joined(names: Sequence[str]) -> str:
    """Name several runs in one folder's name: `a+b+c`, or `a+4-more`."""
    return "+".join(names) if len(names) <= _NAMED else f"{names[0]}+{len(names) - 1}-more"


def member_facts(members: Sequence[Loaded]) -> list[dict[str, Any]]:
    """Say in plain JSON types which checkpoints predicted together."""
    return [{"run": label, **checkpoint_facts(one)} for label, one in zip(labels(members), members, strict=True)]


def require_unseen(members: Sequence[Loaded], ids: Iterable[str]) -> None:
    """Refuse to score an ensemble on images that a member has in another split: it may have been trained on them.

    Args:
        members: the checkpoints, each with the splits of its training; those of the first are scored.
        ids: the images that are scored.

    Raises:
        ConfigError: naming the members and some images.
    """
    first: Mapping[str, str] = members[0].state["splits"]
    names, problems = labels(members), []
    scored = [id_ for id_ in ids if id_ in first]
    for name, member in zip(names[1:], members[1:], strict=True):
        own: Mapping[str, str] = member.state["splits"]
        other = [id_ for id_ in scored if own.get(id_, first[id_]) != first[id_]]
        if other:
            problems.append(
                f"{name} has {len(other)} of the {first[other[0]]} images of {names[0]} in another split, such as "
                f"{own[other[0]]}: {some([shown(id_) for id_ in other])}"
            )
    if problems:
        raise ConfigError(
            f"the networks were not trained on one division of the data, so the ensemble would be scored on images "
            f"that some were trained with:\n{numbered(problems)}\nScore it on another data set: --data FILE."
        )
