import hashlib
import zipfile
from pathlib import Path

import pytest

from seg_scse.config.schema import DataConfig
from seg_scse.data.listing.manifest import build_manifest
from seg_scse.data.sets.cards import load_card
from seg_scse.data.sets.fetching import prepare
from seg_scse.data.sets.locate import locate
from seg_scse.errors import DataError

from .card_writing import write_card


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SEG_SCSE_CACHE", str(tmp_path_factory.mktemp("cache")))


def zipped(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"1")


def two_archives(folder: Path, **fields: object) -> str:
    archives = [{"file": "images.zip", "part": "images"}, {"file": "masks.zip", "part": "masks", "folder": "gt"}]
    data = {"images": "train/images", "masks": "train/masks", "split": {"train": 1.0, "val": 0.0, "test": 0.0}}
    return write_card(folder, archives=archives, marker="train/masks", data=data, **fields)


def test_missing_data_say_where_to_get_them(tmp_path):
    with pytest.raises(DataError, match=r"data\.root is not set, .*Get stage1_train\.zip from https://bbbc"):
        build_manifest(DataConfig(card="dsb2018"))
    with pytest.raises(DataError, match=r"holds neither stage1_train\.zip nor 00071198\w+/images\. Get stage1_train"):
        build_manifest(DataConfig(card="dsb2018", root=str(tmp_path)))
    with pytest.raises(DataError, match=r"none does not exist\. Get stage1_train"):
        build_manifest(DataConfig(card="dsb2018", root=str(tmp_path / "none")))


@pytest.mark.parametrize("way", ["locate", "prepare"])
def test_archives_in_an_archive_are_unpacked_where_the_card_says_so(tmp_path, way):
    root = tmp_path / "data"
    root.mkdir()
    for name in ("images", "masks"):
        zipped(tmp_path / f"{name}.zip", *(f"{name}/{i}.png" for i in range(2)))
    with zipfile.ZipFile(root / "x.zip", "w") as archive:
        for name in ("images", "masks"):
            archive.write(tmp_path / f"{name}.zip", f"top/{name}.zip")
    facts = [{"file": "x.zip", "folder": "top", "nested": ["top/*.zip"]}]
    card = write_card(tmp_path, archives=facts, data={"split": {"train": 1.0, "val": 0.0, "test": 0.0}})
    if way == "prepare":
        assert prepare(card, root).splits["train"] == 2
    assert len(build_manifest(DataConfig(card=card, root=str(root))).samples) == 2


@pytest.mark.parametrize("given", ["folder", "archive"])
def test_archives_are_unpacked_and_another_release_is_noted(tmp_path, given):
    root = tmp_path / "data"
    root.mkdir()
    with zipfile.ZipFile(root / "x.zip", "w") as archive:
        for i in range(2):
            archive.writestr(f"top/images/{i}.png", b"1")
            archive.writestr(f"top/masks/{i}.png", b"1")
    facts = [{"file": "x.zip", "sha256": "0" * 64, "folder": "top"}]
    data = {"split": {"train": 1.0, "val": 0.0, "test": 0.0}}
    card = write_card(tmp_path, archives=facts, data=data)
    where = root if given == "folder" else root / "x.zip"
    manifest = build_manifest(DataConfig(card=card, root=str(where)))
    assert len(manifest.samples) == 2
    hashes = f"SHA-256 expected {'0' * 64}, actual {hashlib.sha256((root / 'x.zip').read_bytes()).hexdigest()}"
    assert f"x.zip differs from the release that card {card} was checked with: {hashes}" in manifest.notes
    wrong = write_card(tmp_path, archives=facts, data=data, marker="elsewhere")
    with pytest.raises(DataError, match=r"x\.zip: holds no elsewhere, so it is not T"):
        build_manifest(DataConfig(card=wrong, root=str(where)))


