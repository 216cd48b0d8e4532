import hashlib
import http.client
import shutil
import urllib.request
from collections import namedtuple

import pytest

from seg_scse.data.sets.download import Known, download
from seg_scse.errors import DataError, WriteError

from .downloading import DATA, QUICK, SHA256, fetched, refused
from .web_server import send, serve

PAGE = b"<!DOCTYPE html><html><title>Sign in</title></html>"


def test_a_page_instead_of_the_file_is_named(server, target):
    message = refused(server, target, send(200, PAGE), known=Known(SHA256, size=len(DATA)))
    assert f"sends an HTML page (login or error page?) instead of SHA-256 {SHA256}; it was removed" in message
    assert list(target.parent.iterdir()) == []


def test_a_pointer_instead_of_the_file_is_named(server, target):
    assert "a Git LFS pointer" in refused(server, target, send(200, b"version https://git-lfs.github.com/spec/v1\n"))


def test_wrong_content_is_fetched_once_more_and_then_refused(server, target):
    message = refused(server, target, serve(b"other"), known=Known(SHA256))
    assert f"SHA-256 expected {SHA256}, actual {hashlib.sha256(b'other').hexdigest()}; it was removed" in message
    assert server.ranges == [None, None]
    assert list(target.parent.iterdir()) == []


def test_wrong_content_that_is_right_the_second_time_is_taken(server, target):
    assert fetched(server, target, serve(b"x" * len(DATA)), serve(DATA), known=Known(SHA256)) == DATA


def test_an_md5_is_looked_at_where_nothing_better_is_known(server, target):
    md5 = hashlib.md5(DATA).hexdigest()
    assert fetched(server, target, serve(DATA), known=Known(md5=md5)) == DATA
    assert fetched(server, target, serve(DATA), known=Known(SHA256, "0" * 32)) == DATA
    target.unlink()
    assert f"MD5 expected {'0' * 32}, actual {md5}" in refused(server, target, serve(DATA), known=Known(md5="0" * 32))


def test_a_size_that_cannot_be_is_refused_before_the_transfer(server, target):
    message = refused(server, target, send(200, b"x", Content_Length="4000000000"), known=Known(SHA256, size=3_000_000))
    assert "has 4000000000 bytes or more where 3000000 were expected: refused" in message
    assert len(server.requests) == 1


def test_a_flood_without_announced_length_is_stopped(server, target):
    endless = send(200, DATA, Content_Length="")
    assert "bytes or more where 1000 were expected" in refused(server, target, endless, known=Known(SHA256, size=1000))


def test_a_file_far_smaller_than_declared_is_refused(server, target):
    assert "expected about 300000 bytes, actual 9" in refused(
        server, target, serve(b"x" * 9), known=Known(size=300_000)
    )


def test_a_length_that_is_too_long_is_a_cut(server, target):
    lie = send(200, DATA, Content_Length=str(len(DATA) + 1))
    assert "cut off after 300000 of 300001 bytes, 3 times in a row" in refused(server, target, lie)


def test_an_end_that_nothing_proves_is_not_trusted(server, target):
    silent = send(200, DATA, Content_Length="")
    assert "a cut file could not be told from a whole one" in refused(server, target, silent)
    assert fetched(server, target, silent, known=Known(SHA256)) == DATA


def test_redirects_are_followed(server, target):
    assert fetched(server, target, send(302, Location="/elsewhere"), serve(DATA)) == DATA
    assert [path for path, _, _ in server.requests] == ["/data.zip", "/elsewhere"]


@pytest.mark.parametrize("there", ["/data.zip", "ftp://127.0.0.1/x", "file:///etc/passwd"])
def test_redirects_in_a_circle_or_off_the_web_are_refused(server, target, there):
    message = refused(server, target, send(302, Location=there))
    assert "redirects" in message
    assert len(server.requests) < 8


def test_a_long_chain_of_redirects_is_cut(server, target):
    chain = [send(302, Location=f"/{number}") for number in range(30)]
    assert "redirects more than 5 times, in a circle, or to no web address" in refused(server, target, *chain)
    assert len(server.requests) == 6


def test_a_redirect_that_leaves_encryption_is_refused(server, target, monkeypatch):
    def plain(_: object, request: urllib.request.Request):  # the test server speaks no TLS
        return urllib.request.HTTPHandler().do_open(http.client.HTTPConnection, request)

    monkeypatch.setattr(urllib.request.HTTPSHandler, "https_open", plain)
    server.answers = [send(302, Location=server.url("plain.zip")), serve(DATA)]
    with pytest.raises(DataError, match=r"redirects from https to http://.*plain.zip, which is not encrypted: refused"):
        download(server.url().replace("http:", "https:"), target, patience=QUICK)
    assert not target.exists()
    assert len(server.requests) == 1, "the file is not asked for over http"


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/x", "data:text/plain,x", "/etc/passwd"])
def test_other_schemes_are_refused(target, url):
    with pytest.raises(DataError, match="is no scheme to download by; only http, https, file are"):
        download(url, target)


def test_files_of_this_machine_are_copied_and_checked(tmp_path, target):
    source = tmp_path / "a b.zip"
    source.write_bytes(DATA)
    assert download(source.as_uri(), target, Known(SHA256)).read_bytes() == DATA
    with pytest.raises(DataError, match=f"actual {SHA256}"):
        download(source.as_uri(), tmp_path / "other.zip", Known("0" * 64))
    with pytest.raises(DataError, match=r"none\.zip: cannot be read"):
        download((tmp_path / "none.zip").as_uri(), tmp_path / "other.zip")


def test_a_file_that_the_disk_cannot_hold_is_not_begun(server, target, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(9, 9, 2**20))
    server.answers = [send(200, b"x", Content_Length=str(50 * 2**20))]
    with pytest.raises(WriteError, match=r"the disk has no room: 50 MiB are needed, 1 MiB are free"):
        download(server.url(), target, patience=QUICK)
    assert len(server.requests) == 1


def test_a_disk_that_fills_up_is_named_and_what_is_there_is_kept(server, target, monkeypatch):
    def full(partial: object, block: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("seg_scse.data.sets.partial.Partial.append", full)
    server.answers = [serve(DATA)]
    with pytest.raises(WriteError, match=r"data\.zip: the disk is full\. Free some room and repeat"):
        download(server.url(), target, patience=QUICK)


def test_a_folder_that_cannot_be_written_is_named(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="cannot be written"):
        download(server.url(), tmp_path / "file" / "data.zip")
