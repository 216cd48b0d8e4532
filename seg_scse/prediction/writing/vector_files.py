"""Files of features in two formats, written some features at a time, so that none is held in memory."""

import errno
import io
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_scse.errors import DataError
from seg_scse.files import atomic_path, atomic_stream

LAYER = "regions"
"""Name of the layer of a GeoPackage."""

_NO_ROOM = 1 << 23  # bytes that are free where SQLite, which gives no reason, is taken to have failed for want of room
_OWN_FILES = ("", "-journal", "-wal", "-shm")  # of SQLite

Column = NDArray[Any]


@dataclass(frozen=True)
class FeatureTable:
    """Some features.

    Attributes:
        polygons: object (N,), shapely polygons in the coordinates of `crs`.
        columns: the properties by name, each (N,).
        crs: as `EPSG:32750` or WKT.
    """

    polygons: NDArray[np.object_]
    columns: dict[str, Column]
    crs: str


def write_geojson(path: Path, tables: Iterable[FeatureTable], decimals: int, description: str) -> None:
    """Write GeoJSON by RFC 7946, in which coordinates are brought to WGS 84 and cut at the date line.

    Args:
        path: complete or absent.
        tables: the features. A text that is an object in JSON is written as one.
        decimals: of the coordinates.
        description: says in the file what it is.

    Raises:
        WriteError: the file cannot be written.
    """
    head = {"type": "FeatureCollection", "name": path.stem, "description": description}
    with atomic_stream(path) as stream:
        stream.write(f'{json.dumps(head)[:-1]}, "features": ['.encode())
        separator = b"\n"
        for table in tables:
            part = io.BytesIO()
            if len(table.polygons):
                _write(part, table, driver="GeoJSONSeq", COORDINATE_PRECISION=decimals)
            for line in part.getvalue().splitlines():
                stream.write(separator + line)
                separator = b",\n"
        stream.write(b"\n]}\n")


def write_geopackage(path: Path, tables: Iterable[FeatureTable]) -> None:
    """Write a GeoPackage of one layer, in the reference system of the features.

    Args:
        path: complete or absent.
        tables: the features; at least one table, which may be empty.

    Raises:
        WriteError: the file cannot be written.
    """
    with atomic_path(path) as temporary:
        named = temporary.with_name(f"{temporary.name}.gpkg")  # GDAL warns of any other ending
        try:
            for table in tables:
                _add(named, table)
            named.replace(temporary)
        finally:
            for own in _OWN_FILES:
                named.with_name(named.name + own).unlink(missing_ok=True)


def _add(path: Path, table: FeatureTable) -> None:
    from pyogrio.errors import DataSourceError

    try:
        _write(str(path), table, driver="GPKG", layer=LAYER, append=path.exists())
    except DataSourceError as error:
        full = shutil.disk_usage(path.parent).free < _NO_ROOM
        raise OSError(errno.ENOSPC if full else errno.EIO, str(error)) from error


def _write(target: io.BytesIO | str, table: FeatureTable, **options: Any) -> None:  # noqa: ANN401 - of the format
    import shapely
    from pyogrio.errors import CRSError
    from pyogrio.raw import write

    values, names = list(table.columns.values()), list(table.columns)
    corners = shapely.to_wkb(table.polygons)
    try:
        write(target, corners, values, names, geometry_type="Polygon", crs=table.crs, **options)
    except CRSError as error:
        raise DataError(f"polygons cannot be written in the reference system {table.crs[:120]} ({error}).") from error
