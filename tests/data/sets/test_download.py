import fcntl
import hashlib
import http.client
import os
import shutil
import urllib.request
from collections import namedtuple
from pathlib import Path

import pytest

from seg_scse.data.sets import download as downloading
from seg_scse.data.sets.download import Known, Patience, download
from seg_scse.errors import DataError, WriteError

from .web_server import Server, running_server, send, serve

DATA = os.urandom(300_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
QUICK = Patience(timeout=0.5, tries=3, pause=0.0)
PAGE = b"<!DOCTYPE html><html><title>Sign in</title></html>"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with running_server() as running:
        yield running


@pytest.fixture
def target(tmp_path):
    return tmp_path / "new" / "data.zip"


def fetched(server: Server, target: Path, *answers, known: Known | None = None, patience: Patience = QUICK) -> bytes:
    server.answers = list(answers)
    assert download(server.url(), target, known, patience) == target
    assert [path.name for path in target.parent.iterdir()] == [target.name], "nothing is left beside it"
    return target.read_bytes()


def refused(server: Server, target: Path, *answers, known: Known | None = None) -> str:
    """Return the message of a download that must fail and leave no file under the target's name."""
    server.answers = list(answers)
    with pytest.raises(DataError) as caught:
        download(server.url(), target, known, QUICK)
    assert not target.exists()
    assert server.url() in str(caught.value)
    return str(caught.value)


def test_a_good_server_is_asked_once(server, target):
    assert fetched(server, target, serve(DATA), known=Known(SHA256, size=len(DATA))) == DATA
    assert server.ranges == [None]


def test_an_empty_file_is_a_file(server, target):
    assert fetched(server, target, send(200)) == b""


def test_a_cut_file_goes_on_where_it_was_cut(server, target, capfd):
    assert fetched(server, target, serve(DATA, cut=100_000), serve(DATA, cut=50_000), serve(DATA)) == DATA
    assert server.ranges == [None, "bytes=100000-", "bytes=150000-"]
    assert all(condition for _, _, condition in server.requests[1:]), "only if the file is still the same"
    assert "data.zip: cut off after 100000 of 300000 bytes; trying again" in capfd.readouterr().err


def test_a_server_that_falls_silent_is_asked_again(server, target):
    assert fetched(server, target, serve(DATA, cut=100_000, stall=2.0), serve(DATA)) == DATA
    assert server.ranges == [None, "bytes=100000-"]


def test_a_server_that_always_falls_silent_is_given_up(server, target):
    assert "the server stopped sending, 3 times in a row" in refused(server, target, serve(DATA, cut=9, stall=1.5))


def test_a_later_call_goes_on_with_what_is_kept(server, target):
    message = refused(server, target, serve(DATA, cut=100_000), serve(DATA, cut=0))
    assert "100000 bytes are kept, and the same command goes on from there" in message
    server.requests.clear()
    assert fetched(server, target, serve(DATA)) == DATA
    assert server.ranges == ["bytes=100000-"]


def test_bytes_of_another_address_are_not_gone_on_with(server, target):
    refused(server, target, serve(DATA, cut=100_000), serve(DATA, cut=0))
    server.requests.clear()
    server.answers = [serve(DATA)]
    download(server.url("other.zip"), target, patience=QUICK)
    assert (server.ranges, target.read_bytes()) == ([None], DATA)


def test_progress_earns_patience(server, target, monkeypatch):
    monkeypatch.setattr(downloading, "_BLOCK", 1000)
    cuts = [serve(DATA, cut=20_000) for _ in range(20)]
    assert fetched(server, target, *cuts) == DATA
    assert len(server.requests) == 15


def test_a_server_that_ignores_ranges_starts_again(server, target):
    cut, whole = serve(DATA, cut=100_000, ranges=False), serve(DATA, ranges=False)
    assert fetched(server, target, cut, whole) == DATA
    assert server.ranges == [None, "bytes=100000-"]


@pytest.mark.parametrize("tag", ["", 'W/"weak"'], ids=["strong", "weak"])
def test_a_file_that_changed_meanwhile_starts_again(server, target, tag):
    changed = DATA[::-1]
    answers = [serve(DATA, cut=100_000, tag=tag), serve(changed, tag=tag)]
    assert fetched(server, target, *answers, known=None if not tag else Known()) == changed


def test_a_changed_file_of_a_server_that_ignores_the_condition_starts_again(server, target):
    changed = send(206, b"x" * 200_000, Content_Range="bytes 100000-299999/300000", ETag='"other"')
    assert fetched(server, target, serve(DATA, cut=100_000), changed, serve(DATA)) == DATA
    assert server.ranges == [None, "bytes=100000-", None]


@pytest.mark.parametrize("span", ["bytes 0-199999/300000", "bytes 100000-299999/299999", "bytes 5-9/*", "nonsense"])
def test_another_part_than_asked_for_is_not_appended(server, target, span):
    etag = f'"{SHA256[:8]}"'
    other = send(206, DATA[:200_000], Content_Range=span, ETag=etag)
    assert fetched(server, target, serve(DATA, cut=100_000), other, serve(DATA)) == DATA


def test_no_version_of_the_server_means_no_going_on_unless_a_checksum_decides(server, target):
    cut = send(200, DATA[:1000], Content_Length=str(len(DATA)))
    assert fetched(server, target, cut, serve(DATA)) == DATA
    assert server.ranges == [None, None]
    target.unlink()
    server.requests.clear()
    assert fetched(server, target, cut, serve(DATA), known=Known(SHA256)) == DATA
    assert server.ranges == [None, "bytes=1000-"]


def test_a_range_that_cannot_be_satisfied_starts_again(server, target):
    unknown = send(416, Content_Range="bytes */7")
    assert fetched(server, target, serve(DATA, cut=100_000), unknown, serve(DATA)) == DATA
    assert server.ranges == [None, "bytes=100000-", None]


def test_all_bytes_of_a_file_without_announced_length_are_recognised(server, target):
    etag = f'"{SHA256[:8]}"'
    chunked = b"%x\r\n%b\r\n" % (len(DATA), DATA)  # the block of length 0 that ends a body is missing
    endless = send(200, chunked, Content_Length="", ETag=etag, Transfer_Encoding="chunked")
    assert fetched(server, target, endless, serve(DATA)) == DATA
    assert server.ranges == [None, f"bytes={len(DATA)}-"]


def test_bytes_that_were_complete_before_a_kill_are_not_asked_for(server, target, monkeypatch):
    server.answers = [serve(DATA)]
    with monkeypatch.context() as patch:
        patch.setattr(downloading, "describe", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            download(server.url(), target, patience=QUICK)
    assert not target.exists()
    server.requests.clear()
    assert fetched(server, target, serve(DATA)) == DATA
    assert server.requests == []


def test_a_server_that_recovers_is_forgiven(server, target):
    assert fetched(server, target, send(500), send(503), serve(DATA)) == DATA


def test_a_server_that_does_not_recover_is_named(server, target):
    assert "the server answers 500 (Internal Server Error), 3 times in a row" in refused(server, target, send(500))
    assert len(server.requests) == 3


def test_the_wait_that_a_server_asks_for_is_kept(server, target, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr(downloading.time, "sleep", waits.append)
    answers = [send(429, Retry_After="7"), send(503, Retry_After="9999"), send(500), serve(DATA)]
    assert fetched(server, target, *answers, patience=Patience(0.5, 5, 1.0)) == DATA
    assert waits == [7.0, 60.0, 4.0]


@pytest.mark.parametrize(
    ("status", "part"),
    [(404, "404 (Not Found). The address may have moved"), (403, "It needs an account or accepted terms")],
)
def test_what_no_patience_helps_against_is_said_at_once(server, target, status, part):
    assert part in refused(server, target, send(status, b"<html>"))
    assert len(server.requests) == 1


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


def test_a_server_that_is_not_there_is_named(target):
    with running_server() as gone:
        url = gone.url()
    with pytest.raises(DataError, match=r"cannot be reached \(.*Connection refused.*\), 3 times in a row"):
        download(url, target, patience=QUICK)


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


def test_a_failure_keeps_the_previous_file(server, target):
    target.parent.mkdir()
    target.write_bytes(b"previous")
    server.answers = [serve(b"other")]
    with pytest.raises(DataError):
        download(server.url(), target, Known(SHA256), QUICK)
    assert target.read_bytes() == b"previous"


def test_two_processes_do_not_mix_their_bytes(server, target):
    target.parent.mkdir()
    with target.with_name("data.zip.partial").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another process is downloading it"):
            download(server.url(), target)
    assert server.requests == []


def test_a_damaged_note_means_a_new_start(server, target):
    refused(server, target, serve(DATA, cut=100_000), serve(DATA, cut=0))
    target.with_name("data.zip.partial.json").write_text("[")
    server.requests.clear()
    assert fetched(server, target, serve(DATA)) == DATA
    assert server.ranges == [None]
