"""What a decoded file is: pixels as they are stored, and what the file says about them."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
"""Pixels `(H, W, C)` of one of the types in `DTYPES`."""

DTYPES = ("uint8", "uint16", "int16", "uint32", "int32", "float32")
"""Pixel types that are kept as they are. bool becomes uint8, int8 int16, float16 and float64 float32; 64-bit integers
become int32 or uint32 where every value fits, and are refused where one does not."""


@dataclass(frozen=True)
class Place:
    """Where an image lies and how large its pixels are.

    Attributes:
        crs: coordinate reference system as `EPSG:32750` or WKT; None without one.
        transform: `(a, b, c, d, e, f)` with x = a col + b row + c, y = d col + e row + f, at pixel corners; or
            None.
        spacing: height and width of a pixel.
        unit: of spacing: `m`, `degree`, `mm` or `unknown`.
    """

    crs: str | None
    transform: tuple[float, float, float, float, float, float] | None
    spacing: tuple[float, float]
    unit: str


@dataclass(frozen=True)
class Raster:
    """One decoded file, or one slice of a volume.

    Attributes:
        pixels: `(H, W, C)`, upright by EXIF orientation, of a type in `DTYPES`; all bands of the file, alpha included.
            A palette image has its indices, C = 1, or 2 with transparency.
        format: `PNG`, `JPEG`, `TIFF`, `BMP`, `GIF`, `WEBP`, `PPM`, `NIfTI`, `DICOM` or `NPY`.
        kind: palette: indices into `palette`; gray: C = 1; colour: RGB, C = 3; bands: anything else. With alpha, C is
            one more.
        alpha: the file says that its last band is transparency. Whether it is, the configuration decides: the fourth
            band of a satellite image is often marked so.
        palette: uint8 `(256, 3)` colours of a palette image; and of a 1-bit one, whose kind is gray and whose 1 is 255.
        valid: bool `(H, W)`, False where the file itself says no data: its no-data value in every band, or its mask
            band; None where all are valid. NaN and infinity are left for those who know which bands are used.
        nodata: the no-data value that the file declares, or None.
        turned: it was turned by its EXIF orientation.
        place: georeference or voxel size, where the file has one.
        names: names that the file gives its bands, or None.
    """

    pixels: Array
    format: str
    kind: Literal["palette", "gray", "colour", "bands"]
    alpha: bool = False
    palette: NDArray[np.uint8] | None = None
    valid: NDArray[np.bool_] | None = None
    nodata: float | None = None
    turned: bool = False
    place: Place | None = None
    names: tuple[str, ...] | None = None
