import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from seg_scse.data.recent import Recent


def kept(recent: Recent[bytes], *keys: int) -> list[int]:
    """Tell which keys are kept, without keeping others: what cannot be made is not remembered."""

    def missing() -> bytes:
        raise LookupError

    found = []
    for key in keys:
        try:
            recent.get(key, missing)
            found.append(key)
        except LookupError:
            continue
    return found


def test_an_item_is_made_once():
    recent: Recent[list[int]] = Recent()
    first = recent.get("a", lambda: [1])
    assert recent.get("a", lambda: [2]) is first == [1]
    assert recent.get("b", lambda: [3]) == [3]
    assert len(recent) == 2


def test_the_items_asked_for_last_are_kept():
    recent: Recent[bytes] = Recent(most=3)
    for key in (0, 1, 2, 0, 3):
        recent.get(key, bytes)
    assert kept(recent, 0, 1, 2, 3) == [0, 2, 3]


def test_items_are_forgotten_by_their_bytes():
    recent = Recent(most_bytes=100, size=len)
    for key in range(4):
        recent.get(key, lambda: bytes(40))
    assert kept(recent, 0, 1, 2, 3) == [2, 3]
    recent.get(9, lambda: bytes(500))
    assert kept(recent, 2, 3, 9) == [9]  # the last is kept however large it is
    for key in range(4):
        recent.get(key, lambda: bytes(40))
    assert kept(recent, 0, 1, 2, 3, 9) == [2, 3]


def test_no_bytes_keep_the_last_item_only():
    recent = Recent(size=len)
    recent.most_bytes = 0
    for key in range(3):
        recent.get(key, lambda: b"1")
    assert kept(recent, 0, 1, 2) == [2]


def test_threads_that_ask_at_once_make_it_once_and_others_do_not_wait():
    recent: Recent[int] = Recent()
    together, started, go = threading.Barrier(4), threading.Event(), threading.Event()
    made = []

    def slow() -> int:
        made.append(1)
        started.set()
        assert go.wait(20)
        return 7

    def ask(_: int) -> int:
        together.wait()
        return recent.get("slow", slow)

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, number) for number in range(4)]
        assert started.wait(20)
        assert recent.get("other", lambda: 1) == 1
        time.sleep(0.2)  # for the others to arrive
        go.set()
        assert [future.result() for future in asked] == [7] * 4
    assert made == [1]


def test_what_could_not_be_made_is_tried_again():
    recent: Recent[int] = Recent()

    def broken() -> int:
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            recent.get("a", broken)
    assert recent.get("a", lambda: 1) == 1
    assert len(recent) == 1


def test_making_an_item_may_ask_for_another():
    recent: Recent[int] = Recent()
    assert recent.get("a", lambda: 1 + recent.get("b", lambda: 1)) == 2