def test_the_embedded_set_is_drawn_once_and_completely(monkeypatch):
    from seg_scse.data.sets import synthetic

    calls = []

    def draw(root: Path) -> None:
        calls.append(root)
        if len(calls) == 1:
            (root / "images").mkdir()
            raise KeyboardInterrupt
        for i, split in enumerate(("train", "val", "test")):
            for folder in ("images", "masks"):
                (root / folder).mkdir(exist_ok=True)
                (root / folder / f"{i}.png").touch()
            with (root / "splits.csv").open("a") as table:
                table.write(("" if i else "id,split\n") + f"{i},{split}\n")

    monkeypatch.setattr(synthetic, "draw_dataset", draw)
    config = DataConfig(card="synthetic_cells")
    with pytest.raises(KeyboardInterrupt):
        build_manifest(config)
    for _ in range(2):
        assert [s.split for s in build_manifest(config).samples] == ["train", "val", "test"]
    assert len(calls) == 2


@pytest.mark.parametrize("given", ["folder", "archive"])
def test_archives_of_images_and_masks_are_merged(tmp_path, given):
    card = two_archives(tmp_path)
    zipped(tmp_path / "images.zip", "train/images/a.png", "readme.txt")
    zipped(tmp_path / "masks.zip", "gt/train/masks/a.png", "gt/readme.txt")
    root = tmp_path if given == "folder" else tmp_path / "masks.zip"
    for _ in range(2):
        (sample,) = build_manifest(DataConfig(card=card, root=str(root))).samples
        assert (sample.image.read_bytes(), sample.masks[0].read_bytes()) == (b"1", b"1")


def test_a_part_that_is_not_there_is_named(tmp_path):
    card = two_archives(tmp_path)
    zipped(tmp_path / "masks.zip", "gt/train/masks/a.png")
    notes: list[str] = []
    locate(load_card(card), DataConfig(card=card, root=str(tmp_path)), notes)
    assert notes == [f"images.zip of card {card} not found in {tmp_path}"]
    (tmp_path / "masks.zip").unlink()
    with pytest.raises(
        DataError, match=r"holds neither images\.zip, masks\.zip nor train/masks\. Get images\.zip and masks"
    ):
        locate(load_card(card), DataConfig(card=card, root=str(tmp_path)), notes)


def test_what_a_person_must_do_is_said(tmp_path):
    card = write_card(tmp_path, registration="Sign the form.", steps=["Unpack it."], marker="images")
    (tmp_path / "data").mkdir()
    with pytest.raises(
        DataError,
        match=r"holds no images\. Get the files from https://t \(Sign the form\)\. Then: Unpack it\. Set data\.root",
    ):
        build_manifest(DataConfig(card=card, root=str(tmp_path / "data")))


def test_a_step_that_was_not_done_is_said(tmp_path):
    card = write_card(tmp_path, steps=["Run cut.py."], made="tiles/*.png")
    (tmp_path / "data" / "images").mkdir(parents=True)
    config = DataConfig(card=card, root=str(tmp_path / "data"))
    with pytest.raises(DataError, match=r"data: holds no tiles/\*\.png yet\. By hand: Run cut\.py\."):
        locate(load_card(card), config, [])
    (tmp_path / "data" / "tiles").mkdir()
    (tmp_path / "data" / "tiles" / "0.png").touch()
    assert locate(load_card(card), config, []) == tmp_path / "data"


@pytest.mark.parametrize("inside", [".", "release_2", "my_cards"])
def test_the_data_folder_is_found_by_the_names_it_may_have(tmp_path, inside):
    (tmp_path / "my_cards").mkdir()
    card = write_card(tmp_path / "my_cards", also=["release_2"])
    (tmp_path / "data" / inside / "images").mkdir(parents=True)
    found = locate(load_card(card), DataConfig(card=card, root=str(tmp_path / "data")), [])
    assert found.resolve() == (tmp_path / "data" / inside).resolve()
