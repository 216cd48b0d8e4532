"""What of a study may be kept in a project: tables, settings and versions, without images and without paths."""

import csv
import gzip
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seg_scse.config.loading import load_config
from seg_scse.config.schema import EvaluationConfig
from seg_scse.errors import ConfigError, DataError, numbered
from seg_scse.evaluation.results import bootstrap_of
from seg_scse.files import write_bytes
from seg_scse.metrics.bootstrap import Bootstrap, count_units
from seg_scse.study.answer import FORMAT, STUDY, answer_from_scores, read_answer
from seg_scse.study.declaration import CONFIG, FILE, Declaration
from seg_scse.study.privacy import Cleaner, machine_names, require_public, words_of
from seg_scse.study.published_readme import FILES, readme
from seg_scse.study.scores import SCORES, Scores, read_scores

README, CURVES, VERSIONS, PACKED = "README.md", "curves.csv", "versions.json", f"{SCORES}.gz"
MOST_SCORES = 500_000
"""Bytes of `scores.csv`; a longer one is published compressed."""
MOST_CURVES = 500_000
"""Bytes of `curves.csv`; of a longer one every n-th batch is published, and its name says so."""
_KEPT_AS_THEY_ARE = (SCORES, "table.csv")


def publish(folder: Path, target: Path, *, command: str | None = None) -> list[Path]:
    """Write what may be made public of a study into a folder, with a README.md that explains it.

    Images, gate maps and the HTML page stay where they are. Paths are cut (`privacy.Cleaner`), and what still names
    this machine is refused. Nothing is written before everything is found to be in order.

    Args:
        folder: of the study, with its answer and report.
        target: folder to write into; files of an earlier publication are replaced.
        command: that made the study; None gives the one that follows from its declaration.

    Returns:
        The files written, `README.md` last.

    Raises:
        ConfigError: `target` is the study itself, or `folder` holds no study.
        DataError: the table does not follow from the scores, a file is damaged, or would name this machine.
        WriteError: the folder cannot be written.
    """
    if target.resolve() == folder.resolve():
        raise ConfigError(f"{target}: is the study itself. Publish into another folder: --publish DIR.")
    content, declaration = recompute(folder), Declaration.read(folder)
    data = content["config"].get("data", {})
    places = {data["root"]: content["data"]["name"] or "data"} if data.get("root") else {}
    cleaner = Cleaner(folder, places)
    texts = _texts(folder, content, cleaner)
    packed = _packed(texts)
    names = [PACKED if name == SCORES and packed else name for name in texts]
    texts[README] = cleaner.text(readme(content, declaration, [*names, *_pictures(folder)], command))
    own = words_of(content) | _own_names(content)
    hosts = [name for name in machine_names() if name.lower() not in own]
    require_public(texts, [folder, Path.home(), *map(Path, places)], hosts)
    files = {name: text.encode() for name, text in texts.items() if name != SCORES or not packed}
    return _write(target, {**files, **packed, **{name: (folder / name).read_bytes() for name in _pictures(folder)}})


def _texts(folder: Path, content: Mapping[str, Any], cleaner: Cleaner) -> dict[str, str]:
    """Return the texts to publish by file name, without paths of this machine."""
    texts = {}
    for name in FILES:
        path = folder / name
        if path.suffix == ".png" or not path.exists():
            continue
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            text = _json(cleaner.values(json.loads(text)))
        texts[name] = text if name in _KEPT_AS_THEY_ARE or path.suffix == ".json" else cleaner.text(text)
    texts[VERSIONS] = _json({key: content[key] for key in ("created", "device", "versions")})
    if (folder / CURVES).exists():
        name, text = thinned((folder / CURVES).read_text(encoding="utf-8"))
        texts[name] = text
    return texts


def _json(value: object) -> str:
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def _pictures(folder: Path) -> list[str]:
    """Plots of numbers; no picture in which an image can be seen."""
    return [name for name in FILES if name.endswith(".png") and (folder / name).exists()]


def _own_names(content: Mapping[str, Any]) -> set[str]:
    """Return the names that belong to the study, whatever a machine is called."""
    data, card = content["data"], content["config"].get("data", {}).get("card")
    names = [content["name"], data["name"], card, *data["classes"]]
    return {str(name).lower() for name in names}


def thinned(text: str, most: int = MOST_CURVES) -> tuple[str, str]:
    """Return a file name and `curves.csv` with as many batches as fit into `most` bytes; all epochs stay.

    Args:
        text: of `curves.csv`.
        most: bytes.
    """
    if len(text.encode()) <= most:
        return CURVES, text
    header, *rows = csv.reader(io.StringIO(text))
    level, step = header.index("level"), header.index("step")
    batches = max(1, sum(len(",".join(row)) + 1 for row in rows if row[level] == "batch"))
    room = max(1, most - (len(text) - batches))
    every = next((count for count in (2, 5, 10, 20, 50, 100, 200, 500) if batches / count <= room), 1000)
    stream = io.StringIO()
    kept = (row for row in rows if row[level] != "batch" or int(row[step]) % every == 0)
    csv.writer(stream, lineterminator="\n").writerows([header, *kept])
    return f"curves-every-{every}th-batch.csv", stream.getvalue()


