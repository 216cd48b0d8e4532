"""Predictions that lie in files, one for each sample: finding them, reading them exactly, and writing them."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seg_scse.config.data import DataConfig
from seg_scse.config.masks import IGNORE_INDEX
from seg_scse.data.files.georeference import difference_of_places
from seg_scse.data.files.raster import Place, Raster
from seg_scse.data.files.reading import read_raster, same_channels
from seg_scse.data.listing.claims import stem_below
from seg_scse.data.listing.folders import contents, require_folder
from seg_scse.data.listing.patterns import same_name
from seg_scse.data.masks.values import integers
from seg_scse.data.names import shown
from seg_scse.errors import ConfigError, DataError, numbered
from seg_scse.files import write_bytes

Labels = NDArray[np.uint8]
Encoding = Literal["index", "palette", "binary"]
ENCODINGS: tuple[Encoding, ...] = ("index", "palette", "binary")
"""What the pixels of a prediction are: class indices, palette indices, or above `BINARY_ABOVE` for class 1 of two."""

SUFFIXES = (".png", ".tif", ".tiff", ".npy")
"""Name ends of predictions, compared in lower case; other files are not read."""

BINARY_ABOVE = 127
_THREADS = 8


@dataclass(frozen=True)
class Expected:
    """What the prediction of one sample must be: `(H, W)` of its truth, and the place where that lies, if any."""

    shape: tuple[int, int]
    place: Place | None = None


def highest_value(config: DataConfig) -> int:
    """Return the highest value of a label map: the last class, or all bits of a multilabel one."""
    last = len(config.classes) - 1
    return (1 << last) - 1 if config.task == "multilabel" else last


def require_encoding(encoding: str, config: DataConfig) -> None:
    """Refuse an encoding that cannot hold the classes.

    Raises:
        ConfigError: `binary` for other than two classes, or `palette` or `binary` for multilabel.
    """
    if encoding == "binary" and (len(config.classes) != 2 or config.task == "multilabel"):
        raise ConfigError(
            f"--encoding binary gives two classes, but there are {len(config.classes)} ({', '.join(config.classes)}), "
            f"task {config.task}: use --encoding index."
        )
    if encoding == "palette" and config.task == "multilabel":
        raise ConfigError("--encoding palette: a palette index is one class, but the task is multilabel: use index.")


def prediction_files(folder: Path, ids: Sequence[str], hint: str = "") -> dict[str, Path]:
    """Find the prediction of each sample, `<id>.png`, `.tif`, `.tiff` or `.npy` below a folder, exactly by name.

    Args:
        folder: sub-folders are those of the ids.
        ids: the samples.
        hint: what else a message should propose.

    Returns:
        one file per id, in the order of the ids.

    Raises:
        DataError: a prediction is missing, there are several of one sample, or one of no sample; all are listed.
    """
    found: dict[str, list[Path]] = {}
    for path in contents(require_folder(folder, "predictions")).files:
        if path.suffix.lower() in SUFFIXES:
            found.setdefault(same_name(stem_below(path, folder)), []).append(path)
    names = {same_name(id_): id_ for id_ in ids}
    problems = [
        f"{id_}: no prediction ({id_}{' or '.join(SUFFIXES)})" for key, id_ in names.items() if key not in found
    ]
    problems += [
        f"{shown(path.relative_to(folder))}: belongs to no sample"
        for key, paths in sorted(found.items())
        if key not in names
        for path in paths
    ]
    problems += [
        f"{names[key]}: {len(paths)} predictions, {' and '.join(shown(path.relative_to(folder)) for path in paths)}"
        for key, paths in sorted(found.items())
        if key in names and len(paths) > 1
    ]
    if problems:
        raise DataError(
            f"{shown(folder)}: the files are not the predictions of these {len(ids)} samples, one each, named by the "
            f"sample's id:\n{numbered(problems)}\nAdd what is missing and move the others away.{hint}"
        )
    return {id_: found[key][0] for key, id_ in names.items()}


def read_prediction(path: Path, expected: Expected, encoding: Encoding, config: DataConfig) -> Labels:
    """Read one prediction exactly: no value is changed, cut or rounded.

    Pixels that the file itself declares to hold no prediction, as `seg-scse predict` does where an image has no data,
    count as class 0: the truth of the same image is ignored there.

    Args:
        path: the file.
        expected: size and place of the truth.
        encoding: what its values mean.
        config: `classes`, `task` and `max_pixels` are used.

    Returns:
        uint8 `(H, W)`: class indices, or the bits of a multilabel map.

    Raises:
        DataError: another size, place or encoding, or a value that is no class.
    """
    raster = read_raster(path, config.max_pixels)
    height, width = raster.pixels.shape[:2]
    if (height, width) != expected.shape:
        raise DataError(
            f"{shown(path)}: is {width} x {height} pixels, its truth {expected.shape[1]} x {expected.shape[0]}. Scores "
            "are taken at the truth's size."
        )
    difference = difference_of_places(raster.place, expected.place, expected.shape)
    if difference:
        raise DataError(f"{shown(path)}: lies elsewhere than its image: {difference}.")
    values = _values(raster, path, encoding)
    if encoding == "binary":
        return _above(values, 0 if raster.palette is not None else BINARY_ABOVE, path)
    if _declares_no_data(raster):
        values = np.where(values == IGNORE_INDEX, 0, values)
    highest = highest_value(config)
    strange = [int(value) for value in (values.min(), values.max()) if not 0 <= value <= highest]
    if strange:
        count = int((values == strange[0]).sum())
        raise DataError(
            f"{shown(path)}: holds the value {strange[0]} ({count} pixels), but predictions hold 0 to "
            f"{highest}{_meaning(strange[0], encoding, config)}."
        )
    return values.astype(np.uint8)


def _declares_no_data(raster: Raster) -> bool:
    """Tell whether 255 means no data: by the file's no-data value, or because it is transparent wherever it is."""
    clear = raster.alpha and not raster.pixels[raster.pixels[..., 0] == IGNORE_INDEX, -1].any()
    return bool(raster.nodata == IGNORE_INDEX or clear)


