"""How a folder of images and one of masks, or an annotation file, are laid out: what their names say."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from seg_scse.config.loading import override
from seg_scse.config.schema import Config, DataConfig
from seg_scse.data.checking.annotated import POLYGONS, TABLES, describe_annotations
from seg_scse.data.files.signatures import is_image, stem_of
from seg_scse.data.listing.folders import SPLIT_FOLDERS, require_folder, visible
from seg_scse.data.names import shown, some
from seg_scse.errors import ConfigError

_SPLIT, _CLASS = "{split}", "{class}"
_MASKS = ("data.masks=", "data.mask.encoding=")
_FILES = (
    *("data.root=", "data.images=", "data.masks=", "data.image_", "data.mask_", "data.exclude="),
    *("data.volume.", "data.max_pixels=", "data.cache"),
)
"""Overrides that say which files there are, whatever the others mean."""

_Layout = tuple[dict[str, Any], dict[str, str]]


def folder_config(images: Path, masks: Path, overrides: Sequence[str] = ()) -> tuple[DataConfig, dict[str, str]]:
    """Return the `data` section of a pair of folders, as far as their names tell it.

    Split folders become `{split}`, a folder of masks per image `objects`, one per class `files`, and an annotation
    file `polygons` or `rle` with the classes that it names.

    Args:
        images: folder of images.
        masks: folder of masks, or an annotation file.
        overrides: `section.key=value` texts; those of `data` are applied.

    Returns:
        the section, and why masks and classes are declared so where they are, by dotted key.

    Raises:
        DataError: a folder is missing.
    """
    section: dict[str, Any] = {"images": _place(images, "--images"), "masks": str(masks.absolute())}
    reasons: dict[str, str] = {}
    if masks.is_file() and masks.suffix.lower() in (*POLYGONS, *TABLES):
        more, reasons = _annotated(masks, masks)
    else:
        section["masks"] = _place(masks, "--masks")
        more, reasons = _folders(section) if _SPLIT not in section["masks"] else ({}, {})
    if any(text.startswith(_MASKS) for text in overrides):
        more, reasons = {}, {}
    return _overridden(DataConfig.model_validate(section | more), overrides), reasons


def _place(folder: Path, argument: str) -> str:
    divided = _SPLIT not in str(folder) and _is_divided(require_folder(folder, argument))
    return str(folder.absolute() / _SPLIT if divided else folder.absolute())


def _is_divided(folder: Path) -> bool:
    """Tell whether all that a folder holds is folders with the names of splits."""
    entries = visible(folder)
    return bool(entries) and all(entry.is_dir() and entry.name.lower() in SPLIT_FOLDERS for entry in entries)


def _overridden(config: DataConfig, overrides: Sequence[str]) -> DataConfig:
    """Where an override contradicts what is not chosen yet, only those about files; the others are checked later."""
    given = [text for text in overrides if text.startswith("data.")]
    for texts in (given, [text for text in given if text.startswith(_FILES)]):
        with suppress(ConfigError):
            return override(Config(data=config), texts).data
    return config


def _folders(section: dict[str, Any]) -> _Layout:
    """Masks in folders of their own, or in annotation files."""
    entries = visible(Path(section["masks"]))
    pictured = visible(Path(section["images"])) if _SPLIT not in section["images"] else []
    if entries and all(entry.is_file() and entry.suffix.lower() in POLYGONS for entry in entries):
        return _annotated(Path(section["masks"]), entries[0])
    beside = {entry.name for entry in pictured if entry.is_dir()}
    if not entries or any(not entry.is_dir() or entry.name in beside for entry in entries):
        return {}, {}
    stems = {stem_of(entry) for entry in pictured if is_image(entry)}
    if not any(entry.name in stems for entry in entries) and all(_holds(entry, stems) for entry in entries):
        return _by_class(section, [entry.name for entry in entries])
    return {"mask": {"encoding": "objects"}}, {}


def _holds(folder: Path, stems: set[str]) -> bool:
    """Tell whether most files of a folder have the names of images."""
    found = [stem_of(entry) in stems for entry in visible(folder) if is_image(entry)]
    return 2 * sum(found) > len(found)


def _by_class(section: dict[str, Any], folders: list[str]) -> _Layout:
    first = next((name for name in folders if name.lower() == "background"), "background")
    names = [name for name in folders if name != first]
    if not names or (len(names) > 1 and "foreground" in names):
        return {}, {}
    more = {"masks": f"{section['masks']}/{_CLASS}", "classes": [first, *names], "mask": {"encoding": "files"}}
    why = f"one folder of masks for each class, with the names of the images: {some([shown(name) for name in names])}"
    return more, {"data.mask": why, "data.classes": "named as their folders; the first is where no mask is"}


def _annotated(masks: Path, example: Path) -> _Layout:
    more = describe_annotations(example)
    kind = f"is read as mask.encoding={more['mask']['encoding']}, by the name {shown(example.name)}"
    reasons = {"data.mask": f"{shown(masks.name)} {kind}"}
    if "classes" in more:
        reasons["data.classes"] = f"named as {shown(example.name)} names them; the first is where nothing is annotated"
    return more, reasons
