"""The real archives, where they are: beside the repository in ../shared/data, or in $SEG_SCSE_REAL_DATA."""

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from seg_scse.config.schema import DataConfig
from seg_scse.data.files.pictures import file_sample, open_picture
from seg_scse.data.listing.manifest import build_manifest
from seg_scse.data.samples import SPLITS
from seg_scse.data.sets.archives import extract
from seg_scse.data.sets.cards import resolve_card
from seg_scse.data.store import Store
from seg_scse.errors import DataError

from .files.drawn_files import read_picture

FOLDER = Path(os.environ.get("SEG_SCSE_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="no real data: set SEG_SCSE_REAL_DATA to the folder of the archives"
)


def need(name: str) -> Path:
    if not (FOLDER / name).is_file():
        pytest.skip(f"{name} is not in the folder of real data")
    return FOLDER / name


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def samples(cache):
    return extract(need("real_samples.tar.gz"), cache)[0]


def split_folders(root: Path, cache: Path, **data: object) -> DataConfig:
    folders = {"images": "{split}/images", "masks": "{split}/masks"}
    return DataConfig.model_validate({"root": str(root), "cache": str(cache), **folders, **data})


def prepared(config: DataConfig) -> Store:
    return Store.prepare(build_manifest(config), config)


def test_amazon_forest_is_read_with_its_defects(cache):
    need("amazon_forest_rgb.tar.gz")
    config = resolve_card(DataConfig(card="amazon_forest", root=str(FOLDER), cache=str(cache)))
    manifest = build_manifest(config)
    assert [len(manifest.indices(split)) for split in SPLITS] == [23, 6, 15]
    assert "excluded Amazon_181.tiff_34: its mask is 515 x 512 pixels, its image 512 x 512" in manifest.notes
    assert not any("differs from the release" in note for note in manifest.notes)
    store = Store.prepare(manifest, config)
    assert not any("leak" in note for note in store.notes)
    everything = range(len(store))
    assert sum(store.statistics(everything).class_pixels) == 44 * 512 * 512
    reds = [
        [store.image(i)[..., 0][store.mask(i) == k].mean() for k in (0, 1) if (store.mask(i) == k).any()]
        for i in everything
    ]
    assert np.mean([pair[1] < pair[0] for pair in reds if len(pair) == 2]) > 0.9  # forest reflects less red light


def test_amazon_mask_of_another_size_is_refused_by_name(cache):
    need("amazon_forest_rgb.tar.gz")
    folder = extract(FOLDER / "amazon_forest_rgb.tar.gz", cache)[0] / "amazon_forest_rgb" / "training"
    config = DataConfig.model_validate(
        {"root": str(folder), "cache": str(cache), "mask": {"encoding": "palette", "values": {1: 1, 2: 0}}}
    )
    with pytest.raises(
        DataError, match=r"1 of 30 samples (.|\n)*Amazon_181\.tiff_34\.png: the mask is 515 x 512 pixels"
    ):
        prepared(config)


@pytest.mark.slow
def test_dsb2018_is_read_from_its_archive(cache):
    need("stage1_train.zip")
    config = resolve_card(DataConfig(card="dsb2018", root=str(FOLDER), cache=str(cache)))
    manifest = build_manifest(config)
    assert [len(manifest.indices(split)) for split in SPLITS] == [478, 53, 133]
    assert sum(len(sample.masks) for sample in manifest.samples) == 28986
    store = Store.prepare(manifest, config)
    assert "664 of 664 images carry an opaque alpha channel, dropped" in store.notes
    assert len(set(store.statistics(range(664)).sizes)) == 9
    most = max(range(664), key=lambda i: len(manifest.samples[i].masks))
    union = np.max([np.asarray(Image.open(path)) for path in manifest.samples[most].masks], axis=0)
    assert len(manifest.samples[most].masks) == 375
    assert np.array_equal(store.mask(most), union > 127)


def test_palette_masks_of_three_classes_are_read(samples, cache):
    root = next(samples.rglob("axons"))
    config = split_folders(
        root, cache, channels="gray", classes=["background", "myelin", "axon"], mask={"encoding": "palette"}
    )
    store = prepared(config)
    assert store.image(0).shape == (256, 256, 1)
    assert min(store.statistics(range(len(store))).class_pixels) > 0


def test_black_and_white_masks_are_refused_and_read_with_the_suggested_line(samples, cache):
    root = next(path for path in samples.rglob("water") if path.is_dir())
    with pytest.raises(DataError, match=r"put `data\.mask\.values: \{0: 0, 255: 1\}`"):
        prepared(split_folders(root, cache))
    by_value = prepared(split_folders(root, cache, mask={"values": {0: 0, 255: 1}}))
    assert by_value.digest == prepared(split_folders(root, cache, mask={"encoding": "binary"})).digest


@pytest.fixture(scope="module")
def mangrove(cache):
    need("mangrove_dev_4band.tar.gz")
    config = resolve_card(DataConfig(card="mangrove", root=str(FOLDER), cache=str(cache)))
    return config, build_manifest(config)


def test_mangrove_has_four_bands_which_are_read_exactly(mangrove):
    config, manifest = mangrove
    assert [len(manifest.indices(split)) for split in SPLITS] == [6, 2, 4]
    assert not any("differs from the release" in note for note in manifest.notes)
    store = Store.prepare(manifest, config)
    for index, sample in enumerate(manifest.samples):
        with rasterio.open(sample.image) as file:
            assert np.array_equal(np.asarray(store.image(index)), np.moveaxis(file.read(), 0, -1))
    statistics = store.statistics(range(12))
    assert set(statistics.sizes) == {(512, 512)}
    assert statistics.class_pixels == (2255740, 889988)
    assert len(statistics.mean) == 4


def test_mangroves_are_brighter_in_infrared_than_in_any_colour(mangrove):
    config, manifest = mangrove
    store = Store.prepare(manifest, config)
    for index in range(3):
        *colours, infrared = np.asarray(store.image(index))[np.asarray(store.mask(index)) == 1].mean(axis=0)
        assert infrared > 2 * max(colours)


def test_mangrove_tiles_lie_on_the_map(mangrove):
    config, manifest = mangrove
    with open_picture(manifest.samples[0], config) as picture:
        assert (picture.place.crs, picture.place.spacing, picture.place.unit) == ("EPSG:32750", (10.0, 10.0), "m")


def test_infrared_is_not_taken_for_transparency_silently(mangrove):
    sample = mangrove[1].samples[0]
    with pytest.raises(DataError, match=r"MAHAKAM_00001\.tif: \d+ pixels of the alpha channel are not 255"):
        read_picture(file_sample(sample.image), DataConfig())
    colours, _, _ = read_picture(sample, DataConfig(bands=("red", "green", "blue", "nir"), use=("blue", "red")))
    with rasterio.open(sample.image) as file:
        assert np.array_equal(colours, np.moveaxis(file.read([3, 1]), 0, -1))
