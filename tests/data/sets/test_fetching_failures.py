import errno
import fcntl
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from seg_scse.data.sets import fetching
from seg_scse.data.sets.fetching import prepare
from seg_scse.errors import DataError, WriteError

from .small_sets import IMAGES_ONLY, MASKS_ONLY, WHOLE, card, facts_of, names, ready, zipped


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
