"""Scaling: the declared one, over the declared pixels, remembered; refused where it would be a guess."""

import json

import numpy as np
import pytest

from seg_scse.data import scale_measuring
from seg_scse.data.listing.manifest import build_manifest
from seg_scse.data.scaling import Scaling
from seg_scse.data.single import read_scaled
from seg_scse.data.store import Store
from seg_scse.errors import ConfigError, DataError

from .numeric import COUNT, config_of, drawn, prepare, write


def native(root, i):
    return np.load(root / f"images/{i}.npy").astype(np.float64)


def train_of(root, bands, **data):
    return build_manifest(config_of(root, bands, **data)).indices("train")


@pytest.mark.parametrize(
    ("dtype", "highest"), [("uint8", 255), ("uint16", 65535), ("uint32", 4294967295), ("float32", 1)]
)
def test_dtype_divides_by_the_range_of_the_type(tmp_path, dtype, highest):
    root = write(tmp_path / "d", drawn(dtype, 4, 0, highest))
    store = prepare(root, 4)
    for i in range(COUNT):
        image = store.image(i)
        expected = native(root, i) / highest
        assert image.shape == (20, 24, 4)
        if dtype == "uint8":
            assert isinstance(image, np.ndarray)
            assert np.array_equal(image, native(root, i))
        else:
            assert image.dtype == np.float32
            assert np.asarray(image).dtype == np.float32
            assert np.allclose(image, expected, atol=1e-6)
            assert np.allclose(image[3:9, 5:8], expected[3:9, 5:8], atol=1e-6)


def test_signed_values_are_refused_with_their_range_and_a_line_to_write(tmp_path):
    images = drawn("int16", 1, -1000, 2900)
    images[0][0, 0], images[1][0, 0] = -1024, 3071
    root = write(tmp_path / "d", images)
    with pytest.raises(DataError) as caught:
        prepare(root, 1)
    text = str(caught.value)
    assert "4 of 4 images are int16 with values -1024 to 3071, such as 0" in text
    assert "`data.scale: {method: range, low: -1100, high: 3100}`" in text
    assert prepare(root, 1, scale={"method": "range", "low": -1100, "high": 3100})


def test_floats_beyond_0_to_1_are_refused_and_those_inside_are_taken(tmp_path):
    images = drawn("float32", 2, 0, 1)
    assert prepare(write(tmp_path / "d", images), 2).image(0).dtype == np.float32
    images[2][3, 3, 1] = 1.5
    with pytest.raises(DataError, match=r"1 of 4 images are float32 .* 1\.5, such as 2; floats must be in \[0, 1\]"):
        prepare(write(tmp_path / "d", images), 2)


def test_range_scales_each_band_and_clips(tmp_path):
    root = write(tmp_path / "d", drawn("int16", 2, -200, 1200))
    store = prepare(root, 2, scale={"method": "range", "low": [0, -100], "high": [1000, 300]})
    low, high = np.array([0, -100]), np.array([1000, 300])
    for i in range(COUNT):
        assert np.allclose(store.image(i), ((native(root, i) - low) / (high - low)).clip(0, 1), atol=1e-6)
    assert "scale by range: b0 0 to 1000, b1 -100 to 300 become 0 to 1" in store.notes
    train = np.concatenate([native(root, i) for i in train_of(root, 2)])
    share = ((train < low) | (train > high)).mean()
    assert f"scale: {share:.2%} of the values of the training images are beyond, and clipped" in store.notes


def test_ranges_for_another_number_of_bands_are_refused(tmp_path):
    root = write(tmp_path / "d", drawn("int16", 3))
    with pytest.raises(ConfigError, match=r"data\.scale: low has 2 numbers .* 3 bands: b0, b1, b2"):
        prepare(root, 3, scale={"method": "range", "low": [0, 1], "high": [5, 6]})
    with pytest.raises(ConfigError, match=r"ranges for 2 bands, but there is one: b0"):
        prepare(write(tmp_path / "e", drawn("int16", 1)), 1, scale={"method": "range", "low": [0, 1], "high": 5})


