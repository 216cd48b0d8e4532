import pytest

from seg_scse.config.schema import DataConfig
from seg_scse.data.reading import read_image
from seg_scse.errors import DataError


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"<!DOCTYPE html><html>404</html>", r"is an HTML page \(a failed download\?\)"),
        (b"<annotation/>", "is an XML file"),
        (b"hello there\n", "is text, not a PNG"),
        (b"version https://git-lfs.github.com/spec/v1\n", "run `git lfs pull`"),
        (b'{"shapes": []}', "is a JSON file"),
        (b"\x93NUMPY\x01\x00", "is a NumPy array"),
        (b"\x89HDF\r\n\x1a\n", "is an HDF5 file"),
        (b"\0" * 128 + b"DICM", "is a DICOM file"),
        (b"\0" * 344 + b"n+1\0", "is a NIfTI volume"),
        (b"\x1f\x8b\x08\0", "NIfTI volume or an archive"),
        (b"\0\1\2\3", r"of an unknown kind \(first bytes 00 01 02 03\)"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "cannot be decoded"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path, content, reason):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=reason):
        read_image(path, DataConfig())
