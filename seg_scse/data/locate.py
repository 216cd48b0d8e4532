"""Finding the files of a data set with a card: an extracted folder, its archive, or a drawing by code."""

import hashlib
from pathlib import Path

from seg_scse.config.schema import DataConfig
from seg_scse.data.archives import extract
from seg_scse.data.cache import cache_folder, complete_folder
from seg_scse.data.cards import Card
from seg_scse.data.names import shown
from seg_scse.errors import DataError


def _draw(config: DataConfig) -> Path:
    """Draw the embedded data set into the cache, once for each version of the code that draws it."""
    from seg_scse.data import synthetic  # the one part here that needs OpenCV

    source = Path(str(synthetic.__file__)).read_bytes()
    target = cache_folder(config) / "drawn" / f"synthetic_cells-{hashlib.sha256(source).hexdigest()[:16]}"
    if not target.is_dir():
        with complete_folder(target) as folder:
            synthetic.draw_dataset(folder)
    return target


def _in_folder(root: Path, card: Card) -> Path | None:
    """Return `root`, or the folder in it named as in the archive, if the data are there."""
    places = [root, root / card.archive.folder] if card.archive else [root]
    return next((place for place in places if next(place.glob(card.marker), None) is not None), None)


def _from_archive(archive: Path, card: Card, config: DataConfig, notes: list[str]) -> Path:
    content, sha256 = extract(archive, cache_folder(config))
    if card.archive and card.archive.sha256 not in (None, sha256):
        notes.append(f"{shown(archive.name)} differs from the release that card {config.card} was checked with")
    folder = _in_folder(content, card)
    if folder is None:
        raise DataError(
            f"{shown(archive)}: holds no {card.marker}, so it is not {card.title}. Set data.root to its archive."
        )
    return folder


def locate(card: Card, config: DataConfig, notes: list[str]) -> Path:
    """Return the folder with the files of the card's data set.

    Args:
        card: the data set.
        config: `root` names an extracted folder, an archive, or the folder that holds the archive.
        notes: a line is added where the archive is another release than the card's.

    Raises:
        DataError: no data there; the message says where to get them.
        WriteError: the cache cannot be written.
    """
    if card.generator:
        return _draw(config)
    get = f"Get {card.archive.file if card.archive else 'the data'} from {card.source} and set data.root to its folder."
    if config.root is None:
        raise DataError(f"data.root is not set, and data.card={config.card} needs files. {get}")
    root = Path(config.root).expanduser()
    if root.is_file():
        return _from_archive(root, card, config, notes)
    if not root.is_dir():
        raise DataError(f"data.root: {shown(root)} does not exist. {get}")
    folder = _in_folder(root, card)
    if folder is not None:
        return folder
    if card.archive is None:
        raise DataError(f"data.root: {shown(root)} holds no {card.marker}. {get}")
    archive = root / card.archive.file
    if not archive.is_file():
        raise DataError(f"data.root: {shown(root)} holds neither {archive.name} nor {card.marker}. {get}")
    return _from_archive(archive, card, config, notes)