def test_percentiles_are_those_of_the_training_pixels(tmp_path):
    root = write(tmp_path / "d", drawn("uint16", 3, 0, 5000))
    declared = {"method": "percentile", "percentiles": [2, 90]}
    store = prepare(root, 3, scale=declared)
    train = np.concatenate([native(root, i).reshape(-1, 3) for i in train_of(root, 3)])
    low, high = np.percentile(train, [2, 90], axis=0)
    assert store.scales.as_state() == {"low": pytest.approx(low), "high": pytest.approx(high)}
    assert np.allclose(store.image(3), ((native(root, 3) - low) / (high - low)).clip(0, 1), atol=1e-5)


def test_zscore_is_mean_and_deviations_of_the_training_pixels(tmp_path):
    root = write(tmp_path / "d", drawn("int16", 2, -500, 900))
    store = prepare(root, 2, scale={"method": "zscore", "sigmas": 2})
    train = np.concatenate([native(root, i).reshape(-1, 2) for i in train_of(root, 2)])
    mean, std = train.mean(0), train.std(0)
    assert store.scales.as_state() == {
        "low": pytest.approx(mean - 2 * std),
        "high": pytest.approx(mean + 2 * std),
    }


@pytest.mark.parametrize("method", ["percentile", "zscore"])
def test_per_file_measures_each_by_itself(tmp_path, method):
    images = drawn("int16", 1, 0, 1000)
    images[1] = images[0] * 3 + 77
    root = write(tmp_path / "d", images)
    store = prepare(root, 1, scale={"method": method, "per": "file"})
    assert store.scales.as_state() is None
    assert np.allclose(store.image(0), store.image(1), atol=1e-5)
    assert len(set(store.scales.each)) == COUNT


def test_a_kept_scale_is_used_and_nothing_is_measured(tmp_path):
    root = write(tmp_path / "d", drawn("uint16", 1))
    store = prepare(root, 1, {"low": [100.0], "high": [300.0]}, scale={"method": "percentile"})
    assert np.allclose(store.image(0), ((native(root, 0) - 100) / 200).clip(0, 1), atol=1e-6)
    assert not (tmp_path / "cache/scales").exists()


def test_a_measurement_is_remembered_until_pixels_change(tmp_path, monkeypatch):
    calls = []
    original = scale_measuring.evenly
    monkeypatch.setattr(scale_measuring, "evenly", lambda *args: calls.append(args[1]) or original(*args))
    images, declared = drawn("uint16", 1), {"scale": {"method": "percentile"}}
    first = prepare(write(tmp_path / "d", images), 1, **declared)
    measured, again = len(calls), prepare(tmp_path / "d", 1, **declared)
    assert len(calls) == measured > 0
    assert again.scales == first.scales
    assert again.statistics([0, 1]) == first.statistics([0, 1])
    prepare(write(tmp_path / "d", [image + 1 for image in images]), 1, **declared)
    assert len(calls) == 2 * measured


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "7", "null", "[[], []]", "[[[0], [1]]]", '["", [[0.0], [1.0]]]', "[" * 9999]
)
def test_a_damaged_measurement_is_made_again(tmp_path, content):
    root = write(tmp_path / "d", drawn("uint16", 1))
    first = prepare(root, 1, scale={"method": "percentile"})
    files = list((tmp_path / "cache/scales").iterdir())
    assert len(files) == 2  # the percentiles, and what they clip
    written = [path.read_text() for path in files]
    for path in files:
        path.write_text(content)
    again = prepare(root, 1, scale={"method": "percentile"})
    assert again.scales == first.scales
    assert again.statistics([0, 1]) == first.statistics([0, 1])
    assert [path.read_text() for path in files] == written


@pytest.mark.parametrize(
    "scale",
    [
        {"method": "range", "low": -2000, "high": 2000},
        {"method": "range", "low": 0, "high": 500},
        {"method": "percentile"},
        {"method": "zscore", "sigmas": 1, "per": "file"},
    ],
)
@pytest.mark.parametrize("dtype", ["int16", "int32", "float32"])
def test_statistics_are_those_of_the_scaled_pixels(tmp_path, scale, dtype):
    root = write(tmp_path / "d", drawn(dtype, 2, -800, 900))
    store = prepare(root, 2, scale=scale)
    found = store.statistics([0, 2, 3])
    pixels = np.concatenate([np.asarray(store.image(i), np.float64).reshape(-1, 2) for i in (0, 2, 3)])
    assert np.allclose(found.mean, pixels.mean(0), atol=1e-6)
    assert np.allclose(found.std, pixels.std(0), atol=1e-6)


