import fcntl
import socket

import pytest

from seg_scse.data.sets import download as downloading
from seg_scse.data.sets.download import Known, Patience, download
from seg_scse.errors import DataError

from .downloading import DATA, QUICK, SHA256, fetched, refused
from .web_server import running_server, send, serve


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


def test_a_server_that_is_not_there_is_named(target):
    with running_server() as gone:
        url = gone.url()
    with pytest.raises(DataError, match=r"cannot be reached \(.*Connection refused.*\), 3 times in a row"):
        download(url, target, patience=QUICK)


def test_a_name_that_does_not_resolve_is_asked_for_once(target, monkeypatch):
    asked: list[str] = []

    def unknown(host: str, *_: object, **__: object) -> None:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    expected = r"x\.zip: the name of its server cannot be resolved \(Name or service not known\)\. .* by hand"
    with pytest.raises(DataError, match=expected):
        download("http://nowhere.invalid/x.zip", target, patience=QUICK)
    assert asked == ["nowhere.invalid"]


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
