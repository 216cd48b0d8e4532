import errno
import fcntl
import hashlib
import io
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from seg_scse.data.sets import fetching
from seg_scse.data.sets.download import Patience
from seg_scse.data.sets.fetching import Prepared, prepare, state
from seg_scse.errors import ConfigError, DataError, WriteError

from .web_server import running_server, send, serve

QUICK = Patience(timeout=1.0, tries=2, pause=0.0)


def png(index: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((8, 8), index, np.uint8)).save(out, "PNG")
    return out.getvalue()


def members(folder: str, count: int = 8) -> dict[str, bytes]:
    return {f"{folder}/{index}.png": png(index % 2) for index in range(count)}


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


IMAGES, MASKS = members("cells/images"), members("cells/masks")
WHOLE = zipped({**IMAGES, **MASKS, "LICENCE.txt": b"CC0"})
IMAGES_ONLY, MASKS_ONLY = zipped(IMAGES), zipped(members("masks"))


def card(folder: Path, *archives: dict[str, object], **facts: object) -> str:
    """Write a card of eight pairs and return the path of its file."""
    content = {
        "title": "My cells", "source": "https://example.org/cells", "licence": "CC0", "citation": "none", "images": 8,
        "checked": "drawn", "layout": "pairs", "marker": "masks/*.png", "archives": list(archives),
        "data": {"classes": ["background", "cell"], "split": {"train": 0.5, "val": 0.25, "test": 0.25}}, **facts,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "card.yaml").write_text(yaml.safe_dump(content))
    return str(folder / "card.yaml")


def facts_of(data: bytes, **others: object) -> dict[str, object]:
    return {"file": "cells.zip", "folder": "cells", "sha256": hashlib.sha256(data).hexdigest(), **others}


