import threading

import numpy as np
import pytest
import torch
from torch import nn

from seg_scse.data.lazy import Window, Windowed
from seg_scse.errors import DataError
from seg_scse.inference import rows as rows_module
from seg_scse.inference.rows import tile_rows
from seg_scse.inference.tiles import Grid

from .drawn import predictor

PIXELS = np.random.default_rng(0).integers(0, 256, (150, 97, 3), np.uint8)


class Stored(Windowed):
    """Notes which rows are read, and by whom."""

    shape, dtype = PIXELS.shape, PIXELS.dtype

    def __init__(self, bad: int | None = None) -> None:
        self.asked: list[Window] = []
        self.threads: set[str] = set()
        self.read_to, self.bad = [threading.Event() for _ in range(150)], bad

    def __getitem__(self, window: Window) -> np.ndarray:
        self.asked.append(window)
        self.threads.add(threading.current_thread().name)
        rows = window[0]
        if self.bad is not None and rows.stop > self.bad:
            raise DataError("scene.tif: row 70 cannot be decoded")
        for event in self.read_to[: rows.stop]:
            event.set()
        return PIXELS[window].copy()


def readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("rows")]


@pytest.mark.parametrize("piece", [1, 1000, 1 << 22])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.7])
def test_rows_of_tiles_hold_their_pixels_and_every_row_is_read_once(
    overlap: float, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "_PIECE", piece)
    grid, image = Grid.of(150, 97, 32, overlap), Stored()
    found = list(tile_rows(image, grid, range(1, len(grid.tops))))
    assert [row.number for row in found] == list(range(1, len(grid.tops)))
    for row in found:
        top = grid.tops[row.number]
        assert np.array_equal(row.pixels, PIXELS[top : top + 32])
        assert row.lefts == grid.lefts
    assert max(window[0].stop - window[0].start for window in image.asked) <= max(1, piece // 97)
    rows = [number for window in image.asked for number in range(150)[window[0]]]
    assert rows == list(range(grid.tops[1], 150))
    assert all(window[1] == slice(None) for window in image.asked)


def test_the_next_row_of_tiles_is_read_while_this_one_is_used() -> None:
    image, here = Stored(), threading.current_thread().name
    strips = predictor(nn.Conv2d(3, 1, 1)).strips(image)
    first = next(strips)
    assert image.read_to[first.rows.stop + 31].wait(20), "the second row of tiles, though nobody asked for it yet"
    assert here not in image.threads
    strips.close()
    assert readers() == []


def test_an_array_is_used_as_it_lies_in_memory() -> None:
    rows = list(tile_rows(PIXELS, Grid.of(150, 97, 32, 0.25), range(0, 3)))
    assert all(np.shares_memory(row.pixels, PIXELS) for row in rows)


def test_a_failure_while_reading_ends_the_strips_before_it() -> None:
    found, image = [], Stored(bad=70)
    with pytest.raises(DataError, match="row 70 cannot be decoded"):
        found.extend(strip.rows for strip in predictor(nn.Conv2d(3, 1, 1)).strips(image))
    assert found == predictor().strip_rows(150)[: len(found)]
    assert found[-1].stop <= 70
    assert readers() == []


def test_a_failure_while_computing_leaves_no_thread() -> None:
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        list(predictor(Broken()).strips(Stored()))
    assert readers() == []


@pytest.mark.parametrize("size", [(100, 20), (20, 100), (1, 100), (100, 1)])
def test_rows_of_narrow_images_are_continued_by_reflection(size: tuple[int, int]) -> None:
    pixels = PIXELS[:100, :97][: size[0], : size[1]] if size[1] < 97 else np.tile(PIXELS, (1, 2, 1))[: size[0], :100]
    grid = Grid.of(*size, 32, 0.25)
    missing = [(0, max(0, 32 - side)) for side in size]
    tall = np.pad(pixels, (missing[0], (0, 0), (0, 0)), mode="reflect" if size[0] > 1 else "edge")
    padded = np.pad(tall, ((0, 0), missing[1], (0, 0)), mode="reflect" if size[1] > 1 else "edge")
    for row in tile_rows(pixels, grid, range(len(grid.tops))):
        assert np.array_equal(row.pixels, padded[grid.tops[row.number] :][:32])


def test_tiles_are_skipped_after_their_pixels_were_read() -> None:
    image, grid = Stored(), Grid.of(150, 97, 32, 0.25)

    def skip(rows: slice, columns: slice) -> bool:
        assert image.read_to[rows.stop - 1].is_set()
        assert threading.current_thread().name in image.threads
        return columns.start > 0

    assert [row.lefts for row in tile_rows(image, grid, range(len(grid.tops)), skip)] == [(0,)] * len(grid.tops)
