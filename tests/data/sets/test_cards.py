import re
from pathlib import Path

import pytest

from seg_scse.config.schema import DataConfig
from seg_scse.data.listing.manifest import build_manifest
from seg_scse.data.listing.splits import read_lists
from seg_scse.data.sets.cards import (
    Archive,
    Card,
    PublishedResult,
    SplitRule,
    card_path,
    known_cards,
    load_card,
    resolve_card,
)
from seg_scse.errors import ConfigError, DataError

from .card_writing import write_card

FETCHED_BY_HAND = {
    "amazon_forest",
    "dsb2018",
    "mangrove",
}  # without registration, but not as one file with a fixed link


def objects(root: Path, ids: list[str]) -> None:
    for id_ in ids:
        for name in (f"images/{id_}.png", "masks/1.png", "masks/2.png"):
            (root / id_ / name).parent.mkdir(parents=True, exist_ok=True)
            (root / id_ / name).touch()


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SEG_SCSE_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.mark.parametrize("name", sorted(known_cards()))
def test_shipped_cards_are_complete(name):
    card = load_card(name)
    folder = card_path(name).parent
    assert (folder / "README.md").is_file()
    assert not (folder / "__init__.py").exists()
    for list_ in (card.split.lists or {}).values():
        assert (folder / list_).is_file()
    resolved = resolve_card(DataConfig(card=name))
    assert resolved.classes == tuple(card.data["classes"]) == tuple(card.colours)
    assert card.generator or card.archives or card.steps, "how are the files to be had?"
    assert card.downloadable or card.generator or card.registration or card.steps or card.archives
    assert not any(archive.url is None for archive in card.archives) or card.registration or name in FETCHED_BY_HAND


def test_every_folder_of_datasets_is_a_card():
    datasets = Path(__file__).parents[3] / "datasets"
    assert {path.name for path in datasets.iterdir() if path.is_dir()} == set(known_cards())


def test_dsb2018_has_the_published_lists():
    folder = card_path("dsb2018").parent
    lists = load_card("dsb2018").split.lists
    table = read_lists({split: folder / name for split, name in lists.items()})
    assert len(table) == load_card("dsb2018").images
    assert list(table.values()).count("test") == 133
    assert all(len(id_) == 64 for id_ in table)


def test_unknown_cards_list_the_known_ones():
    with pytest.raises(
        ConfigError,
        match=r"data\.card=dsb: no such card\. Known: amazon_forest, busi, .*dsb2018, .*vaihingen; or the path",
    ):
        resolve_card(DataConfig(card="dsb"))


def test_without_a_card_nothing_changes():
    config = DataConfig(root="x")
    assert resolve_card(config) is config


def test_card_fills_what_the_user_left_and_keeps_the_rest():
    user = {
        "card": "amazon_forest",
        "mask": {"nodata": "refuse"},
        "split": {"seed": 7},
        "exclude": {"x": "y"},
        "alpha": "drop",
    }
    config = resolve_card(DataConfig.model_validate(user))
    assert (config.mask.encoding, config.mask.values, config.mask.nodata) == ("palette", {1: 1, 2: 0}, "refuse")
    assert (config.split.val, config.split.seed) == (0.2, 7)
    assert set(config.exclude) == {"x", "Amazon_181.tiff_34"}
    assert (config.images, config.alpha, config.classes) == ("{split}/images", "drop", ("non_forest", "forest"))


def test_a_users_values_replace_the_cards():
    user = {"card": "amazon_forest", "mask": {"values": {1: 0, 2: 1}}, "classes": ["forest", "other"]}
    config = resolve_card(DataConfig.model_validate(user))
    assert (config.mask.values, config.classes) == ({1: 0, 2: 1}, ("forest", "other"))


def test_resolving_twice_or_after_a_dump_changes_nothing():
    config = resolve_card(DataConfig(card="dsb2018", root="x"))
    assert resolve_card(config) == config
    assert resolve_card(DataConfig.model_validate(config.model_dump(mode="json"))) == config


