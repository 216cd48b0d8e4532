"""Which files to predict: a file, a folder, a pattern or a table becomes a list of items with unique ids."""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from seg_scse.config.schema import DataConfig
from seg_scse.config.wording import counted
from seg_scse.data.files.signatures import HEAD, READ, file_format, holds_image, is_image, stem_of
from seg_scse.data.files.volumes import is_volume
from seg_scse.data.listing.folders import contents
from seg_scse.data.listing.patterns import rules_of, same_name
from seg_scse.data.names import shown, some
from seg_scse.errors import ConfigError, DataError
from seg_scse.prediction.inputs.band_files import join_bands
from seg_scse.prediction.inputs.left_out import masks_beside, require_other_file, without_results
from seg_scse.prediction.inputs.patterns import is_pattern, matching
from seg_scse.prediction.inputs.series_files import Group, series_of
from seg_scse.prediction.inputs.tables import Row, read_rows, with_ids

Kind = Literal["image", "volume", "series"]
SeriesRule = Literal["volume", "files"]

_DIGITS = re.compile(r"(\d+)")
_MOST_NAMED = 10
_DICOM_SUFFIXES = (".dcm", ".dicom")
_KINDS = {"NIfTI": "volume", "DICOM": "slice"}


@dataclass(frozen=True)
class Item:
    """One thing to predict.

    Attributes:
        id: its path below the folder it was found in, without extension, with `/` between the parts; unique.
        kind: `image`; `volume`: a NIfTI file; `series`: the DICOM slices of one volume.
        files: one file; of an image one per band, in the order of `data.bands`; of a series its slices, by name.
    """

    id: str
    kind: Kind
    files: tuple[Path, ...]


class Found(NamedTuple):
    """What was found, in natural order of the ids (`2` before `10`), and what was left out, in words."""

    items: tuple[Item, ...]
    notes: tuple[str, ...]


class _Gathered(NamedTuple):
    """Files below one folder, and rows of one table."""

    base: Path
    files: list[Path]
    rows: list[Row]