def nodata_set(root, dtype):
    images = drawn(dtype, 2, 10, 1000)
    for i, image in enumerate(images):
        image[: 3 + i, :7] = -999
    return write(root, images)


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_pixels_without_data_are_filled_ignored_and_out_of_every_number(tmp_path, dtype):
    root = nodata_set(tmp_path / "d", dtype)
    store = prepare(root, 2, nodata=-999, scale={"method": "percentile", "percentiles": [5, 95]})
    train, kept = train_of(root, 2), []
    for i in range(COUNT):
        valid = (native(root, i) != -999).any(-1)
        kept.append(native(root, i)[valid])
        mask = np.asarray(store.mask(i))
        assert (mask[~valid] == 255).all()
        assert (mask[valid] != 255).all()
        inside = np.asarray(store._native(i))[~valid]
        fill = kept[i].mean(0)
        assert np.allclose(inside, fill if dtype == "float32" else np.rint(fill), rtol=1e-6)
    pixels = np.concatenate([kept[i] for i in train])
    low, high = np.percentile(pixels, [5, 95], axis=0)
    assert store.scales.as_state() == {"low": pytest.approx(low), "high": pytest.approx(high)}
    found = store.statistics(train)
    scaled = ((pixels - low) / (high - low)).clip(0, 1)
    assert np.allclose(found.mean, scaled.mean(0), atol=1e-6)
    assert np.allclose(found.std, scaled.std(0), atol=1e-6)
    assert any(note.startswith("4 of 4 images have pixels without data") for note in store.notes)


def test_nan_is_no_data(tmp_path):
    images = drawn("float32", 2, 0, 1)
    images[0][4, 5, 1] = np.nan
    store = prepare(write(tmp_path / "d", images), 2)
    assert store.mask(0)[4, 5] == 255
    assert np.isfinite(np.asarray(store.image(0))).all()
    assert store.entries[0].valid == 20 * 24 - 1


def test_uint16_that_use_little_of_their_range_are_noted(tmp_path):
    notes = prepare(write(tmp_path / "d", drawn("uint16", 1, 0, 4000)), 1).notes
    assert any("uint16 values go up to" in note and "method: percentile" in note for note in notes)
    notes = prepare(write(tmp_path / "e", drawn("uint16", 1, 0, 60000)), 1).notes
    assert not any("go up to" in note for note in notes)


def test_a_constant_band_is_0_and_has_a_deviation(tmp_path):
    images = [np.full((5, 6, 1), 7, np.int16) for _ in range(COUNT)]
    store = prepare(write(tmp_path / "d", images), 1, scale={"method": "percentile"})
    assert (np.asarray(store.image(0)) == 0).all()
    assert store.statistics([0]).std == (1e-3,)


def test_large_integers_keep_their_differences():
    pixels = np.array([[[2**30], [2**30 + 1]]], np.int32)
    scaled = Scaling((2.0**30,), (2.0**30 + 2,)).apply(pixels)
    assert scaled.dtype == np.float32
    assert scaled.ravel().tolist() == [0, 0.5]


@pytest.mark.parametrize(
    "scale",
    [{"method": "range", "low": -800, "high": 900}, {"method": "percentile"}, {"method": "zscore", "per": "file"}],
)
def test_a_file_of_no_data_set_is_scaled_as_those_of_the_run(tmp_path, scale):
    root = nodata_set(tmp_path / "d", "int16")
    config = config_of(root, 2, nodata=-999, scale=scale)
    store = Store.prepare(build_manifest(config), config)
    state = json.loads(json.dumps(store.scales.as_state()))
    for i in range(COUNT):
        assert np.array_equal(read_scaled(root / f"images/{i}.npy", config, state), np.asarray(store.image(i)))


def test_percentiles_take_evenly_spread_pixels_of_large_images(tmp_path, monkeypatch):
    monkeypatch.setattr(scale_measuring, "MOST_OF_IMAGE", 40)
    ramp = np.arange(480, dtype=np.int16).reshape(20, 24, 1)
    store = prepare(
        write(tmp_path / "d", [ramp + i for i in range(COUNT)]),
        1,
        scale={"method": "percentile", "percentiles": [0, 100]},
    )
    (low,), (high,) = store.scales.shared.low, store.scales.shared.high
    assert low <= 3
    assert 465 < high <= 482
