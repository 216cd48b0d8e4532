import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg_scse.config.schema import DataConfig
from seg_scse.data import entries
from seg_scse.data.cache import cache_folder
from seg_scse.data.listing.manifest import build_manifest
from seg_scse.data.store import Store
from seg_scse.errors import DataError, WriteError

COUNT = 6


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for i in range(COUNT):
        height, width = 10 + i, 20 - i
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        mask = rng.choice(np.array([0, 1, 255], np.uint8), (height, width))
        Image.fromarray(image).save(tmp_path / f"data/images/{i}.png")
        Image.fromarray(mask).save(tmp_path / f"data/masks/{i}.png")
    return tmp_path / "data"


def config_of(root: Path, **data: object) -> DataConfig:
    fields = {
        "root": str(root),
        "cache": str(root.parent / "cache"),
        "mask": {"values": {0: 0, 1: 1, 255: 255}},
        "split": {"train": 0.5, "val": 0.25, "test": 0.25},
        **data,
    }
    return DataConfig.model_validate(fields)


def prepare(root: Path, **data: object) -> Store:
    config = config_of(root, **data)
    return Store.prepare(build_manifest(config), config)


@pytest.fixture
def decoded(monkeypatch):
    """Ids of the samples that were decoded and not taken from the cache."""
    calls: list[str] = []
    original = entries.open_picture

    def counting(sample, config):
        calls.append(sample.image.stem)
        return original(sample, config)

    monkeypatch.setattr(entries, "open_picture", counting)
    return calls


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_arrays_are_those_of_the_files(root):
    store = prepare(root)
    assert len(store) == COUNT
    for i in range(COUNT):
        assert np.array_equal(store.image(i), pixels(root / f"images/{i}.png"))
        assert np.array_equal(store.mask(i), pixels(root / f"masks/{i}.png"))
        assert store.image(i).dtype == store.mask(i).dtype == np.uint8


def test_statistics_are_those_of_all_pixels(root):
    statistics = prepare(root).statistics([0, 2])
    images = np.concatenate([pixels(root / f"images/{i}.png").reshape(-1, 3) for i in (0, 2)]) / 255
    masks = np.concatenate([pixels(root / f"masks/{i}.png").ravel() for i in (0, 2)])
    assert np.allclose(statistics.mean, images.mean(axis=0), atol=1e-12)
    assert np.allclose(statistics.std, images.std(axis=0), atol=1e-12)
    assert statistics.class_pixels == ((masks == 0).sum(), (masks == 1).sum())
    assert statistics.ignored == (masks == 255).sum()
    assert statistics.sizes == ((10, 20), (12, 18))


def test_constant_images_can_be_standardised(root):
    Image.new("RGB", (20, 10), (9, 9, 9)).save(root / "images/0.png")
    assert prepare(root).statistics([0]).std == pytest.approx((1 / 255,) * 3)


def test_the_second_run_decodes_nothing(root, decoded):
    first = prepare(root)
    assert sorted(decoded) == [str(i) for i in range(COUNT)]
    decoded.clear()
    second = prepare(root)
    assert decoded == []
    assert second.digest == first.digest
    assert second.statistics([1]) == first.statistics([1])
    assert second.notes == first.notes


def test_an_edited_file_is_decoded_again_and_changes_the_digest(root, decoded):
    first = prepare(root)
    decoded.clear()
    changed = 255 - pixels(root / "images/3.png")
    Image.fromarray(changed).save(root / "images/3.png")
    os.utime(root / "masks/4.png", ns=(1, 1))
    second = prepare(root)
    assert sorted(decoded) == ["3", "4"]
    assert np.array_equal(second.image(3), changed)
    assert second.digest != first.digest


def test_another_declaration_is_decoded_again(root, decoded):
    prepare(root)
    decoded.clear()
    mask = prepare(root, mask={"values": {0: 1, 1: 0, 255: 255}}).mask(0)
    assert len(decoded) == COUNT
    assert np.array_equal(mask == 1, pixels(root / "masks/0.png") == 0)