def natural(text: str) -> list[tuple[int, str]]:
    """Key that sorts numbers inside names by their value."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in _DIGITS.split(text)]


def find_items(inputs: Sequence[str], config: DataConfig, output: Path, series: SeriesRule = "volume") -> Found:
    """Find what is to be predicted. No pixel is read; 100,000 files take seconds.

    Args:
        inputs: each a file, a folder (with all that is below it), a pattern with `*`, `?`, `[` or `**`, or a CSV table
            with the column `image`, or one column per band of `data.bands`, and perhaps `id`; paths in a table are
            relative to it.
        config: the `data` section of the run, its card resolved: `bands`, and where `{band}` stands in file names.
        output: where the results go: what is below it is not an input.
        series: `volume`: the DICOM files of one series in one folder are the slices of a volume; `files`: each is an
            image.

    Raises:
        ConfigError: the results would lie among the inputs.
        DataError: nothing is found, two items have one id, or a table cannot be read.
    """
    if not inputs:
        raise ConfigError("--input: name a file, a folder, a pattern or a CSV table.")
    notes: list[str] = []
    gathered = [_gather(text, output, config, notes) for text in inputs]
    items = [_of_files(row.id, row.files) for found in gathered for row in found.rows]
    files = _each_once([path for found in gathered for path in found.files], notes)
    require_other_file(output, [*files, *(file for item in items for file in item.files)])
    if files:
        base = Path(os.path.commonpath([_absolute(found.base) for found in gathered if found.files]))
        items += _from_files(files, base, config, series, notes)
    if not items:
        raise DataError(_nothing(inputs, notes))
    _require_unique(items)
    notes += masks_beside([item.id for item in items])
    return Found(tuple(sorted(items, key=lambda item: natural(item.id))), tuple(notes))


def _absolute(path: Path) -> str:
    """Return the path from the root, without `..`, links left alone."""
    return os.path.abspath(path)  # noqa: PTH100 - Path.absolute keeps `..`


def _gather(text: str, output: Path, config: DataConfig, notes: list[str]) -> _Gathered:
    path = Path(text)
    try:
        if path.is_dir():
            _require_elsewhere(path, output)
            images = [file for file in contents(path).files if holds_image(file)]
            return _Gathered(path, without_results(images, path, output, notes), [])
        if path.is_file() or path.is_symlink():
            if path.suffix.lower() == ".csv":
                rows = with_ids(read_rows(path, config.bands), path, _relative_to)
                return _Gathered(path.parent, [], rows)
            return _Gathered(path.parent, [path], [])
    except OSError as error:  # a name that is too long for a file
        raise DataError(f"--input {shown(text)}: cannot be read ({error.strerror}). Correct the name.") from None
    if is_pattern(text):
        base, found = matching(path)
        _require_elsewhere(base, output)
        return _Gathered(base, without_results(found, base, output, notes), [])
    raise DataError(f"--input {shown(text)}: does not exist. {_near(path)}")


def _require_elsewhere(folder: Path, output: Path) -> None:
    if os.path.realpath(folder) == os.path.realpath(output):
        raise ConfigError(
            f"--output {shown(output)}: is the input folder, so results would lie among the images. Name a folder of "
            "its own."
        )


def _near(path: Path) -> str:
    above = next((folder for folder in path.absolute().parents if folder.is_dir()), None)
    if above is None:
        return "Correct the name."
    names = sorted(entry.name for entry in above.iterdir() if not entry.name.startswith("."))
    there = some([shown(name) for name in names]) or "nothing"
    return f"In {shown(above)} there is {there}. Correct the name, or put a pattern in quotes."


def _each_once(files: Iterable[Path], notes: list[str]) -> list[Path]:
    """Drop what two inputs name; links are files of their own."""
    files = list(files)
    once = list({_absolute(path): path for path in files}.values())
    if len(once) < len(files):
        notes.append(f"{counted(len(files) - len(once), 'file')} named twice, predicted once")
    return once


def _of_files(id_: str, files: tuple[Path, ...]) -> Item:
    """Return the item of files that are known to belong together: one, or one per band."""
    return Item(id_, "volume" if _kind(files[0]) == "volume" else "image", files)


def _kind(path: Path) -> str:
    """Tell by name, else by the first bytes, whether a file is a `volume` (NIfTI), a `slice` (DICOM) or an `image`."""
    name = path.name.lower()
    if is_volume(path):
        return "volume"
    if name.endswith(_DICOM_SUFFIXES):
        return "slice"
    return "image" if is_image(path) else _KINDS.get(_format(path) or "", "image")


def _format(path: Path) -> str | None:
    try:
        with path.open("rb", buffering=0) as file:
            return file_format(file.read(HEAD))
    except OSError:
        return None


def _from_files(
    files: Sequence[Path], base: Path, config: DataConfig, series: SeriesRule, notes: list[str]
) -> list[Item]:
    below = _relative_to(base)
    rules = rules_of(config, "image")
    if len(rules) > 1:
        return [_of_files(id_, found) for id_, found in join_bands(files, below, rules, notes).items()]
    kinds = {path: _kind(path) for path in files}
    slices = [path for path, kind in kinds.items() if kind == "slice"] if series == "volume" else []
    groups = series_of(slices, notes)
    for path in (path for group in groups for path in group.files):
        del kinds[path]
    single = [Item(below(path), "volume" if kind == "volume" else "image", (path,)) for path, kind in kinds.items()]
    return [*single, *(_from_group(group, below) for group in groups)]


def _from_group(group: Group, below: Callable[[Path], str]) -> Item:
    """Name a series after its folder, and after its UID too where the folder has other DICOM files."""
    folder = below(group.folder / "x").rpartition("/")[0] or shown(group.folder.resolve().name)
    id_ = folder if group.alone else f"{folder}/{shown(group.uid)}"
    return Item(id_, "series", tuple(sorted(group.files, key=lambda path: natural(path.name))))


def _relative_to(base: Path) -> Callable[[Path], str]:
    """Return the function that makes an id of a file: its path below a folder, without extension."""
    folders: dict[Path, str] = {}

    def below(path: Path) -> str:
        folder = path.parent
        if folder not in folders:
            relative = os.path.relpath(_absolute(folder), base)
            folders[folder] = "" if relative == "." else f"{shown(Path(relative).as_posix())}/"
        return f"{folders[folder]}{shown(stem_of(path))}"

    return below


def _require_unique(items: Sequence[Item]) -> None:
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        groups[same_name(item.id)].append(item)
    twins = [group for group in groups.values() if len(group) > 1]
    if twins:
        named = [f"{group[0].id} ({', '.join(shown(item.files[0]) for item in group)})" for group in twins]
        raise DataError(
            f"--input: {counted(len(twins), 'id')} would have several results: {some(named, _MOST_NAMED)}. Rename the "
            "files, or give each an id in a CSV table with the columns image and id."
        )


def _nothing(inputs: Sequence[str], notes: Sequence[str]) -> str:
    names, bracket = [], False
    for text in inputs:
        path = Path(text)
        there = [shown(file.name) for file in contents(path).files] if path.is_dir() else []
        names.append(f"{shown(text)}{f' (there is {some(there)})' if there else ''}")
        bracket |= any("[" in folder.name and folder.is_dir() for folder in path.parents)
    more = f" {'; '.join(notes).capitalize()}." if notes else ""
    more += " In a pattern, the [ of a folder's name is written [[]." if bracket else ""
    return f"--input: no {READ} file in {', '.join(names)}.{more} Name a file, a folder, a pattern or a CSV table."
