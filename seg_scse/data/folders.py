"""Pairs of image and mask folders: exact pairing by stem, with every leftover named."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from seg_scse.config.schema import DataConfig
from seg_scse.data.names import shown, some
from seg_scse.data.samples import Sample
from seg_scse.data.signatures import IMAGE_SUFFIXES
from seg_scse.errors import DataError, numbered

SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""Names a `{split}` folder may have, in any case, and the split each one stands for."""

_FIELD = "{split}"


def visible(folder: Path) -> list[Path]:
    """Entries of a folder sorted by name, without hidden files and `._*` twins that macOS leaves in archives."""
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(
            f"{shown(folder)}: the folder cannot be listed ({error.strerror}). Check its rights."
        ) from error


def list_images(folder: Path) -> tuple[list[Path], list[Path]]:
    """Image files (by name) below a folder, and all other files; a folder reached twice by links is read once."""
    images: list[Path] = []
    others: list[Path] = []
    seen: set[str] = set()
    queue = [folder]
    while queue:
        current = queue.pop()
        real = os.path.realpath(current)
        if real in seen:
            continue
        seen.add(real)
        for entry in visible(current):
            if entry.is_dir():
                queue.append(entry)
            else:
                (images if entry.suffix.lower() in IMAGE_SUFFIXES else others).append(entry)
    return sorted(images), sorted(others)


def _cure(folder: Path, key: str) -> str:
    folder = folder.absolute()
    parent = next((above for above in folder.parents if above.is_dir()), None)
    if parent is None:
        return f"Set {key}."
    names = [shown(entry.name) for entry in visible(parent) if entry.is_dir()]
    if any(name.lower() in SPLIT_FOLDERS for name in names) and key != "data.root":
        return f'{shown(parent)} has split folders ({some(names)}): set {key}="{_FIELD}/{shown(folder.name)}".'
    wanted = folder.relative_to(parent).parts[0]
    near = get_close_matches(wanted, names, n=3) or names
    return f"In {shown(parent)} there {'is ' + some(near) if near else 'are no folders'}. Correct {key}."


def require_folder(folder: Path, key: str) -> Path:
    """Return the folder, or raise a DataError that says what is there instead."""
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise DataError(f"{key}: folder {shown(folder)} {what}. {_cure(folder, key)}")
    return folder


def expand_splits(root: Path, pattern: str, key: str, folder_names: Mapping[str, str]) -> dict[str | None, Path]:
    """Find the folders a pattern such as `{split}/images` or `{split}annot` stands for.

    Args:
        root: folder the pattern is relative to.
        pattern: value of data.images or data.masks.
        key: the name of that setting, for messages.
        folder_names: split folder names in lower case and the split each stands for.

    Returns:
        split -> folder; the key is None for a pattern without `{split}`.

    Raises:
        DataError: a folder is missing, or two folders stand for one split.
    """
    if _FIELD not in pattern:
        return {None: require_folder(root / pattern, key)}
    parts = Path(pattern).parts
    at = next(index for index, part in enumerate(parts) if _FIELD in part)
    parent = require_folder(root.joinpath(*parts[:at]), "data.root")
    before, after = (re.escape(text) for text in parts[at].split(_FIELD, 1))
    names = "|".join(sorted(folder_names, key=len, reverse=True))
    expression = re.compile(f"{before}({names}){after}", re.IGNORECASE)
    found: dict[str | None, Path] = {}
    for entry in visible(parent):
        match = expression.fullmatch(entry.name)
        if match is None or not entry.is_dir():
            continue
        split = folder_names[match[1].lower()]
        if split in found:
            raise DataError(f"{key}: two folders stand for the split {split} in {shown(parent)}. Remove one of them.")
        found[split] = require_folder(entry.joinpath(*parts[at + 1 :]), key)
    if not found:
        there = some([shown(entry.name) for entry in visible(parent)]) or "nothing"
        raise DataError(
            f"{key}={pattern}: no split folder in {shown(parent)}; there is {there}. Name them train, val, test."
        )
    return found


def _stem(path: Path, folder: Path, suffix: str) -> str:
    """The id: path below the folder less one extension (names may hold further dots) and the declared suffix."""
    stem = shown(path.relative_to(folder).with_suffix("").as_posix())
    return stem.removesuffix(suffix)


def _is_excluded(id_: str, config: DataConfig, notes: list[str]) -> bool:
    """Tell whether a sample is to be left out, and note it once."""
    if id_ not in config.exclude:
        return False
    note = f"excluded {id_}: {config.exclude[id_]}"
    if note not in notes:
        notes.append(note)
    return True


def _by_stem(folder: Path, files: list[Path], suffix: str, config: DataConfig, notes: list[str]) -> dict[str, Path]:
    """Files by id, without excluded ones; two files with one id are refused."""
    stems: dict[str, list[Path]] = {}
    for path in files:
        stem = _stem(path, folder, suffix)
        if not _is_excluded(stem, config, notes):
            stems.setdefault(stem, []).append(path)
    problems = [
        f"{stem}: {' and '.join(shown(path.name) for path in paths)}" for stem, paths in stems.items() if len(paths) > 1
    ]
    if problems:
        raise DataError(
            f"{shown(folder)}: {len(problems)} names belong to more than one file. Keep one of each:\n"
            f"{numbered(problems)}"
        )
    return {stem: paths[0] for stem, paths in stems.items()}


