"""Which DICOM files are the slices of one volume, told from their headers."""

import importlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from seg_scse.data.files.decoding import decoding, missing

_TAGS = ["SeriesInstanceUID", "ImagePositionPatient"]


class Group(NamedTuple):
    """Files of one series in one folder.

    Attributes:
        folder: where they are.
        uid: SeriesInstanceUID.
        files: at least two.
        alone: no other file of the folder is DICOM.
    """

    folder: Path
    uid: str
    files: tuple[Path, ...]
    alone: bool


def series_of(files: Sequence[Path], notes: list[str]) -> list[Group]:
    """Group DICOM files by folder and series; files of a series without positions in space are images.

    Args:
        files: DICOM files. The headers of those that have others beside them are read.
        notes: what was decided is added here.

    Raises:
        DataError: pydicom is not installed.
    """
    folders: dict[Path, list[Path]] = defaultdict(list)
    for path in files:
        folders[path.parent].append(path)
    groups, flat = [], 0
    for folder, inside in folders.items():
        if len(inside) < 2:
            continue
        found: dict[str, list[tuple[Path, bool]]] = defaultdict(list)
        for path in inside:
            uid, placed = _read(path)
            found[uid].append((path, placed))
        for uid, slices in found.items():
            if not uid or len(slices) < 2:
                continue
            if not all(placed for _, placed in slices):
                flat += 1
                continue
            groups.append(Group(folder, uid, tuple(path for path, _ in slices), len(slices) == len(inside)))
    if flat:
        notes.append(f"{flat} DICOM series without ImagePositionPatient, so no volume: each of their files is an image")
    return groups


def _read(path: Path) -> tuple[str, bool]:
    """Return the series of a file and whether it has a position in space; nothing where its header is damaged."""
    try:
        pydicom = importlib.import_module("pydicom")
    except ImportError:
        raise missing("pydicom", "medical", "DICOM") from None
    try:
        with decoding:
            dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
        return str(dataset.get("SeriesInstanceUID") or ""), bool(dataset.get("ImagePositionPatient"))
    except Exception:  # it raises a dozen kinds; who reads the file says what is wrong
        return "", False