def test_the_digest_follows_ids_and_content_not_places(root, tmp_path):
    first = prepare(root)
    assert prepare(root.rename(tmp_path / "moved")).digest == first.digest
    for folder in ("images", "masks"):
        (tmp_path / "moved" / folder / "0.png").rename(tmp_path / "moved" / folder / "new.png")
    assert prepare(tmp_path / "moved").digest != first.digest


@pytest.mark.parametrize("damage", ["truncate", "empty", "other", "remove", "facts"])
def test_unusable_entries_are_made_again(root, decoded, damage):
    prepare(root)
    decoded.clear()
    cache = root.parent / "cache" / "samples"
    path = sorted(cache.rglob("*.json" if damage == "facts" else "*.image.npy"))[0]
    if damage == "truncate":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "other":
        np.save(path, np.zeros((2, 2)))
    elif damage == "facts":
        path.write_text('{"shape": 3}')
    else:
        path.unlink()
    store = prepare(root)
    assert len(decoded) == 1
    assert all(np.array_equal(store.image(i), pixels(root / f"images/{i}.png")) for i in range(COUNT))


def test_a_copy_removed_during_the_run_names_the_sample(root):
    store = prepare(root)
    for path in (root.parent / "cache").rglob("*.npy"):
        path.unlink()
    with pytest.raises(DataError, match=r"2 \(.*images/2\.png\): its decoded copy .* was removed or changed"):
        store.image(2)


def test_all_problems_are_listed_at_once(root):
    (root / "images/0.png").write_bytes(b"")
    (root / "images/1.png").write_bytes((root / "images/1.png").read_bytes()[:200])
    Image.new("L", (3, 3)).save(root / "masks/2.png")
    Image.fromarray(np.full((13, 17), 7, np.uint8)).save(root / "masks/3.png")
    with pytest.raises(DataError) as caught:
        prepare(root)
    text = str(caught.value)
    assert text.startswith("4 of 6 samples cannot be used:\n")
    for part in ("0.png: is empty", "1.png: the PNG file is cut off", "the mask is 3 x 3", "undeclared mask value 7"):
        assert part in text
    assert "data.exclude" in text


def test_a_wrong_declaration_is_not_repeated_for_every_file(root):
    with pytest.raises(DataError) as caught:
        prepare(root, mask={"encoding": "palette"})
    assert "6 of 6 samples" in str(caught.value)
    assert str(caught.value).count("data.mask.encoding") == 1
    assert "The same holds for 5 more samples: 1, 2, 3, 4, 5" in str(caught.value)


def test_what_was_done_to_images_is_noted(root):
    for i in (1, 2):
        Image.fromarray(pixels(root / f"images/{i}.png")).convert("RGBA").save(root / f"images/{i}.png")
    assert prepare(root).notes == ("2 of 6 images carry an opaque alpha channel, dropped",)


def test_equal_images_in_two_splits_are_a_leak(root):
    config = config_of(root)
    manifest = build_manifest(config)
    train, test = manifest.indices("train")[0], manifest.indices("test")[0]
    for folder in ("images", "masks"):
        source = Image.open(root / folder / f"{train}.png")
        source.save(root / folder / f"{test}.png", compress_level=0)  # other bytes, the same pixels
    notes = Store.prepare(manifest, config).notes
    pair = " = ".join(f"{i} ({manifest.samples[i].split})" for i in sorted((train, test)))
    assert f"leak: equal images are in more than one split (1 case): {pair}." in " ".join(notes)


def test_store_pickles_and_reads_in_another_process(root):
    store = prepare(root)
    copy = pickle.loads(pickle.dumps(store))  # noqa: TID251 - pickled here
    assert np.array_equal(copy.image(1), store.image(1))
    assert copy.digest == store.digest


def test_no_file_stays_open(root):
    store = prepare(root)
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    sums = [int(store.image(i).sum()) + int(store.mask(i).sum()) for i in range(COUNT)]
    after = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    assert after == before
    assert len(sums) == COUNT


