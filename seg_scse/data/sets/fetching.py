"""Getting the data of a card ready: what is there is verified, else unpacked, else downloaded, else asked for by hand.

The result is one folder, `ROOT/NAME`, which comes to be in one step when everything in it is whole. A file in it keeps
how much that was, so that a folder which lost files later is noticed.
"""

import fcntl
import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from seg_scse.config.schema import DataConfig
from seg_scse.data.cache import complete_folder
from seg_scse.data.listing.manifest import build_manifest
from seg_scse.data.names import shown
from seg_scse.data.samples import SPLITS
from seg_scse.data.sets.archives import file_sha256, unpack
from seg_scse.data.sets.cards import load_card, short_name
from seg_scse.data.sets.download import Patience
from seg_scse.data.sets.locate import find_folder
from seg_scse.data.sets.partial import not_written
from seg_scse.data.sets.sources import Job, Source, at_hand, by_hand, completed
from seg_scse.errors import ConfigError, DataError
from seg_scse.files import require_writable, write_text

STAMP = ".unpacked.json"
"""In the folder that `prepare` makes: the archives it came from, and its files and bytes."""

_UNFINISHED = ".unfinished"
"""In a folder on its way: a file that is locked as long as the process lives that fills the folder."""


@dataclass(frozen=True)
class Prepared:
    """Data that are ready.

    Attributes:
        card: name of the card, or path of its file.
        root: folder to set `data.root` to; None for drawn data.
        how: `there`, `unpacked`, `downloaded` or `drawn`.
        splits: samples of each split.
        notes: what should be known about them.
    """

    card: str
    root: Path | None
    how: str
    splits: dict[str, int]
    notes: tuple[str, ...]


def _extent(folder: Path) -> dict[str, int]:
    """Count the files in a folder and their bytes; hidden files are nobody's data."""
    files = size = 0
    for place, _, names in os.walk(folder):
        seen = [name for name in names if not name.startswith(".")]
        files += len(seen)
        size += sum((Path(place) / name).lstat().st_size for name in seen)
    return {"files": files, "bytes": size}


def _verified(job: Job, given: Sequence[Path]) -> Path | None:
    """Return the folder of data that are there already."""
    stamp = job.folder / STAMP
    if not stamp.is_file():
        return find_folder(job.folder, job.card) or find_folder(job.root, job.card)
    then, now = json.loads(stamp.read_text(encoding="utf-8")), _extent(job.folder)
    again = f"Remove {shown(job.folder)} and repeat."
    if now["files"] < then["files"] or now["bytes"] < then["bytes"]:
        sizes = f"{then['files']} files, {then['bytes']} bytes; now {now['files']} files, {now['bytes']} bytes"
        raise DataError(f"{shown(job.folder)}: is no longer what was unpacked ({sizes}). {again}")
    for archive in given:
        if file_sha256(archive) not in then["archives"].values():
            raise DataError(f"{shown(job.folder)}: was unpacked from another archive than {shown(archive)}. {again}")
    return job.folder


def _merge(source: Path, target: Path) -> None:
    """Move what is in a folder into another one; of two files with one name the first stays."""
    for entry in sorted(source.iterdir()):
        place = target / entry.name
        if not place.exists():
            entry.rename(place)
        elif entry.is_dir() and place.is_dir():
            _merge(entry, place)


def _unpack_all(job: Job, sources: Sequence[Source], folder: Path) -> dict[str, str]:
    """Unpack archives into one folder; of several, what is in the data folder of each. Return their SHA-256."""
    hashes = {}
    for source in sources:
        place = folder / ".part"
        place.mkdir()
        sha256 = hashes[source.path.name] = unpack(source.path, place, source.facts.nested if source.facts else ())
        if source.facts is not None and source.facts.sha256 not in (None, sha256):
            release = f"SHA-256 expected {source.facts.sha256}, actual {sha256}"
            job.notes.append(f"{shown(source.path.name)} is another release than the card was checked with: {release}")
        inside = place / source.facts.folder if source.facts and len(sources) > 1 else place
        _merge(inside if inside.is_dir() else place, folder)
        shutil.rmtree(place)
    return hashes


