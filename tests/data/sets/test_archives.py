import gzip
import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from seg_scse.data.sets import archives
from seg_scse.data.sets.archives import extract, file_sha256, unpack
from seg_scse.errors import DataError, WriteError


def zip_of(path: Path, members: dict[str, bytes], modes: dict[str, int] | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (modes or {}).get(name, stat.S_IFREG | 0o644) << 16
            archive.writestr(info, data)
    return path


def tar_of(path: Path, members: dict[str, bytes], kinds: dict[str, bytes] | None = None) -> Path:
    kind = path.suffix.removeprefix(".")
    with tarfile.open(path, f"w:{kind}" if kind in ("gz", "bz2", "xz") else "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.type = (kinds or {}).get(name, tarfile.REGTYPE)
            info.size = len(data)
            info.linkname = "/etc/passwd"
            archive.addfile(info, io.BytesIO(data))
    return path


MAKERS = {"a.zip": zip_of, "a.tar": tar_of, "a.tar.gz": tar_of, "a.tar.bz2": tar_of, "a.tar.xz": tar_of}
FILES = {"d/x.txt": b"x" * 1000, "d/e/y.txt": os.urandom(2000), "z": b""}


def tree(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and not p.name.startswith(".")
    }


@pytest.mark.parametrize("name", MAKERS)
def test_archives_are_unpacked_once_and_completely(tmp_path, name):
    archive = MAKERS[name](tmp_path / name, FILES)
    folder, sha256 = extract(archive, tmp_path / "cache")
    assert tree(folder) == FILES
    assert sha256 == file_sha256(archive)
    (folder / "seen").touch()
    assert extract(archive, tmp_path / "cache") == (folder, sha256)
    assert (folder / "seen").exists()


def test_a_changed_archive_is_unpacked_anew(tmp_path):
    first, _ = extract(zip_of(tmp_path / "a.zip", FILES), tmp_path / "cache")
    second, _ = extract(zip_of(tmp_path / "a.zip", {"other": b"1"}), tmp_path / "cache")
    assert first != second
    assert tree(second) == {"other": b"1"}


def assert_refused(archive: Path, reason: str) -> None:
    cache = archive.parent / "cache"
    before = {p for p in archive.parent.rglob("*") if cache not in p.parents}
    with pytest.raises(DataError, match=reason) as caught:
        extract(archive, cache)
    assert archive.name in str(caught.value)
    assert [p for p in cache.rglob("*") if p.is_file()] == []
    assert list((cache / "archives").iterdir()) == []
    assert {p for p in archive.parent.rglob("*") if cache not in p.parents} - {cache} == before


OUTSIDE = ["../evil", "a/../../evil", "/evil", "C:/evil", "..\\evil"]


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("member", OUTSIDE)
def test_names_outside_are_refused(tmp_path, name, member):
    assert_refused(MAKERS[name](tmp_path / name, {"ok": b"1", member: b"2"}), "outside the target folder")


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("members", [("a/B.png", "a/b.png"), ("A/x", "a/y"), ("\u00e9", "\u0065\u0301")])
def test_names_that_differ_in_case_are_refused(tmp_path, name, members):
    assert_refused(MAKERS[name](tmp_path / name, dict.fromkeys(members, b"1")), "differ in case only")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_tar_are_refused(tmp_path, kind):
    assert_refused(tar_of(tmp_path / "a.tar", {"ok": b"1", "l": b""}, {"l": kind}), "l is a link or device")


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFCHR])
def test_links_and_devices_in_zip_are_refused(tmp_path, mode):
    assert_refused(zip_of(tmp_path / "a.zip", {"l": b"/etc/passwd"}, {"l": mode | 0o777}), "l is a link or device")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_given_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x", b"1")
        archive.writestr("x", b"2")
    assert_refused(tmp_path / "a.zip", "x is there twice")


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("members", [("a", "a/b"), ("a/b", "a")])
def test_a_name_of_a_file_and_a_folder_is_refused(tmp_path, name, members):
    assert_refused(MAKERS[name](tmp_path / name, dict.fromkeys(members, b"1")), f"{members[1]} is a file and a folder")


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tar.bz2", "a.tar.xz"])
def test_decompression_bombs_are_refused(tmp_path, name):
    assert_refused(MAKERS[name](tmp_path / name, {"zeros": bytes(20_000_000)}), "more than 200 times its size")


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_bombs_of_many_small_members_are_refused(tmp_path, name):
    members = {f"{index}": bytes(900_000) for index in range(40)}
    assert_refused(MAKERS[name](tmp_path / name, members), "more than 200 times its size")


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_FILES", 3)
    assert_refused(zip_of(tmp_path / "a.zip", {f"{i}": b"" for i in range(9)}), "more than 3 files")


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tar.bz2", "a.tar.xz"])
def test_cut_archives_are_refused(tmp_path, name, share):
    archive = MAKERS[name](tmp_path / name, {f"{i}": os.urandom(5000) for i in range(10)})
    archive.write_bytes(archive.read_bytes()[: int(archive.stat().st_size * share)])
    assert_refused(archive, "damaged")