def test_arrays_are_read_only(root):
    with pytest.raises(ValueError, match="read-only"):
        prepare(root).image(0)[0, 0, 0] = 1


def test_an_unwritable_cache_is_named(root):
    (root.parent / "cache").write_text("a file")
    with pytest.raises(WriteError, match=r"the cache cannot be written .*data\.cache=FOLDER"):
        prepare(root)


def test_nothing_but_entries_is_left_in_the_cache(root):
    prepare(root)
    names = [path.name for path in (root.parent / "cache").rglob("*") if path.is_file()]
    assert len(names) == 3 * COUNT
    assert not any(name.startswith(".") for name in names)


def test_cache_folder_follows_config_then_environment_then_home(tmp_path, monkeypatch):
    monkeypatch.setenv("SEG_SCSE_CACHE", str(tmp_path / "env"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder(DataConfig(cache=str(tmp_path / "own"))) == tmp_path / "own"
    assert cache_folder(DataConfig()) == tmp_path / "env"
    monkeypatch.delenv("SEG_SCSE_CACHE")
    assert cache_folder(DataConfig()) == tmp_path / "xdg" / "seg_scse"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder(DataConfig()) == tmp_path / ".cache" / "seg_scse"


def test_progress_is_drawn_on_stderr(root, capsys):
    config = config_of(root)
    Store.prepare(build_manifest(config), config, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "reading data" in captured.err


@pytest.fixture
def labelled(tmp_path):
    """Two labels that overlap in the second image, with a label that the first one lacks; ignored where no data is."""
    masks = {"a": ([[1, 1, 0], [0, 0, 0]], [[1, 1, 1], [0, 0, 0]]), "b": ([[0] * 3] * 2, [[0, 1, 1], [0, 1, 0]])}
    for name, planes in masks.items():
        (tmp_path / "data/masks" / name).mkdir(parents=True)
        for i, plane in enumerate(planes * 3):
            Image.fromarray(255 * np.array(plane, np.uint8)).save(tmp_path / f"data/masks/{name}/{i}.png")
    (tmp_path / "data/images").mkdir()
    for i in range(6):
        image = np.full((2, 3, 1), i + 1, np.uint8)
        image[1, 2] = 0
        np.save(tmp_path / f"data/images/{i}.npy", image)
    return tmp_path / "data"


LABELS = {
    "task": "multilabel",
    "masks": "masks/{class}",
    "classes": ("none", "a", "b"),
    "mask": {"encoding": "files"},
    "bands": ["x"],
    "nodata": 0,
}


def test_labels_are_counted_and_placed_where_their_bits_are(labelled):
    store = prepare(labelled, **LABELS)
    assert np.asarray(store.mask(1)).tolist() == [[1, 3, 3], [0, 2, 255]]
    statistics = store.statistics([0, 1])
    assert statistics.class_pixels == (3 + 1, 2 + 3, 3)
    assert statistics.ignored == 2
    for _ in range(2):  # found, then remembered
        places = store.places(1)
        assert {label: found.tolist() for label, found in places.pixels.items()} == {
            0: [[1, 0]],
            1: [[0, 0], [0, 1], [0, 2]],
            2: [[0, 1], [0, 2], [1, 1]],
        }
        assert places.counts == {0: 1, 1: 3, 2: 3}
    assert set(store.places(0).pixels) == {0, 1}


def test_places_of_labels_are_those_of_masks_that_are_not_kept(labelled, tmp_path):
    kept = prepare(labelled, **LABELS)
    read = prepare(labelled, **LABELS, cache=str(tmp_path / "other"), cache_gb=1e-9)
    assert not read.entries[1].stored
    for index in range(len(kept)):
        ours, theirs = kept.places(index), read.places(index)
        assert ours.counts == theirs.counts
        assert all(np.array_equal(ours.pixels[label], theirs.pixels[label]) for label in theirs.pixels)