def _sweep(job: Job) -> None:
    """Remove what unpackings left behind that were killed: nobody holds their file any more."""
    for left in job.root.glob(f".{escape(job.folder.name)}.*/{_UNFINISHED}"):
        with left.open("r+b") as stream, suppress(BlockingIOError):
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left.parent, ignore_errors=True)


def _unpacked(job: Job, sources: Sequence[Source]) -> Path:
    """Make the folder of the data set, completely or not at all."""
    if job.folder.exists():
        raise DataError(
            f"{shown(job.folder)}: is there, but holds no {job.card.marker}: an unpacking that was cut off, or other "
            "data. Remove it, or choose another --root."
        )
    _sweep(job)
    with complete_folder(job.folder) as folder, (folder / _UNFINISHED).open("wb") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            hashes = _unpack_all(job, sources, folder)
            if find_folder(folder, job.card) is None:
                names = ", ".join(shown(source.path) for source in sources)
                hands = by_hand(job.name, job.card, job.root, job.card.archives)
                raise DataError(f"{names}: holds no {job.card.marker}, so it is not {job.card.title}.\n{hands}")
            write_text(folder / STAMP, json.dumps({"archives": hashes, **_extent(folder)}))
            (folder / _UNFINISHED).unlink()
            folder.chmod(0o755)  # temporary folders are their maker's only
        except OSError as error:
            raise not_written(job.folder, error) from error
    return job.folder


def _climb(job: Job, given: Sequence[Path], allowed: bool, patience: Patience | None) -> tuple[Path, str]:
    """Return the folder of the data and how it came to be."""
    for path in given:
        if not path.is_file():
            raise DataError(f"--archive: {shown(path)} is no file. Check the path.")
    found = _verified(job, given)
    if found is not None:
        return found, "there"
    sources, how = completed(job, at_hand(job, given), allowed, patience)
    require_writable(job.root)
    return _unpacked(job, sources), how


def prepare(
    name: str,
    root: Path | None,
    archives: Sequence[Path] = (),
    allow_download: bool = True,
    patience: Patience | None = None,
) -> Prepared:
    """Get the data of a card ready, and list its samples.

    Args:
        name: name of a card, or path of its file.
        root: folder that holds the data or their archives, or is to hold them; not needed for drawn data.
        archives: archives that lie elsewhere.
        allow_download: fetch what is missing and has a direct link.
        patience: how long to go on with a bad connection.

    Returns:
        the folder to set `data.root` to, and the samples of each split.

    Raises:
        ConfigError: unknown card, or no root.
        DataError: what is there is damaged or something else, or must be fetched by hand; the message says how.
        WriteError: the root cannot be written.
    """
    card = load_card(name)
    if card.generator:
        return _listed(Job(name, card, Path()), None, "drawn")
    if root is None:
        raise ConfigError(f"--root DIR is missing: the folder in which {name} is, or is to be.")
    job = Job(name, card, root.expanduser().absolute())
    return _listed(job, *_climb(job, [path.expanduser() for path in archives], allow_download, patience))


def _listed(job: Job, folder: Path | None, how: str) -> Prepared:
    """List the samples of data that are ready; fewer than the card knows are named."""
    manifest = build_manifest(DataConfig(card=job.name, root=None if folder is None else str(folder)))
    counts = Counter(sample.split for sample in manifest.samples)
    known, images = job.card.images, len({sample.image for sample in manifest.samples})
    if images < known:
        job.notes.append(f"{images} of the {known} images on the card are there; the others are missing or left out")
    splits = {split: counts[split] for split in SPLITS}
    return Prepared(job.name, folder, how, splits, (*job.notes, *manifest.notes))


def state(name: str, root: Path) -> str:
    """Say how far `prepare` would have to go: `ready`, `archive there`, `part there` or `missing`."""
    card, folder = load_card(name), root / short_name(name)
    if card.generator or (folder / STAMP).is_file() or find_folder(folder, card):
        return "ready"
    there = [(root / facts.file).is_file() or (folder / facts.file).is_file() for facts in card.archives]
    return "archive there" if there and all(there) else "part there" if any(there) else "missing"
