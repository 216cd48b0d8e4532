"""A small microscopy-like data set, drawn by code: bright round cells and dimmer, striped, elongated ones.

Round and elongated cells overlap in brightness, touch each other, and lie under uneven light, blur and noise.
Out-of-focus blobs and bright specks belong to the background. Some images hold only one kind of cell.
All is computed in float64 from one fixed seed, so that rounding to 8 bits gives the same pixels on every machine.
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seg_scse.files import atomic_path, write_text

CLASSES = ("background", "round", "elongated")
SPLIT_SIZES = {"train": 60, "val": 12, "test": 20}

_SEED = 20180302
_SIZES = ((160, 192), (192, 192), (224, 256))
_IMAGES_PER_SLIDE = 4  # images of one slide share their light, so they stay in one split
_ROUND, _ELONGATED = 1, 2

Field = NDArray[np.float64]


@dataclass(frozen=True)
class _Cell:
    """An ellipse with a wavy outline: centre and half axes in pixels, angle in radians."""

    kind: int
    y: float
    x: float
    length: float
    width: float
    angle: float
    brightness: float
    phase: float

    def coordinates(self, grid: Field) -> tuple[Field, Field]:
        """Position along and across the cell; the outline is near radius 1."""
        dy, dx = grid[0] - self.y, grid[1] - self.x
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return (dx * cos + dy * sin) / self.length, (dy * cos - dx * sin) / self.width

    def inside(self, grid: Field) -> NDArray[np.bool_]:
        """Where the cell is."""
        along, across = self.coordinates(grid)
        wave = 1 + 0.07 * np.sin(3 * np.arctan2(across, along) + self.phase)
        return np.asarray(np.hypot(along, across) < wave)

    def light(self, grid: Field) -> Field:
        """Brightness: round cells are domes with a dark nucleolus, elongated ones carry stripes."""
        along, across = self.coordinates(grid)
        radius = np.hypot(along, across)
        if self.kind == _ROUND:
            spot = np.exp(-((along - 0.3 * np.cos(self.phase)) ** 2 + (across - 0.3 * np.sin(self.phase)) ** 2) / 0.06)
            return np.asarray(self.brightness * (1 - 0.35 * radius**2 - 0.35 * spot))
        stripes = np.sin(along * self.length * 1.1 + self.phase)
        return np.asarray(self.brightness * (0.85 - 0.15 * radius**2 + 0.3 * stripes))


def _cell(kind: int, y: float, x: float, rng: np.random.Generator) -> _Cell:
    angle, phase = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
    if kind == _ROUND:
        length = rng.uniform(8, 15)
        return _Cell(kind, y, x, length, length * rng.uniform(0.8, 1.0), angle, rng.uniform(0.3, 0.65), phase)
    return _Cell(kind, y, x, rng.uniform(15, 26), rng.uniform(5, 8), angle, rng.uniform(0.2, 0.5), phase)


def _try_to_add(cell: _Cell, light: Field, mask: NDArray[np.uint8]) -> bool:
    """Draw a cell unless it would hide more than a tenth of itself among earlier ones, or lies outside."""
    reach = cell.length * 1.1
    corners = [
        (max(int(c - reach), 0), min(int(c + reach) + 2, n)) for c, n in zip((cell.y, cell.x), mask.shape, strict=True)
    ]
    if any(start >= stop for start, stop in corners):
        return False
    window = tuple(slice(*corner) for corner in corners)
    grid = np.mgrid[window].astype(np.float64)
    inside = cell.inside(grid)
    if np.count_nonzero(mask[window][inside]) > 0.1 * np.count_nonzero(inside):
        return False
    light[window][inside] = cell.light(grid)[inside] + 0.3 * light[window][inside]
    mask[window][inside] = cell.kind
    return True


def _place_cells(kinds: tuple[int, ...], light: Field, mask: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """Draw cells at random places; about every third one is put beside an earlier one, so that they touch."""
    cells: list[_Cell] = []
    for _ in range(rng.integers(14, 22)):
        y, x = rng.uniform(0, mask.shape[0]), rng.uniform(0, mask.shape[1])
        if cells and rng.random() < 0.4:
            neighbour = cells[rng.integers(len(cells))]
            turn, distance = rng.uniform(0, 2 * np.pi), neighbour.width + rng.uniform(8, 14)
            y, x = neighbour.y + distance * np.sin(turn), neighbour.x + distance * np.cos(turn)
        cell = _cell(kinds[rng.integers(len(kinds))], y, x, rng)
        if _try_to_add(cell, light, mask):
            cells.append(cell)


def _debris(grid: Field, rng: np.random.Generator) -> Field:
    """Out-of-focus blobs, as large and bright as cells but without an edge, and specks of one or two pixels."""
    light = np.zeros(grid[0].shape)
    blobs = [(rng.uniform(7, 16), rng.uniform(0.15, 0.4)) for _ in range(rng.integers(2, 5))]
    specks = [(rng.uniform(0.8, 1.6), rng.uniform(0.3, 0.6)) for _ in range(rng.integers(3, 8))]
    for sigma, brightness in blobs + specks:
        y, x = rng.uniform(0, light.shape[0]), rng.uniform(0, light.shape[1])
        light += brightness * np.exp(-((grid[0] - y) ** 2 + (grid[1] - x) ** 2) / (2 * sigma**2))
    return light


def _photograph(light: Field, grid: Field, direction: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Uneven light from one side, blur of the lens, shot and read noise, 8 bits."""
    height, width = light.shape
    across = (grid[0] / height - 0.5) * np.sin(direction) + (grid[1] / width - 0.5) * np.cos(direction)
    light = (light + 0.12) * (1 + 0.7 * across) + 0.08 * (across + 0.5)
    light = cv2.GaussianBlur(light, (0, 0), rng.uniform(0.8, 1.4))
    light = light + rng.normal(size=light.shape) * np.sqrt(0.0004 + 0.0025 * np.maximum(light, 0))
    return np.asarray(np.clip(np.rint(light * 255), 0, 255), np.uint8)


