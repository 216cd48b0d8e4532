"""GDAL (rasterio) as a writer of files whose failures are seen: it keeps some of them to itself."""

import errno
import importlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from seg_scse.data.files.decoding import decoding
from seg_scse.data.files.raster_files import GDAL_OPTIONS
from seg_scse.data.files.tiff import read_tiff_header
from seg_scse.data.files.tiff_damage import GdalMessages
from seg_scse.errors import ConfigError, DataError

_ENVIRONMENT = {**GDAL_OPTIONS, "GDAL_PAM_ENABLED": "NO"}  # no side file
_ROOM = 1 << 24  # bytes: more than GDAL writes at once


def require_rasterio() -> ModuleType:
    """Import rasterio.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module("rasterio")
    except ImportError as error:
        raise ConfigError(
            'TIFF files are written by rasterio, which is not installed. Run `pip install "seg-scse[geo]"`, or save '
            "label maps as PNG."
        ) from error


@contextmanager
def gdal(path: Path) -> Iterator[ModuleType]:
    """Let GDAL write: whatever it raises or complains of is an `OSError`, with the number of a full disk where it is.

    To be entered for each portion, not once around all: in between the caller computes, and reads files by GDAL too.

    Args:
        path: what is written.

    Returns:
        rasterio.

    Raises:
        ConfigError: rasterio is not installed.
        OSError: it could not be written.
    """
    rasterio = require_rasterio()
    failures = GdalMessages(logging.ERROR)  # a block that cannot be written at the end is only mentioned
    try:
        with failures, decoding, rasterio.Env(**_ENVIRONMENT):
            yield rasterio
    except Exception as error:  # of rasterio, of the system, or of GDAL by private names
        raise _failure(path, str(error)) from error
    if failures.found:
        raise _failure(path, failures.found[0])


def _failure(path: Path, text: str) -> OSError:
    """Find out why GDAL could not write, which it does not say: the system is asked for more room in that file."""
    try:
        with path.open("ab") as file:
            file.write(bytes(_ROOM))
    except OSError as error:
        return error
    return OSError(errno.EIO, f"GDAL: {text}")


def require_complete(path: Path, overviews: int) -> None:
    """Find every block of a TIFF file that was closed: GDAL does not tell when its directory could not be written.

    Args:
        path: of the file.
        overviews: how many reduced copies it must hold.

    Raises:
        OSError: something is missing.
    """
    with gdal(path) as rasterio:
        try:
            with path.open("rb") as stream:
                read_tiff_header(stream, path.stat().st_size)
        except DataError as error:
            raise _failure(path, str(error)) from error
        for level in (None, *range(overviews)):
            with rasterio.open(path, driver="GTiff", overview_level=level) as dataset:
                for band in dataset.indexes:
                    for (row, column), _ in dataset.block_windows(band):
                        dataset.block_size(band, row, column)  # an error where the block was never written