@pytest.fixture
def root(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with running_server() as running:
        yield running


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def ready(outcome: Prepared, folder: Path, how: str) -> None:
    assert (outcome.root, outcome.how) == (folder, how)
    assert outcome.splits == {"train": 4, "val": 2, "test": 2}


def test_what_is_there_is_taken_as_it_is(root, tmp_path):
    name = card(tmp_path / "cells", facts_of(WHOLE))
    zipfile.ZipFile(io.BytesIO(WHOLE)).extractall(root)
    ready(prepare(name, root), root / "cells", "there")
    assert names(root) == ["LICENCE.txt", "cells"]


def test_an_archive_in_the_root_is_unpacked_once(root, tmp_path):
    name = card(tmp_path / "cells", facts_of(WHOLE))
    (root / "cells.zip").write_bytes(WHOLE)
    assert state(name, root) == "archive there"
    ready(prepare(name, root), root / "cells", "unpacked")
    assert (root / "cells" / "LICENCE.txt").read_bytes() == b"CC0"
    (root / "cells.zip").unlink()
    ready(prepare(name, root), root / "cells", "there")
    assert state(name, root) == "ready"
    assert names(root) == ["cells"]


@pytest.mark.parametrize("file", ["cells.zip", "renamed (1).zip"])
def test_an_archive_that_lies_elsewhere_is_unpacked_into_the_root(root, tmp_path, file):
    name = card(tmp_path / "cells", facts_of(WHOLE))
    (tmp_path / file).write_bytes(WHOLE)
    ready(prepare(name, root, [tmp_path / file]), root / "cells", "unpacked")
    assert names(root) == ["cells"]


def test_a_named_archive_goes_before_one_in_the_root(root, tmp_path):
    name = card(tmp_path / "cells", facts_of(WHOLE))
    (root / "cells.zip").write_bytes(WHOLE[:-100])
    (tmp_path / "cells.zip").write_bytes(WHOLE)
    ready(prepare(name, root, [tmp_path / "cells.zip"]), root / "cells", "unpacked")


def test_archives_of_one_set_are_put_together(root, tmp_path):
    parts = [{"file": "images.zip", "folder": "cells"}, {"file": "masks.zip"}]
    name = card(tmp_path / "cells", *parts)
    (root / "images.zip").write_bytes(IMAGES_ONLY)
    assert state(name, root) == "part there"
    with pytest.raises(DataError, match=r"masks\.zip is not in .*data, and there is no direct link to it") as caught:
        prepare(name, root)
    assert "images.zip" not in str(caught.value)
    (tmp_path / "masks.zip").write_bytes(MASKS_ONLY)
    ready(prepare(name, root, [tmp_path / "masks.zip"]), root / "cells", "unpacked")
    assert names(root / "cells") == [fetching.STAMP, "images", "masks"]


def test_archives_are_told_by_their_content(root, tmp_path):
    parts = [facts_of(IMAGES_ONLY, file="images.zip"), facts_of(MASKS_ONLY, file="masks.zip", folder="")]
    name = card(tmp_path / "cells", *parts)
    (tmp_path / "a.zip").write_bytes(MASKS_ONLY)
    (tmp_path / "b.zip").write_bytes(IMAGES_ONLY)
    ready(prepare(name, root, [tmp_path / "a.zip", tmp_path / "b.zip"]), root / "cells", "unpacked")


def test_one_archive_of_another_name_may_hold_everything(root, tmp_path):
    name = card(tmp_path / "cells", {"file": "images.zip", "folder": "cells"}, {"file": "masks.zip"})
    (tmp_path / "all.zip").write_bytes(WHOLE)
    ready(prepare(name, root, [tmp_path / "all.zip"]), root / "cells", "unpacked")


def test_strange_archives_are_named(root, tmp_path):
    name = card(tmp_path / "cells", {"file": "images.zip"}, {"file": "masks.zip"})
    for file in ("images.zip", "other.zip"):
        (tmp_path / file).write_bytes(IMAGES_ONLY)
    with pytest.raises(DataError, match=r"other\.zip: not among the archives of card .* \(images\.zip, masks\.zip\)"):
        prepare(name, root, [tmp_path / "images.zip", tmp_path / "other.zip"])
    with pytest.raises(DataError, match=r"--archive: .*none\.zip is no file"):
        prepare(name, root, [tmp_path / "none.zip"])


def test_what_is_missing_is_downloaded(server, root, tmp_path):
    server.answers = [serve(WHOLE, cut=100), serve(WHOLE)]
    name = card(tmp_path / "cells", facts_of(WHOLE, url=server.url("cells.zip"), bytes=len(WHOLE)))
    ready(prepare(name, root, patience=QUICK), root / "cells", "downloaded")
    assert names(root) == ["cells", "cells.zip"]
    assert server.ranges == [None, "bytes=100-"]


def test_only_what_is_missing_is_downloaded(server, root, tmp_path):
    server.answers = [serve(MASKS_ONLY)]
    parts = [
        {"file": "images.zip", "folder": "cells", "url": server.url("images.zip")},
        {"file": "masks.zip", "url": server.url("masks.zip")},
    ]
    (root / "images.zip").write_bytes(IMAGES_ONLY)
    ready(prepare(card(tmp_path / "cells", *parts), root, patience=QUICK), root / "cells", "downloaded")
    assert [path for path, _, _ in server.requests] == ["/masks.zip"]


def test_nothing_is_downloaded_before_all_of_it_can_be(server, root, tmp_path):
    server.answers = [serve(IMAGES_ONLY)]
    name = card(tmp_path / "cells", {"file": "images.zip", "url": server.url()}, {"file": "masks.zip"})
    with pytest.raises(DataError, match=r"masks\.zip is not in"):
        prepare(name, root)
    assert server.requests == []


def test_without_a_download_the_error_says_what_to_do_by_hand(server, root, tmp_path):
    archive = facts_of(WHOLE, url=server.url())
    name = card(tmp_path / "my cells", archive, terms="Cite us.", registration="Sign in.", steps=["Wash your hands."])
    with pytest.raises(DataError) as caught:
        prepare(name, root, allow_download=False)
    assert server.requests == []
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{name}: cells.zip is not in {root}, and downloads are off."
    assert lines[1:] == [
        "  1. Get cells.zip from https://example.org/cells. Sign in. Licence: CC0. Cite us.",
        f"  2. Save it as {root / 'cells.zip'} (SHA-256 {archive['sha256']}).",
        "  3. Wash your hands.",
        f"  4. Repeat: seg-scse data prepare '{name}' --root {root} "
        "(add --archive FILE ... for files that lie elsewhere).",
    ]


@pytest.mark.parametrize(
    ("answers", "part"),
    [
        ([send(404)], "404 (Not Found)"),
        ([send(200, b"<html>Sign in</html>")], "an HTML page (login or error page?)"),
        ([serve(b"other")], f"actual {hashlib.sha256(b'other').hexdigest()}"),
        ([serve(WHOLE, cut=50), serve(WHOLE, cut=0)], f"cut off after 50 of {len(WHOLE)} bytes, 2 times in a row"),
    ],
    ids=["missing", "page", "wrong", "cut"],
)
def test_a_download_that_fails_leaves_no_data_and_says_what_to_do_by_hand(server, root, tmp_path, answers, part):
    server.answers = answers
    name = card(tmp_path / "cells", facts_of(WHOLE, url=server.url()))
    with pytest.raises(DataError) as caught:
        prepare(name, root, patience=QUICK)
    assert part in str(caught.value)
    assert f"Save it as {root / 'cells.zip'}" in str(caught.value)
    assert not {"cells", "cells.zip"} & set(names(root))


def test_another_release_is_named_in_a_note(root, tmp_path):
    name = card(tmp_path / "cells", {**facts_of(WHOLE), "sha256": "0" * 64})
    (root / "cells.zip").write_bytes(WHOLE)
    outcome = prepare(name, root)
    actual = hashlib.sha256(WHOLE).hexdigest()
    assert f"another release than the card was checked with: SHA-256 expected {'0' * 64}, actual {actual}" in str(
        outcome.notes
    )


def test_images_that_are_not_there_are_counted(root, tmp_path):
    name = card(tmp_path / "cells", facts_of(WHOLE), images=100)
    (root / "cells.zip").write_bytes(WHOLE)
    assert "8 of the 100 images on the card are there" in str(prepare(name, root).notes)


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (WHOLE[:-100], "damaged or cut off"),
        (b"<html>404</html>", "it is an HTML page"),
        (zipped({"../evil": b"1"}), "outside the target folder"),
        (zipped({"readme.txt": b"1"}), r"holds no masks/\*\.png, so it is not My cells"),
    ],
    ids=["cut", "page", "unsafe", "other"],
)
def test_an_archive_that_cannot_be_used_leaves_no_folder(root, tmp_path, data, part):
    name = card(tmp_path / "cells", facts_of(WHOLE))
    (root / "cells.zip").write_bytes(data)
    with pytest.raises(DataError, match=part):
        prepare(name, root)
    assert names(root) == ["cells.zip"]
    assert names(tmp_path) == ["cells", "data"]