def _draw(number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Image and index mask number `number`, both uint8 `(H, W)`."""
    rng = np.random.default_rng([_SEED, number])
    size = _SIZES[number % len(_SIZES)]
    grid = np.mgrid[: size[0], : size[1]].astype(np.float64)
    kinds = {3: (_ROUND,), 13: (_ELONGATED,)}.get(number % 20, (_ROUND, _ELONGATED))
    light, mask = _debris(grid, rng), np.zeros(size, np.uint8)
    _place_cells(kinds, light, mask, rng)
    slide = np.random.default_rng([_SEED, number // _IMAGES_PER_SLIDE, 1])
    return _photograph(light, grid, slide.uniform(0, 2 * np.pi), rng), mask


def _write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG")


def draw_dataset(root: Path) -> None:
    """Draw the quickstart data set; files already there are replaced.

    Writes `root/images/cell_000.png` ... (8-bit grey), `root/masks/cell_000.png` ... (8-bit index, `CLASSES` in order)
    and `root/splits.csv` (`id,split,group`, where the group is the slide) with `SPLIT_SIZES` samples.

    Raises:
        WriteError: `root` cannot be written.
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("id", "split", "group"))
    splits = [split for split, count in SPLIT_SIZES.items() for _ in range(count)]
    for number, split in enumerate(splits):
        image, mask = _draw(number)
        name = f"cell_{number:03d}"
        _write_png(root / "images" / f"{name}.png", image)
        _write_png(root / "masks" / f"{name}.png", mask)
        writer.writerow((name, split, f"slide_{number // _IMAGES_PER_SLIDE:02d}"))
    write_text(root / "splits.csv", table.getvalue())
