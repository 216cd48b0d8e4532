"""What a file is, told from its first bytes: the formats that are read, and names for what is not."""

import zlib
from pathlib import Path, PurePath

HEAD = 4096
"""Bytes of a file's start that are enough to tell what it is."""

FORMATS = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",  # BigTIFF
    b"MM\0+": "TIFF",
    b"BM": "BMP",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"\x93NUMPY": "NPY",
}
"""First bytes of formats that are read; WebP, PPM, DICOM and NIfTI have rules of their own."""

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".pbm", ".pnm"}
    | {".npy", ".nii", ".nii.gz", ".dcm", ".dicom"}
)
"""File name ends that are taken for images, compared in lower case."""

READ = "PNG, JPEG, TIFF, BMP, GIF, WebP, PPM, NPY, DICOM or NIfTI"
"""The formats that are read, for messages."""

ANNOTATION_SUFFIXES = frozenset({".json", ".geojson"})
"""File name ends that are taken for the polygons of an image, compared in lower case."""

_COMPRESSED_NIFTI = ".nii.gz"
_CERTAIN = frozenset({"PNG", "JPEG", "TIFF", "GIF", "WEBP", "NPY", "DICOM"})
_DIRECTORY = b"1.2.840.10008.1.3.10"  # the class of a DICOMDIR, which lists images and is none
_NIFTI = {(348, b"n+1\0"), (540, b"n+2\0")}
_OTHERS = {
    b"\x89HDF": "an HDF5 file",
    b"\x00\x00\x00\x0cjP  ": "a JPEG 2000 image",
    b"\xff\x4f\xff\x51": "a JPEG 2000 image",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "gzip-compressed data other than a NIfTI volume (an archive?)",
    b"%PDF": "a PDF document",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself (run `git lfs pull`)",
    b"{": "a JSON file (polygons are read as masks with data.mask.encoding=polygons, and not as images)",
    b"P7": "a PAM image",
    b"PF": "a PFM image",
    b"Pf": "a PFM image",
}


def is_image(path: PurePath) -> bool:
    """Tell by its name whether a file is taken for an image; `.nii.gz` is, other `.gz` files are not."""
    name = path.name.lower()
    return name.endswith(_COMPRESSED_NIFTI) or PurePath(name).suffix in IMAGE_SUFFIXES


def holds_image(path: Path) -> bool:
    """Tell by its name, else by its first bytes, whether a file is taken for an image.

    Scanners export DICOM files named `IM0006` or by their UID, `1.2.840.113619.2.5`. A name without extension may be
    of any format whose first bytes no text has by chance. With an extension that is not known, a file counts only as
    DICOM: overviews (`.ovr`), copies (`.bak`) and camera files begin like images too.
    """
    if is_image(path):
        return True
    if path.suffix.lower() in ANNOTATION_SUFFIXES or not path.is_file():  # opening a pipe would wait
        return False
    try:
        with path.open("rb", buffering=0) as file:
            head = file.read(HEAD)
    except OSError:
        return False
    found = file_format(head)
    return (found == "DICOM" and _DIRECTORY not in head) or (not path.suffix and found in _CERTAIN - {"DICOM"})


def stem_of(path: PurePath) -> str:
    """Return a file's name less one extension; `.nii.gz` counts as one, and what is no known extension as none.

    `Amazon_5.tiff_50.tiff` has the stem `Amazon_5.tiff_50`, `1.2.840.5` that of its whole name.
    """
    name = path.name.lower()
    if name.endswith(_COMPRESSED_NIFTI):
        return path.name[: -len(_COMPRESSED_NIFTI)]
    known = is_image(path) or PurePath(name).suffix in ANNOTATION_SUFFIXES
    return path.stem if known else path.name


def _inflated(data: bytes) -> bytes:
    """Return the start of gzip-compressed data, as far as a header reaches; nothing where it is damaged."""
    try:
        return zlib.decompressobj(wbits=31).decompress(data, HEAD)
    except zlib.error:
        return b""


def _is_nifti(data: bytes) -> bool:
    if data[:2] == b"\x1f\x8b":
        data = _inflated(data)
    sizes = {int.from_bytes(data[:4], order) for order in ("little", "big")}
    marks = {348: data[344:348], 540: data[4:8]}
    return any((size, marks[size]) in _NIFTI for size in sizes & marks.keys())


def file_format(data: bytes) -> str | None:
    """Return the name of the format of a file that is read, or None.

    Args:
        data: the first `HEAD` bytes of the file, or all of it.

    Returns:
        `PNG`, `JPEG`, `TIFF`, `BMP`, `GIF`, `WEBP`, `PPM` (PBM and PGM too), `NPY`, `DICOM`, `NIfTI`, or None.
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:1] == b"P" and data[1:2] in {b"1", b"2", b"3", b"4", b"5", b"6"} and data[2:3] in b" \t\r\n#":
        return "PPM"
    if data[128:132] == b"DICM":
        return "DICOM"
    if _is_nifti(data):
        return "NIfTI"
    return next((name for magic, name in FORMATS.items() if data.startswith(magic)), None)


def describe(data: bytes) -> str:
    """Say what a file that is no readable image is, such as `an HTML page (a failed download?)`."""
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start[:1] == b"<":
        html = b"<html" in start.lower() or start.lower().startswith(b"<!doctype html")
        return "an HTML page (a failed download?)" if html else "an XML file (its polygons are not read)"
    if data[344:348] == b"ni1\0":
        return "the header of a NIfTI pair (.hdr and .img; store it as one .nii file)"
    for magic, name in _OTHERS.items():
        if start.startswith(magic) or data.startswith(magic):
            return name
    if start and all(byte >= 32 or byte in b"\t\r\n" for byte in start):
        return "text"
    return f"of an unknown kind (first bytes {data[:4].hex(' ')})"
