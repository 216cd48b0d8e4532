"""The classes that an annotation file names, as lines of a `data` section."""

import csv
import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

POLYGONS = (".json", ".geojson")
TABLES = (".csv",)

_MOST_BYTES = 200_000_000  # a larger file is read once only, by who needs it
_COLUMNS = {
    "label": re.compile(r"class|label|category", re.IGNORECASE),
    "rle": re.compile(r"rle|pixels|segmentation", re.IGNORECASE),
    "id": re.compile(r"image|file|name|id", re.IGNORECASE),
}
_MOST_CLASSES = 20  # a property with more values than this is a name or a number, no class
_FIRST = "background"


def describe_annotations(path: Path) -> dict[str, Any]:
    """Say how an annotation file is declared.

    Args:
        path: COCO JSON, GeoJSON, or a CSV table of run lengths; one that is damaged is declared by its name alone.

    Returns:
        `mask` and, where the file names several classes, `classes`.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            return {"mask": {"encoding": "rle" if path.suffix.lower() in TABLES else "polygons"}}
        text = path.read_text(encoding="utf-8-sig")
        return _table(text) if path.suffix.lower() in TABLES else _polygons(json.loads(text))
    except (OSError, ValueError, TypeError, RecursionError, csv.Error):  # the listing says what is wrong
        return {"mask": {"encoding": "rle" if path.suffix.lower() in TABLES else "polygons"}}


def _section(mask: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Names in the file become classes; one that stands for the background is class 0, as it is named."""
    first = next((name for name in names if name.lower() == _FIRST), _FIRST)
    classes = [first, *(name for name in names if name != first)]
    fits = len(classes) > 1 and (len(classes) == 2 or "foreground" not in classes)
    return {"mask": mask, "classes": classes} if fits else {"mask": mask}


def _polygons(document: object) -> dict[str, Any]:
    if not isinstance(document, Mapping):
        return {"mask": {"encoding": "polygons"}}
    if "categories" not in document:
        return _features(document.get("features"))
    used = {one.get("category_id") for one in document.get("annotations", []) if isinstance(one, Mapping)}
    known = [one for one in document["categories"] if isinstance(one, Mapping) and one.get("id") in used]
    return _section({"encoding": "polygons"}, list(dict.fromkeys(str(one.get("name")) for one in known)))


def _features(features: object) -> dict[str, Any]:
    """GeoJSON: the one property with few texts names the class; without one every feature is class 1."""
    known = features if isinstance(features, list) else []
    listed = [one.get("properties") for one in known if isinstance(one, Mapping)]
    found: dict[str, Counter[str]] = {}
    for properties in listed:
        for name, value in (properties or {}).items():
            if isinstance(value, str):
                found.setdefault(name, Counter())[value] += 1
    complete = [
        name for name, counts in found.items() if counts.total() == len(listed) and 1 < len(counts) <= _MOST_CLASSES
    ]
    if len(complete) != 1:
        return {"mask": {"encoding": "polygons"}}
    return _section({"encoding": "polygons", "field": complete[0]}, sorted(found[complete[0]]))


def _table(text: str) -> dict[str, Any]:
    rows = csv.reader(text.splitlines())
    header = [name.strip() for name in next(rows, [])]
    columns: dict[str, str] = {}
    for kind, words in _COLUMNS.items():
        name = next((name for name in header if words.search(name) and name not in columns.values()), None)
        if name is not None:
            columns[kind] = name
    if not {"id", "rle"} <= columns.keys():
        return {"mask": {"encoding": "rle"}}
    mask = {"encoding": "rle", "columns": {key: columns[key] for key in ("id", "rle", "label") if key in columns}}
    if "label" not in columns:
        return {"mask": mask}
    at = header.index(columns["label"])
    labels = sorted({row[at].strip() for row in rows if len(row) == len(header)} - {""})
    return _section(mask, labels)
