import numpy as np

from seg_scse.data.lazy import Window, Windowed
from seg_scse.inference.shared_rows import SharedRows

PIXELS = np.random.default_rng(0).integers(0, 256, (90, 7, 2), np.uint8)


class Stored(Windowed):
    shape, dtype = PIXELS.shape, PIXELS.dtype

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __getitem__(self, window: Window) -> np.ndarray:
        self.asked += range(90)[window[0]]
        return PIXELS[window].copy()


def test_each_reader_gets_its_rows_and_each_row_is_read_once() -> None:
    image = Stored()
    shared = SharedRows(image, 2)
    first, second = shared.reader(0), shared.reader(1)
    assert (first.shape, first.dtype) == (PIXELS.shape, np.uint8)
    for reader, start, stop in [
        (first, 10, 30),
        (second, 4, 20),
        (first, 30, 50),
        (second, 20, 55),
        (second, 55, 60),
        (first, 50, 90),
        (second, 60, 90),
    ]:
        assert np.array_equal(reader[start:stop, :], PIXELS[start:stop]), (start, stop)
    assert sorted(image.asked) == list(range(4, 90))


def test_the_whole_image_is_what_all_rows_are() -> None:
    shared = SharedRows(Stored(), 2)
    assert np.array_equal(np.asarray(shared.reader(1)), PIXELS)
    assert np.array_equal(shared.reader(0)[:, 2:4], PIXELS[:, 2:4])


def test_rows_that_all_have_read_are_forgotten() -> None:
    shared = SharedRows(Stored(), 2)
    for start in range(0, 90, 10):
        for number in (0, 1):
            shared.reader(number)[start : start + 10, :]
            assert len(shared._kept) <= 10
