"""data.cache_gb: what is beyond the limit is measured, not kept, and gives the same pixels from its file."""

import pickle

import numpy as np
import pytest

from seg_scse.data import entries, lazy
from seg_scse.data.lazy import FileImage
from seg_scse.errors import DataError

from .numeric import COUNT, config_of, drawn, prepare, write

ONE = 20 * 24 * (2 * 2 + 1) / 1e9  # GB of a decoded int16 sample with two bands
SCALE = {"method": "range", "low": -800, "high": 900}


@pytest.fixture
def root(tmp_path):
    images = drawn("int16", 2, -800, 900)
    images[1][2:5, 3:9] = -999
    return write(tmp_path / "d", images)


def limited(root, number, **data):
    return prepare(root, 2, cache_gb=number * ONE, nodata=-999, scale=SCALE, **data)


def stored(store):
    return sum(entry.stored for entry in store.entries)


@pytest.mark.parametrize("number", [0.5, 1, 2.9, 4])
def test_as_many_as_fit_are_kept_and_all_give_the_same_pixels(root, number, tmp_path):
    whole = prepare(root, 2, nodata=-999, scale=SCALE, cache=str(tmp_path / "other"))
    store = limited(root, number)
    assert stored(store) == int(number)
    arrays = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*.npy"))
    assert arrays <= number * ONE * 1e9 + COUNT * 2 * 128
    for i in range(COUNT):
        for kind in ("image", "mask"):
            mine, other = getattr(store, kind)(i), getattr(whole, kind)(i)
            assert (mine.shape, mine.dtype) == (other.shape, other.dtype)
            assert np.array_equal(np.asarray(mine), np.asarray(other))
            assert np.array_equal(mine[3:11, 5:9], other[3:11, 5:9])
            assert np.array_equal(mine[::3, 1::2], other[::3, 1::2])
    assert store.digest == whole.digest
    assert store.statistics(range(COUNT)) == whole.statistics(range(COUNT))
    outside = f"{COUNT - int(number)} of 4 images are beyond data.cache_gb, read from their files when needed"
    assert (outside in store.notes) == (number < COUNT)


def test_a_lower_limit_removes_copies_and_a_higher_one_makes_them(root, tmp_path):
    limited(root, 4)
    assert stored(limited(root, 1)) == 1
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 2
    assert stored(limited(root, 3)) == 3
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 6


def test_what_is_beyond_the_limit_is_measured_once(root, monkeypatch):
    limited(root, 2)
    opened = []
    original = entries.open_picture
    monkeypatch.setattr(entries, "open_picture", lambda *args: opened.append(args) or original(*args))
    assert stored(limited(root, 2)) == 2
    assert not opened


def test_a_window_of_a_file_reads_only_the_window_where_the_format_allows(root, monkeypatch):
    read = []

    class Noting:
        def __init__(self, picture):
            self.picture = picture

        def __enter__(self):
            picture = self.picture.__enter__()
            original = picture.read
            picture.read = lambda rows, cols: read.append((rows, cols)) or original(rows, cols)
            assert picture.windowed
            return picture

        def __exit__(self, *error):
            return self.picture.__exit__(*error)

    store = limited(root, 0.5)
    original = lazy.open_picture
    monkeypatch.setattr(lazy, "open_picture", lambda *args: Noting(original(*args)))
    assert store.image(0)[4:7, 10:20].shape == (3, 10, 2)
    assert read == [(slice(4, 7), slice(10, 20))]


def test_files_without_windows_are_decoded_once_for_many_windows(root, monkeypatch):
    config = config_of(root, 2, nodata=-999)
    store = limited(root, 0.5)
    count = []

    class Whole:
        windowed, shape = False, (20, 24, 2)

        def read(self, rows, cols):
            return np.load(root / "images/0.npy")[rows, cols], None

        def __enter__(self):
            count.append(1)
            return self

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(lazy, "open_picture", lambda *args: Whole())
    image = FileImage(store._samples[0], config, store.entries[0], store._keys[0])
    windows = [image[i : i + 2, i : i + 3] for i in range(10)]
    assert len(count) == 1
    assert all(np.array_equal(w, np.load(root / "images/0.npy")[i : i + 2, i : i + 3]) for i, w in enumerate(windows))


def test_a_store_with_files_outside_pickles(root):
    store = limited(root, 1)
    copy = pickle.loads(pickle.dumps(store))  # noqa: TID251 - pickled here
    assert all(np.array_equal(np.asarray(copy.image(i)), np.asarray(store.image(i))) for i in range(COUNT))


@pytest.mark.parametrize("kind", ["image", "mask"])
def test_a_file_that_was_replaced_after_the_check_is_refused(root, kind):
    store = limited(root, 0.5)
    path = next(path for path in (root / f"{kind}s").iterdir() if path.stem == "2")
    other = next(path for path in (root / f"{kind}s").iterdir() if path.stem == "3")
    path.write_bytes(other.read_bytes())  # a sound file with other pixels
    with pytest.raises(DataError, match=r"^2: .*2\.\w+: changed since the data were checked\. Start again"):
        np.asarray(getattr(store, kind)(2))
