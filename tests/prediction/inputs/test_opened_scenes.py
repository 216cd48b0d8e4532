"""How often, by whom and when an image that is read by windows is read."""

import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_scse.config.schema import DataConfig
from seg_scse.data.files import pictures
from seg_scse.errors import DataError
from seg_scse.prediction.inputs import opening
from seg_scse.prediction.inputs.items import Item
from seg_scse.prediction.inputs.opening import Reading, open_image

from .drawn_images import ALL, FOUR_BANDS, GAPS, PER_FILE, large, opened, reads


def test_a_file_that_lacks_no_data_is_not_read_to_measure_it_or_to_say_so(tmp_path, monkeypatch):
    path = large(monkeypatch, tmp_path / "a.tif")
    found = reads(monkeypatch)
    with opened(path, DataConfig(**FOUR_BANDS)) as image:
        assert image.valid(ALL, ALL) is None
        assert found == []
        image[0:10, :]
    assert found == [(slice(0, 10), slice(0, 60))]


@pytest.mark.parametrize(("rows", "passes"), [(slice(25, 40), 0), (slice(0, 10), 1)], ids=["no gap", "gap"])
def test_the_whole_file_is_measured_once_and_only_where_a_pixel_has_no_data(tmp_path, monkeypatch, rows, passes):
    path = large(monkeypatch, tmp_path / "a.tif", GAPS, nodata=0)
    found = reads(monkeypatch)
    with opened(path, DataConfig(**FOUR_BANDS)) as image:
        for _ in range(2):
            image[rows, :]
    assert found.count((slice(0, 40), slice(0, 60))) == passes


def test_where_rows_just_read_hold_data_is_known_without_reading(tmp_path, monkeypatch):
    path = large(monkeypatch, tmp_path / "a.tif", GAPS, nodata=0)
    expected = GAPS[..., 0] > 0
    with opened(path, DataConfig(**FOUR_BANDS)) as image:
        image[0:20, :], image[20:36, :]
        found = reads(monkeypatch)
        assert np.array_equal(image.valid(slice(10, 36), slice(5, 40)), expected[10:36, 5:40])
        assert image.valid(slice(26, 36), ALL) is None
        assert found == []
        assert np.array_equal(image.valid(slice(18, 40), ALL), expected[18:40])
        assert found == [(slice(36, 40), slice(0, 60))]


def test_rows_that_were_forgotten_are_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "_KEPT", 500)
    path = large(monkeypatch, tmp_path / "a.tif", GAPS, nodata=0)
    with opened(path, DataConfig(**FOUR_BANDS)) as image:
        for start in (0, 10, 20, 30):
            image[start : start + 10, :]
        for rows in (slice(0, 40), slice(5, 12), slice(3, 31)):
            valid = image.valid(rows, slice(7, 60))
            assert np.array_equal(valid, GAPS[rows, 7:, 0] > 0)


def test_an_image_may_be_opened_read_and_closed_in_different_threads(tmp_path, monkeypatch):
    path = large(monkeypatch, tmp_path / "a.tif", GAPS, nodata=0, compress="deflate")
    config = DataConfig(**FOUR_BANDS, scale=PER_FILE)
    with opened(path, config) as image:
        expected = np.asarray(image)
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(4) as many:
        context = open_image(Item("a", "image", (path,)), Reading(config, None))
        image = one.submit(context.__enter__).result()
        jobs = [many.submit(image.__getitem__, (slice(top, top + 9), ALL)) for top in range(0, 31)]
        masks = [many.submit(image.valid, slice(top, top + 9), ALL) for top in range(0, 25)]
        for top, job in enumerate(jobs):
            assert np.array_equal(job.result(), expected[top : top + 9])
        for top, mask in enumerate(masks):
            assert np.array_equal(mask.result(), GAPS[top : top + 9, :, 0] > 0)
        threading.Thread(target=context.__exit__, args=(None, None, None)).start()


def test_threads_that_read_at_once_wait_for_each_other(tmp_path, monkeypatch):
    path = large(monkeypatch, tmp_path / "a.tif", GAPS, nodata=0)
    inside, most = [0], [0]
    original = pictures.Picture.read

    def read(*given: Any) -> Any:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.002)
        inside[0] -= 1
        return original(*given)

    monkeypatch.setattr(pictures.Picture, "read", read)
    with opened(path, DataConfig(**FOUR_BANDS)) as image, ThreadPoolExecutor(4) as many:
        list(many.map(lambda top: image[top : top + 5, :], range(30)))
    assert most == [1]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files by /proc")
def test_no_file_stays_open(tmp_path, monkeypatch):
    path = large(monkeypatch, tmp_path / "a.tif")

    def count() -> int:
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    with opened(path, DataConfig(**FOUR_BANDS)) as image:
        np.asarray(image)
    before = count()
    for _ in range(3):
        with opened(path, DataConfig(**FOUR_BANDS)) as image:
            np.asarray(image)
        with pytest.raises(DataError), opened(path, DataConfig(bands=("a", "b"))):
            pass
    assert count() == before


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="counts what is read by /proc")
@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_rows_of_tiles_decode_each_block_of_the_file_once(tmp_path, monkeypatch, interleave):
    pixels = np.random.default_rng(0).integers(0, 65535, (1024, 1024, 4), dtype=np.uint16)
    tiled = {"blockxsize": 128, "blockysize": 128, "interleave": interleave, "compress": "deflate"}
    path = large(monkeypatch, tmp_path / "a.tif", pixels, **tiled)

    def taken() -> int:
        return int(Path("/proc/self/io").read_text().split("rchar: ")[1].split()[0])

    with opened(path, DataConfig(**FOUR_BANDS)) as image:
        for top in range(0, 1024, 128):
            image[top : top + 128, :]  # the checksums, which are compared once
    with opened(path, DataConfig(**FOUR_BANDS)) as image:
        before = taken()
        for top in range(0, 1024, 96):
            image[top : top + 96, :]
        assert taken() - before < 1.1 * path.stat().st_size
        assert taken() - before > 0.9 * path.stat().st_size