def test_damaged_members_are_refused(tmp_path):
    archive = zip_of(tmp_path / "a.zip", {"x": os.urandom(5000)})
    data = bytearray(archive.read_bytes())
    data[3000] ^= 255
    archive.write_bytes(data)
    assert_refused(archive, "damaged")


def test_an_error_page_instead_of_an_archive_is_named(tmp_path):
    (tmp_path / "a.zip").write_text("<html>404</html>")
    assert_refused(tmp_path / "a.zip", "it is an HTML page")


@pytest.mark.parametrize(
    ("name", "start", "part"),
    [
        ("a.7z", b"7z\xbc\xaf\x27\x1c", r"it is a 7z archive. Unpack it by hand \(`7z x a\.7z`\)"),
        ("a.rar", b"Rar!\x1a\x07\x01\x00", r"it is a RAR archive. Unpack it by hand \(`unrar x a\.rar`\)"),
        ("a.zip.001", b"PK\x03\x04", r"one of several parts. Put them together by hand \(`cat NAME\.zip\.\*"),
        ("a.z01", b"PK\x07\x08", r"the first part of a zip in several files.*`zip -s 0 NAME\.zip --out whole\.zip`"),
    ],
)
def test_what_must_be_unpacked_by_hand_says_how(tmp_path, name, start, part):
    (tmp_path / name).write_bytes(start + bytes(100))
    assert_refused(tmp_path / name, part)


def test_the_last_part_of_a_zip_is_told_from_a_damaged_one(tmp_path):
    archive = zip_of(tmp_path / "a.zip", FILES)
    data = bytearray(archive.read_bytes())
    data[data.rfind(b"PK\x05\x06") + 4] = 2  # the number of the disk that the directory is on
    archive.write_bytes(data)
    assert_refused(archive, "it is one of several parts")


def test_a_single_gzip_file_becomes_the_file_in_it(tmp_path):
    (tmp_path / "im0001.ppm.gz").write_bytes(gzip.compress(b"P6 1 1 255 abc"))
    assert tree(extract(tmp_path / "im0001.ppm.gz", tmp_path / "whole")[0]) == {"im0001.ppm": b"P6 1 1 255 abc"}
    (tmp_path / "cut.ppm.gz").write_bytes(gzip.compress(os.urandom(5000))[:-100])
    assert_refused(tmp_path / "cut.ppm.gz", "damaged")


def nested(folder: Path, inner: dict[str, bytes]) -> Path:
    return zip_of(folder / "a.zip", {"set/part.zip": zip_of(folder / "inner.zip", inner).read_bytes(), "set/x": b"1"})


def test_declared_archives_in_an_archive_are_unpacked_where_they_lie(tmp_path):
    archive = nested(tmp_path, {"y/z": b"2", "deep.zip": zip_of(tmp_path / "deep.zip", FILES).read_bytes()})
    (tmp_path / "plain").mkdir()
    unpack(archive, tmp_path / "plain")
    assert set(tree(tmp_path / "plain")) == {"set/part.zip", "set/x"}
    (tmp_path / "all").mkdir()
    assert unpack(archive, tmp_path / "all", ["*/*.zip"]) == file_sha256(archive)
    assert set(tree(tmp_path / "all")) == {"set/x", "set/y/z", "set/deep.zip"}, "one level, as declared"


@pytest.mark.parametrize(
    ("inner", "part"),
    [
        ({"../../evil": b"1"}, r"set/part\.zip in it: \.\./\.\./evil would be written outside"),
        ({"x": b"2"}, r"set/part\.zip in it: x is there twice"),
        ({"X": b"2"}, r"set/part\.zip in it: X and set/x differ in case only"),
        ({"zeros": bytes(5_000_000)}, "more than 200 times its size"),
    ],
    ids=["outside", "twice", "case", "bomb"],
)
def test_archives_in_an_archive_are_as_safe(tmp_path, inner, part):
    archive = nested(tmp_path, inner)
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match=part):
        unpack(archive, tmp_path / "out", ["*/*.zip"])
    assert not (tmp_path / "evil").exists()


def test_a_declared_archive_that_is_not_there_is_named(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match=r"it holds no part\*\.zip, which should be unpacked too"):
        unpack(zip_of(tmp_path / "a.zip", FILES), tmp_path / "out", ["part*.zip"])


def test_a_half_done_extraction_is_not_taken_for_complete(tmp_path, monkeypatch):
    archive = zip_of(tmp_path / "a.zip", FILES)
    monkeypatch.setattr(archives, "file_sha256", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        extract(archive, tmp_path / "cache")
    monkeypatch.undo()
    assert tree(extract(archive, tmp_path / "cache")[0]) == FILES


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(WriteError, match=r"the cache cannot be written .*data\.cache=FOLDER"):
        extract(zip_of(tmp_path / "a.zip", FILES), tmp_path / "cache")
