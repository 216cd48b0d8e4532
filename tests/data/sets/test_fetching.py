import hashlib
import io
import zipfile

import pytest

from seg_scse.data.sets import fetching
from seg_scse.data.sets.download import Patience
from seg_scse.data.sets.fetching import prepare, state
from seg_scse.errors import ConfigError, DataError

from .small_sets import IMAGES_ONLY, MASKS_ONLY, WHOLE, card, facts_of, names, ready
from .web_server import send, serve

QUICK = Patience(timeout=1.0, tries=2, pause=0.0)


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


def test_drawn_data_need_no_root_and_others_do(tmp_path):
    outcome = prepare("synthetic_cells", None)
    assert (outcome.root, outcome.how, sum(outcome.splits.values())) == (None, "drawn", 92)
    with pytest.raises(ConfigError, match="--root DIR is missing: the folder in which dsb2018 is, or is to be"):
        prepare("dsb2018", None)
    with pytest.raises(ConfigError, match="no such card"):
        prepare("none", tmp_path)
