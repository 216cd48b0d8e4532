"""Predictions of volumes as NIfTI files: with the shape, affine, codes and axes of what was predicted."""

import gzip
import io
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from seg_scse.data.files.volumes import Header
from seg_scse.errors import ConfigError
from seg_scse.files import atomic_stream

Intent = Literal["label", "none"]
_COMMENT = 6  # NIfTI's code of an extension of plain text
_LEVEL = 4  # of gzip: label maps become smaller than by 1 in the same time; 9 takes five times as long


class _Output(Protocol):
    def write(self, data: bytes, /) -> object: ...


def volume_suffix(path: Path) -> str:
    """Return `.nii.gz` or `.nii`, the end of a NIfTI file's name.

    Raises:
        ConfigError: another name.
    """
    name = path.name.lower()
    for suffix in (".nii.gz", ".nii"):
        if name.endswith(suffix):
            return suffix
    raise ConfigError(f"{path}: the prediction of a volume is a NIfTI file: name it .nii.gz or .nii.")


def write_nifti(
    path: Path, array: NDArray[Any], header: Header, facts: Mapping[str, Any], intent: Intent = "none"
) -> None:
    """Write a volume on the grid of another, complete or not at all, and the same bytes each time.

    Args:
        path: the file, `.nii` or `.nii.gz`.
        array: `(X, Y, Z)` or `(X, Y, Z, N)` in the axes of the file that was predicted.
        header: of that file; affine, qform and sform codes, units and description of the axes are taken from it.
        facts: what the values mean, in plain JSON types; kept in a comment of the file.
        intent: `label`: the values are names, not amounts, so that programs do not interpolate them.

    Raises:
        ConfigError: the name ends otherwise.
        WriteError: the file cannot be written.
    """
    compressed = volume_suffix(path) == ".nii.gz"
    head, dtype = _header(array, header, facts, intent)
    with atomic_stream(path) as stream:
        # no name and no time, so that the same prediction is the same file
        packed: AbstractContextManager[Any] = (
            gzip.GzipFile("", "wb", _LEVEL, fileobj=cast(Any, stream), mtime=0) if compressed else nullcontext(stream)
        )
        with packed as out:
            _write(out, head, array, dtype)


def _write(out: _Output, head: bytes, array: NDArray[Any], dtype: np.dtype[Any]) -> None:
    out.write(head)
    for last in range(array.shape[-1]):  # a slab at a time: NIfTI has its first axis innermost
        out.write(np.asarray(array[..., last], dtype).tobytes(order="F"))


def _header(
    array: NDArray[Any], source: Header, facts: Mapping[str, Any], intent: Intent
) -> tuple[bytes, np.dtype[Any]]:
    """Header and comment as bytes, and the type of the voxels in the file."""
    from nibabel.nifti1 import Nifti1Extension, Nifti1Extensions

    nifti = source.nifti.copy()
    nifti.extensions = Nifti1Extensions([Nifti1Extension(_COMMENT, json.dumps(facts).encode())])
    flat = nifti.get_data_shape()[:2] if len(source.nifti.get_data_shape()) == 2 and array.ndim == 3 else array.shape
    nifti.set_data_shape(flat)
    nifti.set_data_dtype(array.dtype)
    nifti.set_slope_inter(1.0, 0.0)
    nifti.set_intent(intent)
    nifti["cal_min"] = nifti["cal_max"] = nifti["slice_code"] = 0
    nifti["descrip"] = b"seg_scse"
    nifti["vox_offset"] = 0  # found anew, behind the comment
    stream = io.BytesIO()
    nifti.write_to(stream)
    head = stream.getvalue()
    return head + bytes(int(nifti.get_data_offset()) - len(head)), nifti.get_data_dtype()
