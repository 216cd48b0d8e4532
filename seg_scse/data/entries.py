"""One decoded sample in the cache: two arrays that are mapped into memory, and facts about them."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from seg_scse.config.schema import IGNORE_INDEX, DataConfig
from seg_scse.data.array_files import is_complete, map_array, npy_header, replacing
from seg_scse.data.bands import BandCounter, BandStatistics, Number, Valid, strips
from seg_scse.data.files.pictures import Picture, open_picture
from seg_scse.data.files.raster import Array, Place
from seg_scse.data.masks.reading import read_mask
from seg_scse.data.names import shown
from seg_scse.data.room import Room
from seg_scse.data.samples import Sample
from seg_scse.errors import DataError

Mask = NDArray[np.uint8]

FILLED = "have pixels without data, which are ignored and filled with the mean of their band"
_FORMAT = 3  # raise it when decoding or this layout changes, so that older entries are made again
_DECODING = ("mask", "task", "channels", "bands", "use", "alpha", "nodata", "max_pixels")


@dataclass(frozen=True)
class Entry:
    """Facts about one decoded sample; numbers per band are in the file's units, over its valid pixels.

    Attributes:
        shape: `(H, W, C)` of the image.
        dtype: type of its pixels, one of `raster.DTYPES`.
        image_digest: SHA-256 of the image's shape and pixels.
        mask_digest: the same of the mask.
        valid: pixels that hold data.
        sums: sum of each band's values.
        squares: sum of each band's squared values.
        minima: lowest value of each band.
        maxima: highest value of each band.
        fill: value of each band at pixels without data: its mean, rounded for integers.
        class_pixels: mask value -> pixels; of a multilabel mask class -> pixels, with 0 for pixels in none.
        facts: what was done to the image.
        place: where the image lies, where its file says so.
        stored: whether the decoded arrays are kept beside these facts; else they are read from their files.
    """

    shape: tuple[int, int, int]
    dtype: str
    image_digest: str
    mask_digest: str
    valid: int
    sums: tuple[Number, ...]
    squares: tuple[Number, ...]
    minima: tuple[Number, ...]
    maxima: tuple[Number, ...]
    fill: tuple[Number, ...]
    class_pixels: dict[int, int]
    facts: tuple[str, ...]
    place: Place | None
    stored: bool

    @property
    def pixels(self) -> int:
        """Pixels of the image, valid or not."""
        return self.shape[0] * self.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes of the decoded image and mask."""
        return decoded_bytes(self.shape, self.dtype)


def decoded_bytes(shape: tuple[int, int, int], dtype: str) -> int:
    """Bytes of an image of this shape and type and of its mask."""
    return shape[0] * shape[1] * (shape[2] * np.dtype(dtype).itemsize + 1)


def decoding_of(config: DataConfig) -> str:
    """The part of the configuration that decides how files are decoded, as text for `entry_key`."""
    decoding = {name: value for name, value in config.model_dump(mode="json").items() if name in _DECODING}
    named = config.mask.encoding in ("polygons", "rle")  # their files name the classes, others only count them
    classes = list(config.classes) if named else len(config.classes)
    volume = config.volume
    slices = [volume.plane, volume.neighbours] if volume.neighbours else volume.plane
    return json.dumps([_FORMAT, classes, slices, decoding], sort_keys=True)


def entry_key(sample: Sample, decoding: str, real_folders: dict[Path, str]) -> str:
    """Hash of path, size and time of change of the sample's files and of how they are decoded.

    Args:
        sample: its files need not exist.
        decoding: from `decoding_of`.
        real_folders: resolved folders, filled here: resolving each of many files again is slow.
    """
    text = hashlib.sha256(f"{decoding}\0{sample.plane}\0{sample.label!r}".encode(errors="surrogateescape"))
    for path in sample.files:
        folder = path.parent
        if folder not in real_folders:
            real_folders[folder] = os.path.realpath(folder)
        try:
            status = path.stat()
            state = f"{status.st_size}:{status.st_mtime_ns}"
        except OSError:
            state = "missing"
        text.update(f"\0{real_folders[folder]}/{path.name}:{state}".encode(errors="surrogateescape"))
    return text.hexdigest()


def entry_paths(folder: Path, key: str) -> tuple[Path, Path, Path]:
    """Files of an entry: facts, image and mask."""
    stem = f"{folder}/{key[:2]}/{key}"
    return Path(f"{stem}.json"), Path(f"{stem}.image.npy"), Path(f"{stem}.mask.npy")


def _parse(data: Mapping[str, Any]) -> Entry:
    values = {field.name: data[field.name] for field in fields(Entry)}
    for name in ("shape", "sums", "squares", "minima", "maxima", "fill", "facts"):
        values[name] = tuple(values[name])
    values["class_pixels"] = {int(value): count for value, count in values["class_pixels"].items()}
    place = values["place"]
    if place is not None:
        transform = place["transform"] and tuple(place["transform"])
        values["place"] = Place(place["crs"], transform, tuple(place["spacing"]), place["unit"])
    return Entry(**values)