def _above(values: NDArray[np.integer], threshold: int, path: Path) -> Labels:
    """Tell foreground from background; one bit per pixel, whose 1 is white, is above 0."""
    highest = int(values.max())
    if 0 < highest <= threshold:
        raise DataError(
            f"{shown(path)}: no pixel is above {threshold}, though values go up to {highest}: --encoding binary takes "
            "black and white. Use --encoding index if 1 is foreground."
        )
    return (values > threshold).astype(np.uint8)


def _meaning(value: int, encoding: Encoding, config: DataConfig) -> str:
    if config.task == "multilabel":
        return ", one bit for each class after the first"
    if value == IGNORE_INDEX and len(config.classes) == 2 and encoding == "index":
        return ", class indices: if 255 is foreground, use --encoding binary"
    return f", the indices of {', '.join(map(shown, config.classes))}"


def _values(raster: Raster, path: Path, encoding: Encoding) -> NDArray[np.integer]:
    """The one channel `(H, W)` of a file."""
    if (raster.kind == "palette") != (encoding == "palette"):
        cure = "palette" if raster.kind == "palette" else "index"
        has = "has a palette" if raster.kind == "palette" else "has no palette"
        raise DataError(f"{shown(path)}: {has}, but --encoding is {encoding}: use --encoding {cure}.")
    pixels = raster.pixels[..., :-1] if raster.alpha else raster.pixels
    if pixels.shape[2] != 1 and not (raster.kind == "colour" and same_channels(pixels)):
        raise DataError(
            f"{shown(path)}: has {pixels.shape[2]} channels that differ, not one of class indices. A coloured picture "
            "of a prediction cannot be scored: save the label map."
        )
    return integers(pixels[..., 0], path)


def require_readable(
    files: Mapping[str, Path], expected: Callable[[int], Expected], encoding: Encoding, config: DataConfig
) -> None:
    """Read every prediction once, so that all that is wrong is said before anything is scored.

    Args:
        files: from `prediction_files`.
        expected: of the sample at a place in `files`.
        encoding: what the values mean.
        config: as for `read_prediction`.

    Raises:
        DataError: with everything that is wrong.
    """

    def problem(place: int, path: Path) -> str | None:
        try:
            read_prediction(path, expected(place), encoding, config)
        except DataError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(_THREADS) as pool:  # Pillow and NumPy release the interpreter while they decode
        found = pool.map(problem, range(len(files)), files.values())
        problems = [text for text in found if text is not None]
    if problems:
        raise DataError(f"{len(problems)} of {len(files)} predictions cannot be scored:\n{numbered(problems)}")


def write_prediction(folder: Path, sample_id: str, labels: Labels) -> None:
    """Write a label map as `<id>.png`, 8 bits of class index (or bits), complete or absent.

    Raises:
        DataError: the id would lead out of the folder.
        WriteError: the file cannot be written.
    """
    parts = PurePosixPath(sample_id)
    if parts.is_absolute() or ".." in parts.parts:
        raise DataError(f"{shown(sample_id)}: this id leads out of the folder {shown(folder)}: rename the sample.")
    stream = BytesIO()
    Image.fromarray(labels).save(stream, "PNG")
    write_bytes(folder / f"{sample_id}.png", stream.getvalue())