def _object_files(folder: Path, config: DataConfig, notes: list[str]) -> dict[str, tuple[Path, ...]]:
    """Mask files by the folder they lie in: one folder per image, one file per object."""
    found: dict[str, list[Path]] = {}
    for path in list_images(folder)[0]:
        found.setdefault(shown(path.parent.relative_to(folder).as_posix()), []).append(path)
    for entry in visible(folder):  # an image without objects has an empty folder
        if entry.is_dir():
            found.setdefault(shown(entry.name), [])
    return {stem: tuple(paths) for stem, paths in found.items() if not _is_excluded(stem, config, notes)}


def _image_files(folder: Path, key: str, suffix: str, foreign: str, notes: list[str]) -> list[Path]:
    """Images whose stem ends with `suffix` and, where images and masks share a folder, not with the `foreign` one."""
    files, others = list_images(folder)
    for path in files:
        if not path.stem.endswith(suffix) or (foreign and path.stem.endswith(foreign)):
            others.append(path)
    wanted = sorted(set(files) - set(others))
    names = [shown(path.name) for path in others]
    if not wanted:
        ending = f' whose stem ends with "{suffix}"' if suffix else ""
        what = f"; there is {some(names)}" if names else ""
        raise DataError(
            f"{key}: no PNG, JPEG, TIFF, BMP, GIF or WebP image{ending} in {shown(folder)}{what}. Correct {key}."
        )
    if names and not foreign:
        notes.append(f"{len(names)} other files in {shown(folder)} are not read: {some(names)}")
    return wanted


def _leftovers(images: Mapping[str, object], masks: Mapping[str, object], image_folder: Path, mask_folder: Path) -> str:
    problems = []
    for rest, folder, other in (
        (sorted(images.keys() - masks.keys()), image_folder, f"mask in {shown(mask_folder)}"),
        (sorted(masks.keys() - images.keys()), mask_folder, f"image in {shown(image_folder)}"),
    ):
        if rest:
            problems.append(f"{len(rest)} of {shown(folder)} have no {other}: {some(rest)}")
    return numbered(problems)


def _pair_folder(
    config: DataConfig, split: str | None, images: Path, masks: Path, notes: list[str]
) -> Iterator[Sample]:
    foreign = (config.mask_suffix, config.image_suffix) if images == masks else ("", "")
    files = _image_files(images, "data.images", config.image_suffix, foreign[0], notes)
    by_image = _by_stem(images, files, config.image_suffix, config, notes)
    if config.mask.encoding == "objects":
        by_mask = _object_files(masks, config, notes)
    else:
        files = _image_files(masks, "data.masks", config.mask_suffix, foreign[1], notes)
        found = _by_stem(masks, files, config.mask_suffix, config, notes)
        by_mask = {stem: (path,) for stem, path in found.items()}
    leftovers = _leftovers(by_image, by_mask, images, masks)
    if leftovers:
        raise DataError(
            f"images and masks do not pair by name (data.image_suffix={config.image_suffix!r}, "
            f"data.mask_suffix={config.mask_suffix!r}):\n{leftovers}\n"
            f"Add the missing files, set the suffixes, or name the samples to leave out in data.exclude."
        )
    for stem in sorted(by_image):
        yield Sample(stem, by_image[stem], by_mask[stem], split, stem)


def list_pairs(root: Path, config: DataConfig, folder_names: Mapping[str, str], notes: list[str]) -> list[Sample]:
    """List the samples of image and mask folders, sorted by id; excluded ids are left out on both sides.

    Args:
        root: folder that data.images and data.masks are relative to.
        config: folders, suffixes, exclusions and the mask encoding (`objects`: one folder of files per image).
        folder_names: names of `{split}` folders, see `SPLIT_FOLDERS`.
        notes: lines on exclusions and on files that are not read are added here.

    Raises:
        DataError: a folder is missing or empty, an image or mask has no partner, or a name is there twice.
    """
    images = expand_splits(root, config.images, "data.images", folder_names)
    masks = expand_splits(root, config.masks, "data.masks", folder_names)
    if images.keys() != masks.keys():
        raise DataError(
            f"data.images={config.images} gives the splits {sorted(map(str, images))}, but data.masks={config.masks} "
            f"gives {sorted(map(str, masks))}. Use {_FIELD} in both or in none, and the same folders."
        )
    samples = [
        sample
        for split, folder in images.items()
        for sample in _pair_folder(config, split, folder, masks[split], notes)
    ]
    return _unique(samples)


def _unique(samples: list[Sample]) -> list[Sample]:
    """Sort by id; a name that is in several split folders is told apart by its split."""
    counts = Counter(sample.id for sample in samples)
    renamed = (replace(s, id=f"{s.split}/{s.id}") if counts[s.id] > 1 else s for s in samples)
    return sorted(renamed, key=lambda sample: sample.id)


def list_object_folders(root: Path, config: DataConfig, notes: list[str]) -> list[Sample]:
    """List samples laid out as `<id>/images/<one image>` and `<id>/masks/<one file per object>`.

    Args:
        root: folder of the sample folders.
        config: exclusions.
        notes: lines on exclusions are added here.

    Raises:
        DataError: a sample folder without exactly one image or without masks.
    """
    samples, problems = [], []
    for folder in visible(root):
        name = shown(folder.name)
        if not (folder / "images").is_dir() or _is_excluded(name, config, notes):
            continue
        images = list_images(folder / "images")[0]
        masks = list_images(folder / "masks")[0] if (folder / "masks").is_dir() else []
        if len(images) != 1 or not masks:
            problems.append(
                f"{name}: {len(images)} images and {len(masks)} masks; one image and at least one mask are needed"
            )
            continue
        samples.append(Sample(name, images[0], tuple(masks), None, name))
    if problems:
        raise DataError(f"{shown(root)}: {len(problems)} sample folders are incomplete:\n{numbered(problems)}")
    return samples
