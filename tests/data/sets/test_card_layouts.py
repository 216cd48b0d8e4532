"""Every card against an imitation of its data set: the same folders, names, encodings, junk files and defects."""

import tarfile
import zipfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from seg_scse.config.schema import DataConfig
from seg_scse.data.files.pictures import open_picture
from seg_scse.data.listing.manifest import build_manifest
from seg_scse.data.masks.reading import read_mask
from seg_scse.data.samples import SPLITS, Manifest
from seg_scse.data.sets.cards import Card, known_cards, load_card, resolve_card

from .fake_files import Fake, black_white, picture, save
from .fakes import FAKES

CARDS = sorted(known_cards())


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Fake, DataConfig]]:
    """Draw each imitation once, when it is first asked for."""

    class Drawn(dict[str, tuple[Fake, DataConfig]]):
        def __missing__(self, name: str) -> tuple[Fake, DataConfig]:
            root = tmp_path_factory.mktemp(name)
            fake = FAKES[name](root)
            cache = str(tmp_path_factory.mktemp("cache"))
            self[name] = fake, resolve_card(DataConfig(card=name, root=str(root), cache=cache))
            return self[name]

    return Drawn()


def sizes(manifest: Manifest) -> tuple[int, ...]:
    return tuple(len(manifest.indices(split)) for split in SPLITS)


def test_every_card_has_an_imitation():
    assert set(FAKES) == set(CARDS)


@pytest.mark.parametrize("name", CARDS)
def test_the_card_lists_and_divides_exactly_the_samples_of_the_data_set(name, drawn):
    fake, config = drawn[name]
    manifest = build_manifest(config)
    assert {sample.id for sample in manifest.samples} == set(fake.truth)
    assert sizes(manifest) == fake.sizes
    assert any("possible leak" in note for note in manifest.notes) == fake.leaks


@pytest.mark.parametrize("name", CARDS)
def test_every_image_and_mask_is_read_as_it_was_drawn(name, drawn):
    fake, config = drawn[name]
    for sample in build_manifest(config).samples:
        with open_picture(sample, config) as opened:
            shape, place = opened.shape, opened.place
            pixels, _ = opened.read(slice(0, shape[0]), slice(0, shape[1]))
        assert pixels.shape == (*fake.truth[sample.id].shape, fake.bands)
        assert np.array_equal(pixels, fake.images.get(sample.id, pixels)), sample.id
        found = read_mask(sample, shape[:2], place, config)
        assert np.array_equal(found, fake.truth[sample.id]), sample.id


@pytest.mark.parametrize("name", [name for name in CARDS if load_card(name).data.get("split", {}).get("group")])
def test_groups_are_coarser_than_samples(name, drawn):
    samples = build_manifest(drawn[name][1]).samples
    groups = defaultdict(set)
    for sample in samples:
        groups[sample.group].add(sample.split)
    assert 1 <= len(groups) < len(samples)
    assert drawn[name][0].leaks or all(len(splits) == 1 for splits in groups.values())


def pack(card: Card, data: Path, target: Path) -> None:
    """Pack the data into the card's archives, each top entry into the one of its name, else into the last."""
    named = {archive.file.split(".")[0]: archive for archive in card.archives}
    content = defaultdict(list)
    for path in sorted(path for path in data.rglob("*") if path.is_file()):
        relative = path.relative_to(data)
        archive = named.get(relative.parts[0], card.archives[-1])
        content[archive.file].append((path, Path(archive.folder) / relative))
    for name, members in content.items():
        if name.endswith(".zip"):
            with zipfile.ZipFile(target / name, "w") as zipped:
                for path, inside in members:
                    zipped.write(path, inside)
        else:
            with tarfile.open(target / name, "w:gz" if name.endswith(".gz") else "w") as tar:
                for path, inside in members:
                    tar.add(path, inside)


@pytest.mark.parametrize("name", [name for name in CARDS if load_card(name).archives and name != "dsb2018"])
def test_archives_give_the_same_samples_as_folders(name, drawn, tmp_path):
    _, config = drawn[name]
    (tmp_path / "data").mkdir()
    pack(load_card(name), Path(str(config.root)), tmp_path / "data")
    from_archives = DataConfig(card=name, root=str(tmp_path / "data"), cache=str(tmp_path / "cache"))
    assert {(sample.id, sample.split) for sample in build_manifest(from_archives).samples} == {
        (sample.id, sample.split) for sample in build_manifest(config).samples
    }


def test_pixels_without_data_are_marked_in_files_of_one_band_each(drawn):
    _, config = drawn["cloud38"]
    sample = build_manifest(config).samples[0]
    with open_picture(sample, config) as opened:
        pixels, valid = opened.read(slice(0, 24), slice(0, 32))
    assert pixels.dtype == np.uint16
    assert np.array_equal(valid, np.broadcast_to(np.arange(32) >= 3, (24, 32)))


def test_labels_of_an_older_drive_archive_give_its_two_halves(tmp_path):
    for folder, first, manual in (("training", 21, "training"), ("test", 1, "test")):
        for number in range(first, first + 20):
            save(tmp_path / folder / "images" / f"{number:02}_{manual}.tif", picture(str(number)))
            save(tmp_path / folder / "1st_manual" / f"{number:02}_manual1.gif", black_white(picture("m", 1) > 99))
    config = DataConfig(card="drive", root=str(tmp_path), images="{split}/images", masks="{split}/1st_manual")
    assert [s.split for s in build_manifest(config).samples if int(s.id) <= 20] == ["test"] * 20
