"""One decoded sample in the cache: two arrays that are mapped into memory, and a line of facts about them."""

import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from seg_scse.config.schema import DataConfig
from seg_scse.data.masks import read_mask
from seg_scse.data.names import shown
from seg_scse.data.reading import Pixels, decode_image
from seg_scse.data.samples import Sample
from seg_scse.errors import DataError

_FORMAT = 2  # raise it when decoding or this layout changes, so that older entries are made again
_HEADER = threading.Lock()  # np.load parses a header by `ast`, which on Python 3.11 fails at times in several threads
_DECODING = ("mask", "channels", "alpha", "max_pixels")


@dataclass(frozen=True)
class Entry:
    """Facts about one decoded sample.

    Attributes:
        shape: `(H, W, C)` of the image.
        image_digest: SHA-256 of the image's shape and pixels.
        mask_digest: the same of the mask.
        sums: sum of each channel's values, 0 to 255.
        squares: sum of each channel's squared values.
        class_pixels: mask value -> pixels.
        facts: what was done to the image.
    """

    shape: tuple[int, int, int]
    image_digest: str
    mask_digest: str
    sums: tuple[int, ...]
    squares: tuple[int, ...]
    class_pixels: dict[int, int]
    facts: tuple[str, ...]


def _digest(pixels: Pixels) -> str:
    return hashlib.sha256(f"{pixels.shape}".encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()


def _measure(image: Pixels, mask: Pixels, facts: tuple[str, ...]) -> Entry:
    histograms = [np.bincount(image[..., channel].ravel(), minlength=256) for channel in range(image.shape[2])]
    values = np.arange(256)
    classes = np.bincount(mask.ravel(), minlength=256)
    height, width, channels = image.shape
    return Entry(
        shape=(height, width, channels),
        image_digest=_digest(image),
        mask_digest=_digest(mask),
        sums=tuple(int(histogram @ values) for histogram in histograms),
        squares=tuple(int(histogram @ values**2) for histogram in histograms),
        class_pixels={int(value): int(classes[value]) for value in classes.nonzero()[0]},
        facts=facts,
    )


def decoding_of(config: DataConfig) -> str:
    """The part of the configuration that decides how files are decoded, as text for `entry_key`."""
    decoding = {name: value for name, value in config.model_dump(mode="json").items() if name in _DECODING}
    return json.dumps([_FORMAT, len(config.classes), decoding], sort_keys=True)


def entry_key(sample: Sample, decoding: str, real_folders: dict[Path, str]) -> str:
    """Hash of path, size and time of change of the sample's files and of how they are decoded.

    Args:
        sample: its files need not exist.
        decoding: from `decoding_of`.
        real_folders: resolved folders, filled here: resolving each of many files again is slow.
    """
    text = hashlib.sha256(decoding.encode())
    for path in (sample.image, *sample.masks):
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
    stem = folder / key[:2] / key
    return stem.with_suffix(".json"), stem.with_suffix(".image.npy"), stem.with_suffix(".mask.npy")


def _write(path: Path, content: Pixels | bytes) -> None:
    """Write beside and rename. Not flushed to the disk: a cache that a power cut damages is found out and redone."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as stream:
        try:
            if isinstance(content, bytes):
                stream.write(content)
            else:
                np.save(stream, content, allow_pickle=False)
            stream.close()
            Path(stream.name).replace(path)
        except BaseException:
            Path(stream.name).unlink(missing_ok=True)
            raise


def map_array(path: Path, shape: tuple[int, ...]) -> Pixels:
    """Map an array of the cache into memory, read-only; no file stays open.

    Raises:
        OSError: missing or unreadable.
        ValueError: not the array that was written.
    """
    with _HEADER:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.shape != shape or array.dtype != np.uint8:
        raise ValueError(f"{path}: {array.dtype} {array.shape} instead of uint8 {shape}")
    return np.asarray(array)


def _parse(data: Mapping[str, Any]) -> Entry:
    values = {field.name: data[field.name] for field in fields(Entry)}
    for name in ("shape", "sums", "squares", "facts"):
        values[name] = tuple(values[name])
    values["class_pixels"] = {int(value): count for value, count in values["class_pixels"].items()}
    return Entry(**values)


def load_entry(folder: Path, key: str) -> Entry | None:
    """Return a complete entry of the cache, or None where there is none or it cannot be used."""
    facts, image, mask = entry_paths(folder, key)
    try:
        entry = _parse(json.loads(facts.read_bytes()))
        map_array(image, entry.shape)
        map_array(mask, entry.shape[:2])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError):
        return None
    return entry


def make_entry(sample: Sample, config: DataConfig, folder: Path, key: str) -> Entry:
    """Decode a sample and store it; the facts are written last, so that an entry is complete or absent.

    Raises:
        DataError: image or mask cannot be used as declared.
        OSError: the cache cannot be written.
    """
    image, facts = decode_image(sample.image, config)
    mask = read_mask(sample.masks, sample.image, (image.shape[0], image.shape[1]), config)
    entry = _measure(image, mask, facts)
    facts_path, image_path, mask_path = entry_paths(folder, key)
    facts_path.parent.mkdir(parents=True, exist_ok=True)
    _write(image_path, image)
    _write(mask_path, mask)
    _write(facts_path, json.dumps(asdict(entry)).encode())
    return entry


def read_array(path: Path, shape: tuple[int, ...], sample: Sample) -> Pixels:
    """`map_array`, with an error that names the sample whose cached copy was damaged or removed.

    Raises:
        DataError: the entry is no longer there.
    """
    try:
        return map_array(path, shape)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{sample.id} ({shown(sample.image)}): its decoded copy {shown(path)} was removed or changed ({error}). "
            f"Start again: it will be decoded anew."
        ) from error