def test_a_combination_that_is_invalid_names_card_and_rule():
    with pytest.raises(ConfigError, match=r"data\.card=dsb2018 together with your settings is invalid: .*two classes"):
        resolve_card(DataConfig(card="dsb2018", classes=("a", "b", "c")))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"data": {"root": "/"}}, "data.root is the user's to set"),
        ({"data": {"imagse": "x"}}, "imagse"),
        ({"split": {"table": "a", "folders": {}}}, "give one of lists, root_lists, table, patterns and folders"),
        ({"split": {"line": "(a)"}}, "line says how to read root_lists"),
        ({"split": {"patterns": {"train": "("}}}, r"'\(' is not a regular expression"),
        ({"archives": [{"file": "../x.zip"}]}, "archives.0.file"),
        ({"archives": [{"file": "x.zip", "url": "x.zip"}]}, "archives.0.url"),
        ({"archives": [{"file": "x.zip", "md5": "0" * 31}]}, "archives.0.md5"),
        (
            {"colours": {"foreground": "#ffffff"}},
            r"colours names \['foreground'\], but the classes are \['background', ",
        ),
        ({"data": {"split": {"group": "(a)"}}}, "grouping must say why data.split.group keeps samples together"),
        ({"made": "output"}, "made is what the steps make: say in steps how"),
        ({"surprise": 1}, "surprise: Extra inputs"),
    ],
)
def test_wrong_cards_are_refused(tmp_path, fields, reason):
    with pytest.raises(DataError, match=rf"card\.yaml: not a valid card: .*{reason}"):
        load_card(write_card(tmp_path, **fields))


