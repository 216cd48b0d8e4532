"""Drawing of small label maps and of image files in the formats that public data sets use."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seg_scse.data.sets.cards import card_path, load_card

Labels = NDArray[np.uint8]
SHAPE = (24, 32)
IGNORE = 255


@dataclass
class Fake:
    """What a drawn imitation of a data set holds.

    Attributes:
        sizes: samples in train, val and test.
        leaks: the data set's own split cuts through its groups, which the run must say.
        bands: of each image as the network gets it.
        truth: class indices of each sample, 255 for ignore.
        images: pixels of each sample `(H, W, bands)`; none of those that are stored with loss.
    """

    sizes: tuple[int, int, int]
    leaks: bool = False
    bands: int = 3
    truth: dict[str, Labels] = field(default_factory=dict)
    images: dict[str, NDArray[Any]] = field(default_factory=dict)

    def add(self, id_: str, classes: int, ignore: bool = False, shape: tuple[int, int] = SHAPE) -> Labels:
        """Draw the label map of a sample and keep it as the truth."""
        values = [*range(classes), *([IGNORE] if ignore else [])]
        self.truth[id_] = draw_labels(id_, values, shape)
        return self.truth[id_]

    def image(self, id_: str, pixels: NDArray[Any]) -> NDArray[Any]:
        """Keep the pixels of a sample that is stored without loss, and return them."""
        self.images[id_] = pixels.reshape(*pixels.shape[:2], -1)
        return pixels


def draw_labels(name: str, values: Sequence[int], shape: tuple[int, int] = SHAPE) -> Labels:
    """Draw a map of 4 x 4 blocks that holds every value, different for each name."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    cells = random.permutation([*values, *random.choice(values, 16 - len(values))]).astype(np.uint8)
    return np.kron(cells.reshape(4, 4), np.ones((shape[0] // 4, shape[1] // 4), np.uint8))


def picture(name: str, channels: int = 3, shape: tuple[int, int] = SHAPE, top: int = 255) -> NDArray[Any]:
    """Draw noise, `(H, W)` for one channel, else `(H, W, channels)`."""
    random = np.random.default_rng(zlib.crc32(f"image {name}".encode()))
    pixels = random.integers(1, top, (*shape, channels), dtype=np.uint16 if top > 255 else np.uint8)
    return pixels[..., 0] if channels == 1 else pixels


def save(path: Path, pixels: NDArray[Any], **options: Any) -> None:
    """Write with Pillow, in the format that the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def save_palette(path: Path, indices: Labels, palette: Sequence[int]) -> None:
    """Write a palette image."""
    image = Image.fromarray(indices, "P")
    image.putpalette(list(palette))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def black_white(mask: NDArray[np.bool_]) -> Labels:
    """0 and 255."""
    return np.where(mask, 255, 0).astype(np.uint8)


def coloured(labels: Labels, colours: dict[int, str]) -> Labels:
    """Paint class indices (and 255) in colours `#rrggbb`."""
    table = np.zeros((256, 3), np.uint8)
    for index, colour in colours.items():
        table[index] = list(bytes.fromhex(colour[1:]))
    return table[labels]


def save_bands(path: Path, pixels: NDArray[Any], left: float = 0.0, alpha: bool = False) -> None:
    """Write a GeoTIFF with rasterio; `alpha` marks the last band as transparency, as some data sets do by mistake."""
    import rasterio

    path.parent.mkdir(parents=True, exist_ok=True)
    bands = np.moveaxis(pixels, -1, 0) if pixels.ndim == 3 else pixels[None]
    profile = {"driver": "GTiff", "count": len(bands), "height": bands.shape[1], "width": bands.shape[2]}
    profile |= {"dtype": bands.dtype, "crs": "EPSG:32750", "transform": rasterio.Affine(10, 0, left, 0, -10, 9.0e6)}
    colour = {"photometric": "RGB", "alpha": "YES" if alpha else "NO"} if len(bands) > 2 else {}
    with rasterio.open(path, "w", **profile, **colour) as file:
        file.write(bands)


def save_volume(path: Path, slices: Sequence[NDArray[Any]], flipped: bool = False) -> None:
    """Write axial slices as NIfTI, each `(H, W)` or `(H, W, bands)`; `flipped`: stored from right to left."""
    import nibabel

    path.parent.mkdir(parents=True, exist_ok=True)
    columns_first = np.stack([slice_[::-1].swapaxes(0, 1) for slice_ in slices], axis=2)  # x, y, z, bands
    affine = np.diag([-1.25 if flipped else 1.25, 1.25, 2.7, 1.0])
    nibabel.save(nibabel.Nifti1Image(columns_first[::-1] if flipped else columns_first, affine), path)


def touch(*paths: Path, text: str = "not an image") -> None:
    """Write files that are no images."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def listed_ids(card: str) -> list[str]:
    """All ids in the split lists of a card."""
    lists = load_card(card).split.lists or {}
    return [id_ for name in lists.values() for id_ in (card_path(card).parent / name).read_text().split()]
