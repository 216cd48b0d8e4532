"""Decoding and measuring samples in threads, or taking them from the cache."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from seg_scse.config.schema import DataConfig
from seg_scse.data.alike import told_together
from seg_scse.data.cache import cache_folder, cannot_write
from seg_scse.data.entries import Entry, decoding_of, drop_arrays, entry_key, load_entry, make_entry
from seg_scse.data.room import Room
from seg_scse.data.samples import Sample
from seg_scse.data.sets.cards import resolve_card
from seg_scse.errors import DataError, numbered

T = TypeVar("T")
_MOST_PROBLEMS = 200
_ENOUGH_TO_SEE = 5  # where every sample is refused, the declaration is wrong, not the files
_MOST_THREADS = 8


def entry_keys(samples: Sequence[Sample], config: DataConfig) -> tuple[str, ...]:
    """Name of each sample's entry in the cache; `config` without card, or with its values filled in."""
    real_folders: dict[Path, str] = {}
    decoding = decoding_of(config)
    return tuple(entry_key(sample, decoding, real_folders) for sample in samples)


def measure(samples: Sequence[Sample], config: DataConfig, progress: bool = False) -> list[Entry | str]:
    """Read, check and decode samples in one pass, or take them from the cache if their files did not change.

    Where `data.cache_gb` is given, decoded copies are kept up to that limit, first those that are there already; the
    other samples are measured only.

    Args:
        samples: in any order.
        config: the `data` section; a card named in it is resolved first.
        progress: draw a progress bar on stderr.

    Returns:
        For each sample what was measured, or in words what is wrong with it.

    Raises:
        WriteError: the cache cannot be written.
    """
    config = resolve_card(config)
    folder = cache_folder(config) / "samples"
    keys = entry_keys(samples, config)
    room = Room(config.cache_gb)
    found: list[Entry | str | None] = [load_entry(folder, key) for key in keys]
    try:
        for position, entry in enumerate(found):
            if isinstance(entry, Entry) and entry.stored and not room.take(entry.nbytes):
                found[position] = drop_arrays(folder, keys[position], entry)
        todo = [position for position, entry in enumerate(found) if _is_missing(entry, room)]

        def make(position: int) -> Entry | str:
            try:
                return make_entry(samples[position], config, folder, keys[position], room)
            except DataError as error:
                return str(error)

        for position, result in zip(todo, _in_threads(make, todo, progress), strict=True):
            found[position] = result
    except OSError as error:
        raise cannot_write(folder, error) from error
    return [result for result in found if result is not None]


def _is_missing(entry: Entry | str | None, room: Room) -> bool:
    """Tell whether a sample must be decoded: it never was, or its arrays were not kept and now there is room."""
    return not isinstance(entry, Entry) or (not entry.stored and room.holds(entry.nbytes))


def _in_threads(work: Callable[[int], T], items: Sequence[int], progress: bool) -> list[T]:
    """Work in threads: Pillow, NumPy and OpenCV release the interpreter while they decode and count."""
    pool = ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1))
    try:
        jobs = [pool.submit(work, item) for item in items]
        return [job.result() for job in tqdm(jobs, "reading data", unit="image", disable=not progress, leave=False)]
    finally:
        pool.shutdown(cancel_futures=True)


def require_entries(found: Sequence[Entry | str], samples: Sequence[Sample]) -> list[Entry]:
    """Return what was measured.

    Args:
        found: from `measure`.
        samples: the samples, in the same order.

    Raises:
        DataError: samples cannot be used as declared; equal problems of many are told once.
    """
    failed = [(sample, text) for sample, text in zip(samples, found, strict=True) if isinstance(text, str)]
    if failed:
        most = _MOST_PROBLEMS if len(failed) < len(found) else _ENOUGH_TO_SEE
        raise DataError(
            f"{len(failed)} of {len(found)} samples cannot be used:\n{numbered(told_together(failed), most)}\n"
            f"Correct them, or leave samples out with data.exclude."
        )
    return [result for result in found if isinstance(result, Entry)]
