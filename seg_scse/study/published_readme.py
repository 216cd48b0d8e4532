"""The README.md beside the published files of a study: what was run, what came out, how to compute it again."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from seg_scse.config.loading import load_config
from seg_scse.config.schema import Config
from seg_scse.config.wording import counted
from seg_scse.data.sets.cards import Card, load_card
from seg_scse.errors import ConfigError, DataError
from seg_scse.report.study_page import study_grid, study_sentences
from seg_scse.study.budget import spoken
from seg_scse.study.declaration import Declaration
from seg_scse.study.variants import Variant
from seg_scse.training.resuming import differences

FILES = {
    "study.yaml": "what was declared before the first run: variants, controls, seeds, the score that is tested",
    "config.yaml": "the configuration that all runs share, with every default written out",
    "scores.csv": "the scores of every run, image and class, in full precision; the table follows from them alone",
    "scores.csv.gz": "the scores of every run, image and class, in full precision (gzip); the table follows from them",
    "study.json": "the whole answer for programs: every number of the table and of the report",
    "table.csv": "the table for spreadsheets",
    "report.md": "the report: answer, tables, differences, how it was made",
    "forest.png": "the differences with their intervals",
    "curves.png": "learning curves of all variants",
    "cost.json": "parameters, step time and memory of each variant",
    "versions.json": "device and versions of the packages",
}
"""Files that are published, and what they are."""

_SITES = "model.attention.sites="
_TOLD_ELSEWHERE = ("name", "seed", "data.")


def readme(content: Mapping[str, Any], declaration: Declaration, files: Sequence[str], command: str | None) -> str:
    """Return the text.

    Args:
        content: of `study.json`.
        declaration: of the study.
        files: names of the published files.
        command: that made the study; None gives the one that follows from the declaration.
    """
    card = _card(content)
    data = content["data"]["name"] or "own data"
    scores = next((name for name in files if name.startswith("scores.csv")), "scores.csv")
    parts = [
        f"# {declaration.name}: {', '.join(variant.name for variant in declaration.variants)} on {data}",
        _what_was_run(content, declaration),
        "## Command",
        f"```\n{command or command_of(declaration)}\n```",
        "`config.yaml` is the configuration beside this file, in which every override of the study stands. Paths of "
        "the machine were taken out of all files: DATA is where your copy of the data is.",
        _settings(content),
        "## Answer",
        "\n".join(f"- {sentence}" for sentence in study_sentences(content)),
        f"```\n{study_grid(content)}\n```",
        "## The same table again",
        "Every difference, interval and test follows from `study.yaml`, the `evaluation` section of `config.yaml` and "
        f"`{scores}`. No image, network or GPU is needed:",
        "```\nseg-scse ablate --from-scores FOLDER\n```",
        "with the path of this folder. It refuses where the numbers are not those of `study.json`.",
        "## Data",
        _data(data, card),
        "## Versions",
        _versions(content),
        "## Files",
        "\n".join(f"- `{name}`: {_described(name)}" for name in files),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _what_was_run(content: Mapping[str, Any], declaration: Declaration) -> str:
    runs = content["runs"]
    done = [run for run in runs if run["status"] == "done"]
    seconds = sum(run.get("seconds") or 0.0 for run in done)
    folds = "" if declaration.folds is None else f" x {declaration.folds} folds"
    steps = sorted({run["steps"] for run in done if run.get("steps")})
    trainer = content["config"].get("trainer", {})
    sentences = [
        f"{counted(len(declaration.variants), 'variant')} x {counted(len(declaration.seeds), 'seed')}{folds}: "
        f"{len(done)} of {counted(len(runs), 'run')} finished.",
        f"Scored on the {declaration.split} split, {counted(content['data']['images'], 'image')}; tested in "
        f"{declaration.metric}_per_image, declared before the first run.",
        f"Budget: {spoken(seconds)} of training and scoring in all, on {content['device']}." if seconds else "",
        f"Each run: {' to '.join(str(one) for one in dict.fromkeys((steps[0], steps[-1])))} steps of "
        f"{trainer.get('batch_size')} crops of {trainer.get('crop')} px."
        if steps and trainer
        else "",
        *(f"Changed later: {line}." for line in declaration.history[1:]),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _settings(content: Mapping[str, Any]) -> str:
    """Say which settings of all runs are not the defaults; those of the data are a matter of their own."""
    if not content["config"]:
        return ""
    changes = differences(load_config(None, ["data.root=data"]), Config.model_validate(content["config"]))
    told = [f"`{one.key}={_short(one.after)}`" for one in changes if not one.key.startswith(_TOLD_ELSEWHERE)]
    return f"Settings of all runs that are not the defaults: {', '.join(told)}." if told else ""


def _short(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def command_of(declaration: Declaration) -> str:
    """Return the command that declares the same study; DATA stands for the folder of the data."""
    variants = [one for one in declaration.variants if one.kind != "control"]
    added = [one for one in variants if one.says == ", ".join(one.overrides)]
    named = [one for one in variants if one not in added]
    sites = dict.fromkeys(site for one in named if (site := _sites(one)))
    words = ["seg-scse", "ablate", "--config", "config.yaml"]
    words += ["--variants", ",".join(dict.fromkeys(one.name.partition("@")[0] for one in named))]
    words += ["--sites", ",".join(sites)] if sites else []
    words += [word for one in added for word in ("--add", f"{one.name}: {' '.join(one.overrides)}")]
    words += ["--seeds", str(len(declaration.seeds))]
    words += ["--controls"] if any(one.kind == "control" for one in declaration.variants) else []
    words += ["--folds", str(declaration.folds)] if declaration.folds else []
    words += ["--metric", declaration.metric] if declaration.metric != "dice" else []
    words += ["--split", declaration.split] if declaration.split != "test" else []
    return shlex.join([*words, "--out", f"studies/{declaration.name}", "data.root=DATA"])


def _sites(variant: Variant) -> str:
    """Return the places of a variant's gates as `--sites` names them; empty where the configuration says them."""
    texts = [text.removeprefix(_SITES).strip("[]") for text in variant.overrides if text.startswith(_SITES)]
    return "+".join(site.strip() for site in texts[-1].split(",")) if texts else ""


def _card(content: Mapping[str, Any]) -> Card | None:
    name = content["config"].get("data", {}).get("card")
    try:
        return load_card(name) if name else None
    except (ConfigError, DataError):  # a file of the user's that is gone
        return None


def _data(name: str, card: Card | None) -> str:
    none = "No image, mask or prediction is in this folder; image names are those of the data set's files."
    if card is None:
        return f"{name}: not one of the public data sets with a card; its licence is for its owner to say. {none}"
    lines = [f"- {card.title}", f"- Source: {card.source}", f"- Licence: {card.licence}"]
    lines += [f"- Terms: {card.terms}"] if card.terms else []
    return "\n".join([*lines, f"- Please cite: {card.citation}", f"- {none}"])


def _versions(content: Mapping[str, Any]) -> str:
    listed = ", ".join(f"{name} {version}" for name, version in content["versions"].items())
    return f"{listed}; on {content['device']}. Made {content['created']}."


def _described(name: str) -> str:
    return FILES.get(name, "loss and score of every run; the file's name says which batches are in it")