def _packed(texts: Mapping[str, str]) -> dict[str, bytes]:
    """Return a long `scores.csv` compressed, the same bytes each time; nothing where it is short."""
    data = texts[SCORES].encode()
    return {PACKED: gzip.compress(data, mtime=0)} if len(data) > MOST_SCORES else {}


def _write(target: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write the files, README.md last, and remove those of an earlier publication that this one has not."""
    files = {**{name: data for name, data in files.items() if name != README}, README: files[README]}
    (target / README).unlink(missing_ok=True)
    for older in [*(target / name for name in FILES), *target.glob("curves*.csv")]:
        if older.name not in files:
            older.unlink(missing_ok=True)
    for name, data in files.items():
        write_bytes(target / name, data)
    return [target / name for name in files]


def recompute(folder: Path) -> dict[str, Any]:
    """Compute the answer of a study again, from `study.yaml`, `config.yaml` and `scores.csv[.gz]` alone.

    Without `config.yaml`, intervals are made as by default. What does not follow from scores, such as costs, versions
    and the selection by validation, is taken from `study.json` where there is one.

    Args:
        folder: of a study, or of its published files.

    Returns:
        the content of `study.json`.

    Raises:
        ConfigError: the folder holds no study.
        DataError: a file is missing or damaged, or `study.json` says other numbers; the message names some.
    """
    declaration = Declaration.read(folder)
    scores = read_scores(
        next((folder / name for name in (SCORES, PACKED) if (folder / name).exists()), folder / SCORES)
    )
    config = load_config(folder / CONFIG) if (folder / CONFIG).exists() else None
    settings = bootstrap_of(config.evaluation if config else EvaluationConfig())
    answered = json.loads(json.dumps(answer_from_scores(scores, declaration, settings)))
    if not (folder / STUDY).exists():
        return {**_facts(declaration, scores, settings), **answered}
    stored = read_answer(folder)
    for row in (answered["baseline"], *answered["rows"]):
        known = (stored["baseline"], *stored["rows"])
        row["cost"] = next((one.get("cost") for one in known if one["name"] == row["name"]), None)
    if problems := list(_differences(answered, stored)):
        raise DataError(
            f"{folder}: {SCORES} gives other numbers than {STUDY}:\n{numbered(problems, 5)}\nOne of them was changed "
            f"or belongs to another study. Without {STUDY} the table is computed from the scores alone."
        )
    return {**stored, **answered}


def _differences(answered: Mapping[str, Any], stored: Mapping[str, Any]) -> list[str]:
    return [line for key, value in answered.items() for line in _differing(value, stored.get(key), key)]


def _differing(new: object, old: object, place: str) -> list[str]:
    """Compare JSON values exactly: a line for each that differs."""
    if isinstance(new, dict) and isinstance(old, dict):
        return [line for key in {**new, **old} for line in _differing(new.get(key), old.get(key), f"{place}.{key}")]
    if isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        names = [one.get("name", at) if isinstance(one, dict) else at for at, one in enumerate(new)]
        return [
            line for name, a, b in zip(names, new, old, strict=True) for line in _differing(a, b, f"{place}.{name}")
        ]
    return [] if new == old else [f"{place}: {json.dumps(new)[:60]}, but study.json says {json.dumps(old)[:60]}"]


def _facts(declaration: Declaration, scores: Scores, settings: Bootstrap) -> dict[str, Any]:
    """Return what `study.json` would say beside the numbers, as far as scores and declaration tell."""
    unknown = dict.fromkeys(("best_epoch", "epochs", "steps", "val_score", "seconds", "scores"))
    return {
        "format": FORMAT,
        "name": declaration.name,
        "created": "",
        "declaration": declaration.as_dict(),
        "device": "",
        "versions": {},
        "data": {
            "name": None,
            "digest": None,
            "images": len(scores.ids),
            "units": count_units(len(scores.ids), scores.units),
            "groups": scores.units is not None,
            "classes": [],
        },
        "config": {},
        "bootstrap": {"level": settings.level, "resamples": settings.resamples, "seed": settings.seed},
        "metric": declaration.metric,
        "runs": [
            {"variant": variant, "seed": seed, "fold": None, "status": "done", "error": "", **unknown}
            for variant, seed in scores.runs
        ],
        "selection": {"by": "val", "metric": "", "scores": {}, "winner": None},
        "failures": [],
        "notes": [f"Computed from {FILE} and {SCORES} alone."],
    }
