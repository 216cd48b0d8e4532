import gzip
import os
from pathlib import Path, PurePath

import pytest

from seg_scse.data.files.reading import read_raster
from seg_scse.data.files.signatures import HEAD, file_format, holds_image, is_image, stem_of
from seg_scse.errors import DataError

from .drawn_files import DRAWN, save_dicom


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"<!DOCTYPE html><html>404</html>", r"is an HTML page \(a failed download\?\)"),
        (b"<annotation/>", "is an XML file"),
        (b"hello there\n", "is text, not a PNG"),
        (b"version https://git-lfs.github.com/spec/v1\n", "run `git lfs pull`"),
        (b'{"shapes": []}', r"is a JSON file \(polygons are read as masks with data\.mask\.encoding=polygons"),
        (b"\x89HDF\r\n\x1a\n", "is an HDF5 file"),
        (b"P7\nWIDTH 1", "is a PAM image"),
        (b"\0" * 344 + b"ni1\0", "is the header of a NIfTI pair"),
        (b"\x1f\x8b\x08\0", "is gzip-compressed data other than a NIfTI volume"),
        (gzip.compress(b"hello" * 100, mtime=0), "is gzip-compressed data other than a NIfTI volume"),
        (b"\0\1\2\3", r"of an unknown kind \(first bytes 00 01 02 03\)"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "cannot be decoded"),
        (b"\x93NUMPY\x01\x00", "cannot be decoded"),
        (b"\0" * 128 + b"DICM", "is a DICOM file without pixels"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path, content, reason):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.png: .*{reason}"):
        read_raster(path, 10**6)


@pytest.mark.parametrize("kind", DRAWN)
def test_formats_are_told_from_their_first_bytes(tmp_path, kind):
    head = DRAWN[kind].draw(tmp_path / f"a{DRAWN[kind].suffix}").read_bytes()[:HEAD]
    name = kind.split(",")[0].replace("Big", "")
    assert file_format(head) == {"WebP": "WEBP"}.get(name, name)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.png", "a"),
        ("Amazon_5.tiff_50.tiff", "Amazon_5.tiff_50"),
        ("case.01.nii.gz", "case.01"),
        ("CASE.NII.GZ", "CASE"),
        ("a.nii", "a"),
        ("im0001.ah.ppm", "im0001.ah"),
        ("a", "a"),
        ("IM0006", "IM0006"),
        ("1.2.840.113619.2.5", "1.2.840.113619.2.5"),
        ("a.geojson", "a"),
    ],
)
def test_a_stem_is_the_name_less_one_extension(name, stem):
    assert stem_of(Path("folder.x") / name) == stem


def test_images_are_told_by_name():
    assert all(is_image(PurePath(name)) for name in ("a.PNG", "b.tif", "c.nii.gz", "d.NII.GZ", "e.dcm", "f.npy"))
    assert not any(is_image(PurePath(name)) for name in ("a.txt", "b.gz", "c.tar.gz", "d", "e.json", "nii.gz"))


@pytest.mark.parametrize("name", ["IM0006", "1.2.840.113619.2.5", "scan.ima"])
def test_dicom_files_are_told_by_their_first_bytes_under_any_name(tmp_path, name):
    assert holds_image(save_dicom(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("LICENSE", b"BMI and P1 are words that begin like images"),
        ("Thumbs.db", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(200)),
        ("dataset.json", b"{}"),
        ("empty", b""),
        ("a.tif.ovr", b"II*\0" + bytes(200)),
        ("a.png.bak", b"\x89PNG\r\n\x1a\n"),
        ("DICOMDIR", bytes(128) + b"DICM\x02\0\x02\0UI\x14\x001.2.840.10008.1.3.10"),
        ("volume", b"\x5c\x01\0\0" + bytes(340) + b"n+1\0"),
    ],
)
def test_files_that_are_no_images_are_not_taken_for_some(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    assert not holds_image(path)


def test_a_file_without_extension_is_told_by_its_first_bytes(tmp_path):
    (tmp_path / "scan").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert holds_image(tmp_path / "scan")


def test_what_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("nowhere")
    assert not any(holds_image(tmp_path / name) for name in ("pipe", "link"))
