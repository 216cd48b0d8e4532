"""Finished strips of one item as files: a scene goes on where it was stopped, and several processes share it."""

import hashlib
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from seg_scse.data.names import shown
from seg_scse.errors import DataError
from seg_scse.files import atomic_stream

Array = NDArray[Any]

_SUFFIX = ".npz"
_FAST = 1  # deflate level of label maps, which shrink to a hundredth at any


class StripStore:
    """The strips of one item, each one complete file or none.

    Processes on any number of machines may write different strips at once; the same strip written twice is replaced by
    the same bytes. Strips lie in a sub-folder named by what they belong to, so that those of other settings are never
    taken for these.

    Attributes:
        rows: rows of the image in each strip, in order and without gaps.
        width: of the image, pixels.
    """

    def __init__(self, folder: Path, rows: Sequence[slice], width: int, fingerprint: str) -> None:
        """Open the store; strips of another fingerprint, of other rows or of another width are removed.

        Args:
            folder: of this item alone; made when the first strip is written.
            rows: of each strip.
            width: of the image, pixels.
            fingerprint: of the input and of all settings that the strips depend on.
        """
        self.rows, self.width = tuple(rows), width
        parts = [fingerprint, str(width), *(f"{part.start}:{part.stop}" for part in rows)]
        self._home = folder
        self._folder = folder / hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
        self._remove_others()

    def _remove_others(self) -> None:
        with suppress(FileNotFoundError):
            for other in self._home.iterdir():
                if other != self._folder:
                    shutil.rmtree(other, ignore_errors=True)

    def _path(self, index: int) -> Path:
        return self._folder / f"{index:06}{_SUFFIX}"

    def missing(self) -> list[int]:
        """Return the numbers of the strips that are not finished, in order."""
        found: set[str] = set()
        with suppress(FileNotFoundError):
            found = {path.name for path in self._folder.iterdir()}
        return [index for index in range(len(self.rows)) if self._path(index).name not in found]

    def write(self, index: int, arrays: Mapping[str, Array]) -> None:
        """Write one strip: all its arrays at once, or nothing.

        Args:
            index: number of the strip.
            arrays: by name; (..., h, W), where h and W are those of the strip.

        Raises:
            WriteError: it cannot be written, or the disk is full.
            ValueError: an array has another size than the strip.
        """
        size = (self.rows[index].stop - self.rows[index].start, self.width)
        wrong = [f"{name} {array.shape}" for name, array in arrays.items() if array.shape[-2:] != size]
        if wrong:
            raise ValueError(f"strip {index} is {size} large, not {', '.join(wrong)}")
        with (
            atomic_stream(self._path(index)) as stream,
            zipfile.ZipFile(cast("IO[bytes]", stream), "w", compresslevel=_FAST) as archive,
        ):
            for name, array in arrays.items():
                archive.compression = zipfile.ZIP_DEFLATED if array.dtype == np.uint8 else zipfile.ZIP_STORED
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)

    def read(self, index: int, name: str) -> Array:
        """Read one array of a finished strip.

        Raises:
            DataError: the strip is missing or damaged.
        """
        path = self._path(index)
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                array: Array = archive[name]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{shown(path)}: the {name} of this strip cannot be read ({shown(str(error))}). Remove this file, and "
                "predict again: only this strip is computed."
            ) from error
        return array

    def strips(self, name: str) -> Iterator[Array]:
        """Read one array of all strips, from the top to the bottom, one at a time.

        Raises:
            DataError: a strip is missing or damaged.
        """
        for index in range(len(self.rows)):
            yield self.read(index, name)
