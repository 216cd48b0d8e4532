from pathlib import Path

import numpy as np
import pytest

from seg_scse.data.files.reading import read_raster
from seg_scse.errors import DataError

from .drawn_files import save_array

LIMIT = 10**6
KEPT = {"int8": "int16", "float16": "float32", "float64": "float32", "int64": "int32", "uint64": "int32"}
TYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64"]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 6)])
@pytest.mark.parametrize("dtype", [*TYPES, ">u2", ">f4"])
def test_numbers_are_kept(tmp_path, dtype, shape, order):
    values = np.asarray(np.random.default_rng(0).integers(0, 100, shape).astype(dtype), order=order)
    raster = read_raster(save_array(tmp_path / "a.npy", values), LIMIT)
    name = np.dtype(dtype).newbyteorder("=").name
    assert raster.pixels.dtype == KEPT.get(name, name)
    assert raster.pixels.flags.c_contiguous
    assert np.array_equal(raster.pixels, values.reshape(5, 7, -1))
    assert raster.kind == {1: "gray", 3: "colour", 6: "bands"}[raster.pixels.shape[2]]


def test_truth_values_are_a_1_bit_image(tmp_path):
    raster = read_raster(save_array(tmp_path / "a.npy", np.eye(3, dtype=bool)), LIMIT)
    assert raster.pixels[..., 0].tolist() == np.eye(3, dtype=int).tolist()
    assert raster.palette is not None


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros((2, 2), complex), "holds values of the type complex128, which are not read"),
        (np.array([["a", "b"]]), "holds values of the type str"),
        (np.zeros((2, 2), [("x", "u1")]), "holds values of the type void"),
        (np.zeros(5), r"is an array of shape \(5,\), which is not read"),
        (np.zeros((2, 2, 2, 2)), r"is an array of shape \(2, 2, 2, 2\)"),
        (np.zeros((0, 5)), "is 5 x 0 pixels large"),
        (np.array([[0, 2**40]]), "holds 64-bit integers from 0 to 1099511627776, more than 32 bits hold"),
        (np.array([[-1, 2**31]]), "holds 64-bit integers from -1 to 2147483648"),
    ],
)
def test_other_arrays_are_refused(tmp_path, values, reason):
    with pytest.raises(DataError, match=rf"a\.npy: {reason}"):
        read_raster(save_array(tmp_path / "a.npy", values), LIMIT)


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("/nonexistent/trap"),)


def test_objects_are_refused_without_unpickling(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[Trap()]], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"a\.npy: is a NumPy file of Python objects.*can run programs"):
        read_raster(tmp_path / "a.npy", LIMIT)


def test_several_arrays_in_one_file_are_refused(tmp_path):
    with (tmp_path / "a.npy").open("wb") as stream:
        np.save(stream, np.zeros((2, 2), np.uint8))
        np.save(stream, np.zeros((2, 2), np.uint8))
    with pytest.raises(DataError, match=r"holds 132 bytes after its array of shape \(2, 2\)"):
        read_raster(tmp_path / "a.npy", LIMIT)


def test_a_header_that_promises_much_costs_nothing(tmp_path):
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 1000000), }\n"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(DataError, match=r"1000000 x 1000000 pixels are more than data\.max_pixels"):
        read_raster(tmp_path / "a.npy", LIMIT)
