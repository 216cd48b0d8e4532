"""What a file is, told from its first bytes: the image formats that are read, and names for what is not."""

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
}
"""First bytes of each image format that is read, and Pillow's name of it (WebP has its own rule)."""

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp"})
"""File name ends that are taken for images, compared in lower case."""

_OTHERS = {
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF": "an HDF5 file",
    b"\x00\x00\x00\x0cjP  ": "a JPEG 2000 image",
    b"\xff\x4f\xff\x51": "a JPEG 2000 image",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "gzip-compressed data (a NIfTI volume or an archive)",
    b"%PDF": "a PDF document",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself (run `git lfs pull`)",
    b"{": "a JSON file (polygons are not read by this version)",
    b"P4": "a PNM image",
    b"P5": "a PNM image",
    b"P6": "a PNM image",
}


def image_format(data: bytes) -> str | None:
    """Return Pillow's name of the image format that starts with these bytes, or None."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return next((name for magic, name in FORMATS.items() if data.startswith(magic)), None)


def describe(data: bytes) -> str:
    """Say what a file that is no readable image is, such as `an HTML page (a failed download?)`."""
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start[:1] == b"<":
        html = b"<html" in start.lower() or start.lower().startswith(b"<!doctype html")
        return "an HTML page (a failed download?)" if html else "an XML file (polygons are not read by this version)"
    if data[128:132] == b"DICM":
        return "a DICOM file"
    if data[344:348] in (b"n+1\0", b"ni1\0"):
        return "a NIfTI volume"
    for magic, name in _OTHERS.items():
        if start.startswith(magic) or data.startswith(magic):
            return name
    if start and all(byte >= 32 or byte in b"\t\r\n" for byte in start):
        return "text"
    return f"of an unknown kind (first bytes {data[:4].hex(' ')})"