def load_entry(folder: Path, key: str) -> Entry | None:
    """Return a complete entry of the cache, or None where there is none or it cannot be used."""
    facts, image, mask = entry_paths(folder, key)
    try:
        entry = _parse(json.loads(facts.read_bytes()))
        complete = not entry.stored or (
            is_complete(image, entry.shape, entry.dtype) and is_complete(mask, entry.shape[:2], "uint8")
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return entry if complete else None


def _write_facts(path: Path, entry: Entry) -> None:
    place = entry.place and asdict(entry.place)
    with replacing(path) as stream:
        stream.write(json.dumps({**vars(entry), "place": place}).encode())


def make_entry(sample: Sample, config: DataConfig, folder: Path, key: str, room: Room) -> Entry:
    """Decode a sample, measure it, and store it where there is room.

    The facts are written last, so that an entry is complete or absent.

    Raises:
        DataError: image or mask cannot be used as declared.
        OSError: the cache cannot be written.
    """
    facts_path, image_path, mask_path = entry_paths(folder, key)
    facts_path.parent.mkdir(parents=True, exist_ok=True)
    with open_picture(sample, config) as picture:
        mask = read_mask(sample, picture.shape[:2], picture.place, config)
        stored = room.take(decoded_bytes(picture.shape, picture.dtype))
        if stored:
            with replacing(image_path) as stream:
                statistics, valid = copy_picture(picture, stream)
        else:
            statistics, valid = copy_picture(picture, None)
        if valid is not None:
            mask = np.where(valid, mask, np.uint8(IGNORE_INDEX))
        entry = describe(picture, statistics, mask, config.task == "multilabel", stored)
    if stored:
        with replacing(mask_path) as stream:
            stream.write(npy_header(mask.shape, "uint8"))
            stream.write(np.ascontiguousarray(mask).data)
    _write_facts(facts_path, entry)
    return entry


def copy_picture(picture: Picture, out: IO[bytes] | None) -> tuple[BandStatistics, Valid | None]:
    """Decode an image strip by strip.

    Args:
        picture: the image.
        out: stream of an array file to write it to, with pixels without data filled; None only measures.

    Returns:
        statistics, and which pixels hold data, `(H, W)`; None where all do.

    Raises:
        DataError: the file cannot be decoded.
        OSError: the stream cannot be written.
    """
    (height, width, _), dtype = picture.shape, picture.dtype
    counter = BandCounter(picture.shape, dtype)
    whole: Valid | None = None
    if out is not None:
        out.write(npy_header(picture.shape, dtype))
    for rows in strips(height, width):
        pixels, valid = picture.read(rows, slice(0, width))
        if valid is not None and not valid.all():
            whole = np.ones((height, width), np.bool_) if whole is None else whole
            whole[rows], pixels = valid, np.where(valid[..., None], pixels, pixels.dtype.type(0))
        else:
            valid = None
        counter.add(pixels, valid)
        if out is not None:  # by writing, not by a map: a full disk is then an error and no crash
            out.write(pixels.data)
    statistics = counter.result()
    if out is not None and whole is not None:
        out.flush()
        _fill(Path(out.name), picture, whole, statistics.fill(dtype))
    return statistics, whole


def _fill(path: Path, picture: Picture, valid: Valid, fill: tuple[Number, ...]) -> None:
    offset = len(npy_header(picture.shape, picture.dtype))
    image = np.memmap(path, picture.dtype, "r+", offset, picture.shape)
    for rows in strips(*valid.shape):
        image[rows][~valid[rows]] = np.array(fill, image.dtype)


def describe(picture: Picture, found: BandStatistics, mask: Mask, multilabel: bool, stored: bool) -> Entry:
    """Put together what is known about a sample; `mask` (H, W) is ignored where the image holds no data."""
    height, width, _ = picture.shape
    mask_digest, counts = _digest_and_counts(mask)
    return Entry(
        shape=picture.shape,
        dtype=picture.dtype,
        image_digest=found.digest,
        mask_digest=mask_digest,
        valid=found.pixels,
        sums=found.sums,
        squares=found.squares,
        minima=found.minima,
        maxima=found.maxima,
        fill=found.fill(picture.dtype),
        class_pixels=_class_pixels(counts, multilabel),
        facts=picture.facts if found.pixels == height * width else (*picture.facts, FILLED),
        place=picture.place,
        stored=stored,
    )


def _digest_and_counts(mask: Mask) -> tuple[str, NDArray[np.int64]]:
    """SHA-256 of a mask's shape and pixels, and how many pixels have each value."""
    digest, counts = hashlib.sha256(f"{mask.shape}".encode()), np.zeros(256, np.int64)
    for rows in strips(*mask.shape):  # bincount makes eight bytes of one
        strip = np.ascontiguousarray(mask[rows])
        digest.update(strip.data)
        counts += np.bincount(strip.ravel(), minlength=256)
    return digest.hexdigest(), counts


def _class_pixels(counts: NDArray[np.int64], multilabel: bool) -> dict[int, int]:
    values = counts.nonzero()[0].tolist()
    if not multilabel:
        return {value: int(counts[value]) for value in values}
    found = {0: int(counts[0]), IGNORE_INDEX: int(counts[IGNORE_INDEX])}
    for label in range(1, 8):
        having = [value for value in values if value != IGNORE_INDEX and value >> (label - 1) & 1]
        found[label] = int(counts[having].sum())
    return {label: pixels for label, pixels in found.items() if pixels}


def drop_arrays(folder: Path, key: str, entry: Entry) -> Entry:
    """Remove the arrays of an entry and keep its facts."""
    facts, image, mask = entry_paths(folder, key)
    kept = replace(entry, stored=False)
    _write_facts(facts, kept)
    image.unlink(missing_ok=True)
    mask.unlink(missing_ok=True)
    return kept


def read_array(path: Path, shape: tuple[int, ...], dtype: str, sample: Sample) -> Array:
    """`map_array`, with an error that names the sample whose cached copy was damaged or removed.

    Raises:
        DataError: the entry is no longer there.
    """
    try:
        return map_array(path, shape, dtype)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{sample.id} ({shown(sample.image)}): its decoded copy {shown(path)} was removed or changed ({error}). "
            f"Start again: it will be decoded anew."
        ) from error