def test_an_unpacking_that_was_interrupted_is_not_taken_for_complete(root, tmp_path, monkeypatch):
    name = card(tmp_path / "cells", {"file": "images.zip", "folder": "cells"}, {"file": "masks.zip"})
    (root / "images.zip").write_bytes(IMAGES_ONLY)
    (root / "masks.zip").write_bytes(MASKS_ONLY)
    real = fetching.unpack

    def interrupted(archive: Path, folder: Path, nested: Sequence[str]) -> str:
        if archive.name == "masks.zip":
            raise KeyboardInterrupt
        return real(archive, folder, nested)

    monkeypatch.setattr(fetching, "unpack", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(name, root)
    assert names(root) == ["images.zip", "masks.zip"]
    monkeypatch.undo()
    ready(prepare(name, root), root / "cells", "unpacked")


def test_what_killed_unpackings_left_is_removed_and_nothing_else(root, tmp_path):
    name = card(tmp_path / "cells", facts_of(WHOLE))
    (root / "cells.zip").write_bytes(WHOLE)
    for folder in (".cells.killed", ".cells.at_work", ".cells.of_user"):
        (root / folder).mkdir()
    for folder in (".cells.killed", ".cells.at_work"):
        (root / folder / ".unfinished").touch()
    with (root / ".cells.at_work" / ".unfinished").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        prepare(name, root)
    assert names(root) == [".cells.at_work", ".cells.of_user", "cells", "cells.zip"]


def test_a_folder_that_lost_files_is_noticed(root, tmp_path):
    name = card(tmp_path / "cells", facts_of(WHOLE))
    (root / "cells.zip").write_bytes(WHOLE)
    folder = prepare(name, root).root
    assert folder is not None
    (folder / "cells" / "images" / ".DS_Store").touch()
    prepare(name, root)
    (folder / "cells" / "images" / "0.png").unlink()
    with pytest.raises(DataError, match=r"is no longer what was unpacked \(17 files, .*; now 16 files.*Remove .*cells"):
        prepare(name, root)


def test_a_folder_of_another_archive_is_not_passed_off(root, tmp_path):
    name = card(tmp_path / "cells", {"file": "cells.zip", "folder": "cells"})
    (root / "cells.zip").write_bytes(WHOLE)
    prepare(name, root)
    prepare(name, root, [root / "cells.zip"])
    (tmp_path / "cells.zip").write_bytes(IMAGES_ONLY)
    with pytest.raises(DataError, match=r"was unpacked from another archive than .*cells\.zip"):
        prepare(name, root, [tmp_path / "cells.zip"])


def test_a_folder_with_other_things_is_not_touched(root, tmp_path):
    name = card(tmp_path / "cells", facts_of(WHOLE))
    (root / "cells.zip").write_bytes(WHOLE)
    (root / "cells").mkdir()
    (root / "cells" / "mine.txt").touch()
    with pytest.raises(DataError, match=r"cells: is there, but holds no masks/\*\.png"):
        prepare(name, root)
    assert names(root / "cells") == ["mine.txt"]


def test_a_disk_that_fills_up_leaves_no_folder(root, tmp_path, monkeypatch):
    name = card(tmp_path / "cells", facts_of(WHOLE))
    (root / "cells.zip").write_bytes(WHOLE)

    def full(*_: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(fetching, "unpack", full)
    with pytest.raises(WriteError, match=r"cells: the disk is full"):
        prepare(name, root)
    assert names(root) == ["cells.zip"]


def test_a_root_that_cannot_be_written_is_named(tmp_path):
    name = card(tmp_path / "cells", facts_of(WHOLE))
    (tmp_path / "cells.zip").write_bytes(WHOLE)
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="cannot be written"):
        prepare(name, tmp_path / "file" / "data", [tmp_path / "cells.zip"])


def test_drawn_data_need_no_root_and_others_do(tmp_path):
    outcome = prepare("synthetic_cells", None)
    assert (outcome.root, outcome.how, sum(outcome.splits.values())) == (None, "drawn", 92)
    with pytest.raises(ConfigError, match="--root DIR is missing: the folder in which dsb2018 is, or is to be"):
        prepare("dsb2018", None)
    with pytest.raises(ConfigError, match="no such card"):
        prepare("none", tmp_path)
