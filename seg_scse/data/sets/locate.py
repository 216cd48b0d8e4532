"""Finding the files of a data set with a card: an extracted folder, its archives, or a drawing by code."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from seg_scse.config.schema import DataConfig
from seg_scse.data.cache import cache_folder, complete_folder
from seg_scse.data.names import shown
from seg_scse.data.sets.archives import extract
from seg_scse.data.sets.cards import Archive, Card, short_name
from seg_scse.errors import DataError


def _draw(config: DataConfig) -> Path:
    """Draw the embedded data set into the cache, once for each version of the code that draws it."""
    from seg_scse.data.sets import synthetic  # the one part here that needs OpenCV

    source = Path(str(synthetic.__file__)).read_bytes()
    target = cache_folder(config) / "drawn" / f"synthetic_cells-{hashlib.sha256(source).hexdigest()[:16]}"
    if not target.is_dir():
        with complete_folder(target) as folder:
            synthetic.draw_dataset(folder)
    return target


def how_to_get(card: Card) -> str:
    """Say in one line what to fetch from where, and what a person must do before and after."""
    files = " and ".join(archive.file for archive in card.archives) or "the files"
    before = f" ({card.registration.rstrip('.')})" if card.registration else ""
    after = f" Then: {' '.join(card.steps)}" if card.steps else ""
    return f"Get {files} from {card.source}{before}.{after} Set data.root to the folder that holds them."


def find_folder(root: Path, card: Card) -> Path | None:
    """Return the folder with the extracted data: `root`, or the one in it named as in an archive or by `also`.

    The marker of the card tells whether the data are there; no other folder is searched.
    """
    names = dict.fromkeys(["", *(archive.folder for archive in card.archives), *card.also])
    return next((root / name for name in names if next((root / name).glob(card.marker), None) is not None), None)


def _merge(sources: Sequence[Path], target: Path) -> None:
    """Link the entries of several folders into one; folders that are in more than one are merged."""
    entries: dict[str, list[Path]] = {}
    for source in sources:
        for entry in sorted(source.iterdir()):
            entries.setdefault(entry.name, []).append(entry)
    for name, found in entries.items():
        if len(found) > 1 and all(entry.is_dir() for entry in found):
            (target / name).mkdir()
            _merge(found, target / name)
        else:
            (target / name).symlink_to(found[0])


def _contents(found: Sequence[tuple[Path, Archive | None]], config: DataConfig, notes: list[str]) -> list[Path]:
    """Extract archives into the cache; return the folder inside each that holds its part of the data."""
    contents = []
    for path, facts in found:
        content, sha256 = extract(path, cache_folder(config), facts.nested if facts else ())
        if facts is not None and facts.sha256 not in (None, sha256):
            notes.append(
                f"{shown(path.name)} differs from the release that card {config.card} was checked with: "
                f"SHA-256 expected {facts.sha256}, actual {sha256}"
            )
        inside = content / facts.folder if facts is not None else content
        contents.append(inside if inside.is_dir() else content)
    return contents


def _from_archives(
    found: Sequence[tuple[Path, Archive | None]], card: Card, config: DataConfig, notes: list[str]
) -> Path:
    contents = _contents(found, config, notes)
    merged = contents[0]
    if len(contents) > 1:
        key = hashlib.sha256("\0".join(map(str, contents)).encode(errors="surrogateescape")).hexdigest()[:16]
        merged = cache_folder(config) / "merged" / key
        if not merged.is_dir():
            with complete_folder(merged) as folder:
                _merge(contents, folder)
    data = find_folder(merged, card)
    if data is None:
        names = " and ".join(shown(path) for path, _ in found)
        raise DataError(f"{names}: holds no {card.marker}, so it is not {card.title}. {how_to_get(card)}")
    return data


def _given_archive(path: Path, card: Card) -> list[tuple[Path, Archive | None]]:
    """One archive that the user names: by its name the card's, else any; with further ones beside it."""
    facts = next((archive for archive in card.archives if archive.file == path.name), None)
    if facts is None:
        return [(path, card.archives[0] if len(card.archives) == 1 else None)]
    beside = ((path.parent / archive.file, archive) for archive in card.archives)
    return [(file, archive) for file, archive in beside if file.is_file()]


def locate(card: Card, config: DataConfig, notes: list[str]) -> Path:
    """Return the folder with the files of the card's data set.

    Args:
        card: the data set.
        config: `root` names an extracted folder, an archive, or the folder that holds the archives or the folder that
            `data prepare` made.
        notes: a line is added where the archive is another release than the card's, or is not there.

    Raises:
        DataError: no data there, or a step by hand was not done; the message says what to fetch from where, and where
            to put it.
        WriteError: the cache cannot be written.
    """
    if card.generator:
        return _draw(config)
    folder = _found(card, config, notes)
    if card.made is not None and next(folder.glob(card.made), None) is None:
        raise DataError(f"{shown(folder)}: holds no {card.made} yet. By hand: {' '.join(card.steps)}")
    return folder


def _found(card: Card, config: DataConfig, notes: list[str]) -> Path:
    get = how_to_get(card)
    if config.root is None:
        raise DataError(f"data.root is not set, and data.card={config.card} needs files. {get}")
    root = Path(config.root).expanduser()
    if root.is_file():
        return _from_archives(_given_archive(root, card), card, config, notes)
    if not root.is_dir():
        raise DataError(f"data.root: {shown(root)} does not exist. {get}")
    folder = find_folder(root, card) or find_folder(root / short_name(str(config.card)), card)
    if folder is not None:
        return folder
    found = [(root / archive.file, archive) for archive in card.archives if (root / archive.file).is_file()]
    if not found:
        what = ", ".join(archive.file for archive in card.archives)
        raise DataError(
            f"data.root: {shown(root)} holds {f'neither {what} nor' if what else 'no'} {card.marker}. {get}"
        )
    missing = [archive.file for archive in card.archives if not (root / archive.file).is_file()]
    if missing:
        notes.append(f"{', '.join(missing)} of card {config.card} not found in {shown(root)}")
    return _from_archives(found, card, config, notes)