@pytest.mark.parametrize("path", ["../../../etc/passwd", "/etc/*", "a/../../b", "C:/x", "~/x", "..\\\\x", "\\\\x"])
@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("marker", lambda path: {"marker": path}),
        ("also.0", lambda path: {"also": [path]}),
        ("made", lambda path: {"made": path, "steps": ["Do it."]}),
        ("split.lists.train", lambda path: {"split": {"lists": {"train": path}}}),
        ("split.root_lists.val", lambda path: {"split": {"root_lists": {"val": path}}}),
        ("split.table", lambda path: {"split": {"table": path}}),
        ("archives.0.folder", lambda path: {"archives": [{"file": "x.zip", "folder": path}]}),
        ("archives.0.nested.0", lambda path: {"archives": [{"file": "x.zip", "nested": [path]}]}),
        ("data.images", lambda path: {"data": {"images": path}}),
        ("data.masks", lambda path: {"data": {"masks": path}}),
        ("data.split.file", lambda path: {"data": {"split": {"file": path}}}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_paths_that_lead_out_of_their_folder_are_refused(tmp_path, field, fields, path):
    with pytest.raises(DataError, match=rf"card\.yaml: not a valid card: .*{field}: .* leads out of the folder"):
        load_card(write_card(tmp_path, **fields(path)))


def test_names_with_two_dots_in_them_stay_inside(tmp_path):
    card = load_card(write_card(tmp_path, marker="a..b/*.png", archives=[{"file": "x.zip", "folder": "v1..2/x"}]))
    assert card.marker == "a..b/*.png"


@pytest.mark.parametrize(
    ("licence", "brief"),
    [
        ("CC0 1.0", "CC0 1.0"),
        ("unclear: none that could be confirmed", "unclear: none that could be confirmed"),
        ("CC BY 4.0 (as commonly stated; not confirmed)", "unconfirmed: CC BY 4.0"),
        ("said to be CC BY 4.0 (unconfirmed); contains other data", "unconfirmed: CC BY 4.0"),
    ],
)
def test_a_doubt_about_the_licence_comes_first(tmp_path, licence, brief):
    assert load_card(write_card(tmp_path, licence=licence)).licence_brief == brief


@pytest.mark.parametrize(
    ("fields", "access"),
    [
        ({"generator": "synthetic_cells"}, "drawn"),
        ({"archives": [{"file": "x.zip", "url": "https://x/x.zip"}]}, "download"),
        ({"archives": [{"file": "x.zip", "url": "https://x/x.zip"}], "steps": ["Cut."]}, "download, then by hand"),
        ({"archives": [{"file": "x.zip"}], "registration": "Sign."}, "by hand (register)"),
        ({"steps": ["Ask."]}, "by hand"),
    ],
)
def test_access_says_what_is_to_be_done_by_hand(tmp_path, fields, access):
    assert load_card(write_card(tmp_path, **fields)).access == access


def test_cards_hold_plain_values_only(tmp_path):
    (tmp_path / "card.yaml").write_text("title: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(ConfigError, match="tag"):
        load_card(str(tmp_path / "card.yaml"))


def test_object_folders_take_their_split_from_the_lists(tmp_path):
    objects(tmp_path / "data" / "stage1_train", ["a", "b", "c", "d"])
    (tmp_path / "train.txt").write_text("a\nb\n")
    (tmp_path / "test.txt").write_text("c\n")
    archives = [{"file": "x.zip", "folder": "stage1_train"}]
    lists = {"lists": {"train": "train.txt", "test": "test.txt"}}
    data = {"mask": {"encoding": "objects"}, "split": {"train": 0.5, "val": 0.5, "test": 0.0}}
    card = write_card(
        tmp_path, layout="object_folders", marker="*/images/*.png", archives=archives, split=lists, data=data
    )
    manifest = build_manifest(DataConfig(card=card, root=str(tmp_path / "data")))
    assert {s.split for s in manifest.samples if s.id in "ab"} == {"train", "val"}
    assert [(s.id, s.split, len(s.masks)) for s in manifest.samples][2:] == [("c", "test", 2)]
    assert f"1 samples are in no split of {card}, left out: d" in manifest.notes
    (tmp_path / "test.txt").write_text("c\ngone\n")
    with pytest.raises(DataError, match=r"1 of 4 ids are not among the 4 samples: gone"):
        build_manifest(DataConfig(card=card, root=str(tmp_path / "data")))
    (tmp_path / "data/stage1_train/b/masks/1.png").unlink()
    (tmp_path / "data/stage1_train/b/masks/2.png").unlink()
    with pytest.raises(DataError, match="b: 1 images and 0 masks; one image and at least one mask"):
        build_manifest(DataConfig(card=card, root=str(tmp_path / "data")))


def test_split_folders_may_be_renamed_by_a_card(tmp_path):
    for name in ("training/images/a", "training/masks/a", "validation/images/b", "validation/masks/b", "test/images/c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.png").touch()
    data = {"images": "{split}/images", "masks": "{split}/masks", "split": {"train": 1.0, "val": 0.0, "test": 0.0}}
    folders = {"folders": {"training": "train", "validation": "test"}}
    card = write_card(tmp_path, marker="training/images", split=folders, data=data)
    manifest = build_manifest(DataConfig(card=card, root=str(tmp_path)))
    assert [(s.id, s.split) for s in manifest.samples] == [("a", "train"), ("b", "test")]


def test_every_card_is_in_the_table_of_the_documentation():
    page = (Path(__file__).parents[3] / "docs" / "datasets.md").read_text()
    rows = dict(re.findall(r"^\| \[(\w+)\]\(\.\./datasets/\1/README\.md\) \|[^|]*\| (\d+) \|", page, re.MULTILINE))
    assert rows == {name: str(load_card(name).images) for name in known_cards()}


def test_the_card_of_the_documentation_is_valid(tmp_path):
    page = (Path(__file__).parents[3] / "docs" / "datasets.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (example,) = (block for block in blocks if "marker" in block)
    (tmp_path / "card.yaml").write_text(example)
    assert load_card(str(tmp_path / "card.yaml")).archives[0].folder == "cells"


def test_every_field_of_a_card_is_in_the_documentation():
    page = (Path(__file__).parents[3] / "docs" / "datasets.md").read_text()
    fields = {*Card.model_fields, *Archive.model_fields, *SplitRule.model_fields, *PublishedResult.model_fields}
    assert [name for name in sorted(fields - {"generator"}) if f"`{name}`" not in page] == []
