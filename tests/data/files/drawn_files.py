"""Files of every format that is read, drawn by its own library, and the pixels which that library reads back."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import nibabel
import numpy as np
import pydicom
import rasterio
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset

from seg_scse.config.schema import DataConfig
from seg_scse.data.files.decoding import decoding
from seg_scse.data.files.pictures import open_picture
from seg_scse.data.samples import Sample

RANDOM = np.random.default_rng(0)
COLOURS = RANDOM.integers(0, 256, (40, 60, 3), dtype=np.uint8)
SMOOTH = np.dstack([np.add.outer(np.arange(200), np.arange(150)).astype(np.uint8)] * 3)
FOUR = RANDOM.integers(0, 60000, (40, 60, 4), dtype=np.uint16)
FLOATS = RANDOM.normal(size=(40, 60, 2)).astype(np.float32)
VOXELS = RANDOM.integers(-900, 3000, (20, 24, 7), dtype=np.int16)
TURNED = np.array([[0, -2.0, 0, 5], [3, 0, 0, -7], [0, 0, -4, 9], [0, 0, 0, 1]])  # axes swapped and reversed


def read_picture(sample: Sample, config: DataConfig) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """Read the whole image of a sample: pixels `(H, W, C)`, where it has data (None: everywhere), and facts."""
    with open_picture(sample, config) as picture:
        return *picture.read(slice(None), slice(None)), picture.facts


def save_pillow(path: Path, pixels: np.ndarray = COLOURS, mode: str | None = None, **options: Any) -> Path:
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(path, **options)
    return path


def save_raster(path: Path, pixels: np.ndarray = FOUR, **options: Any) -> Path:
    """Write `(H, W, C)` as a TIFF by GDAL."""
    height, width, count = pixels.shape
    profile = {"driver": "GTiff", "height": height, "width": width, "count": count, "dtype": pixels.dtype.name}
    with decoding, rasterio.open(path, "w", **{**profile, **options}) as dataset:
        dataset.write(pixels.transpose(2, 0, 1))
    return path


def save_volume(path: Path, voxels: np.ndarray = VOXELS, affine: np.ndarray = TURNED, **header: Any) -> Path:
    volume = nibabel.Nifti1Image(voxels, affine)
    volume.header.set_xyzt_units("mm")
    for name, value in header.items():
        volume.header[name] = value
    volume.to_filename(path)
    return path


def save_dicom(path: Path, pixels: np.ndarray = VOXELS[..., 0], **tags: Any) -> Path:
    """Write `(H, W)` or `(H, W, 3)` uncompressed; `tags` go over those that follow from the pixels."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    dataset.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


def save_deep_png(path: Path, pixels: np.ndarray = FOUR[..., :3]) -> Path:
    path.write_bytes(cv2.imencode(".png", pixels[..., [2, 1, 0, 3][: pixels.shape[2]]])[1].tobytes())
    return path


def save_array(path: Path, pixels: np.ndarray = FLOATS) -> Path:
    with path.open("wb") as stream:
        np.save(stream, pixels)
    return path


def by_pillow(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        pixels = np.asarray(image)
    return pixels.reshape(*pixels.shape[:2], -1)


def by_rasterio(path: Path) -> np.ndarray:
    with decoding, rasterio.open(path) as dataset:
        return dataset.read().transpose(1, 2, 0)


def by_opencv(path: Path) -> np.ndarray:
    return cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)[..., ::-1]


def by_nibabel(path: Path) -> np.ndarray:
    """The third slice from the feet, its front on top."""
    canonical = nibabel.as_closest_canonical(nibabel.load(path))
    return np.asanyarray(canonical.dataobj)[:, ::-1, 2].T[..., None]


def by_pydicom(path: Path) -> np.ndarray:
    return pydicom.dcmread(path).pixel_array[..., None]


def by_numpy(path: Path) -> np.ndarray:
    return np.load(path)


@dataclass(frozen=True)
class Drawn:
    """How a file of one kind is drawn, and who reads it back.

    `flip` says whether one changed bit in the middle of the file is noticed: not every format has checksums.
    """

    suffix: str
    draw: Callable[..., Path]
    read: Callable[[Path], np.ndarray]
    reader: str
    flip: bool
    plane: int | None = None


def _pillow(suffix: str, flip: bool, **options: Any) -> Drawn:
    return Drawn(suffix, lambda path: save_pillow(path, **options), by_pillow, "Pillow", flip)


def _raster(flip: bool, pixels: np.ndarray = FOUR, **options: Any) -> Drawn:
    return Drawn(".tif", lambda path: save_raster(path, pixels, **options), by_rasterio, "rasterio", flip)


TILED = {"tiled": True, "blockxsize": 16, "blockysize": 16}
DRAWN = {
    "PNG": _pillow(".png", True),
    "PNG, grey": _pillow(".png", True, pixels=COLOURS[..., 0]),
    "PNG, palette": _pillow(".png", True, mode="P"),
    "PNG, 16-bit grey": _pillow(".png", True, pixels=FOUR[..., 0]),
    "PNG, 16-bit RGB": Drawn(".png", save_deep_png, by_opencv, "OpenCV", True),
    "JPEG": _pillow(".jpg", False, pixels=SMOOTH),
    "JPEG, progressive": _pillow(".jpg", False, pixels=SMOOTH, progressive=True),
    "BMP": _pillow(".bmp", False),
    "GIF": _pillow(".gif", False, mode="P"),
    "WebP": _pillow(".webp", False, lossless=True),
    "PPM": _pillow(".ppm", False),
    "TIFF": _pillow(".tif", False),
    "TIFF, LZW": _pillow(".tif", False, pixels=SMOOTH, compression="tiff_lzw"),
    "TIFF, deflate": _pillow(".tif", True, pixels=SMOOTH, compression="tiff_adobe_deflate"),
    "TIFF, PackBits": _pillow(".tif", False, pixels=SMOOTH, compression="packbits"),
    "TIFF, 16-bit grey": _pillow(".tif", False, pixels=FOUR[..., 0]),
    "TIFF, float grey": _pillow(".tif", False, pixels=FLOATS[..., 0]),
    "TIFF, 4 bands, 16-bit": _raster(False),
    "TIFF, planar": _raster(False, interleave="band"),
    "TIFF, tiled, deflate": _raster(True, compress="deflate", **TILED),
    "TIFF, ZSTD": _raster(False, compress="zstd"),
    "TIFF, JPEG": _raster(False, SMOOTH, compress="jpeg", photometric="ycbcr"),
    "TIFF, float, LZW": _raster(False, FLOATS, compress="lzw", predictor=3),
    "TIFF, signed": _raster(False, FOUR.view(np.int16)),
    "BigTIFF": _raster(False, BIGTIFF="YES"),
    "NPY": Drawn(".npy", save_array, by_numpy, "NumPy", False),
    "NIfTI": Drawn(".nii", save_volume, by_nibabel, "nibabel", False, plane=2),
    "NIfTI, gzip": Drawn(".nii.gz", save_volume, by_nibabel, "nibabel", True, plane=2),
    "DICOM": Drawn(".dcm", save_dicom, by_pydicom, "pydicom", False),
}
