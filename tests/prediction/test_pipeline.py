import sys
import threading
import time

import pytest

from seg_scse.prediction.pipeline import Writer, ahead
from seg_scse.prediction.progress import Progress


def test_items_are_read_ahead_in_order_but_not_too_far() -> None:
    begun = []

    def read(number: int) -> int:
        begun.append(number)
        return 10 * number

    most = 0
    for place, (number, future) in enumerate(ahead(read, range(20), 2, 3)):
        assert (number, future.result()) == (place, 10 * place)
        most = max(most, max(begun) - number)
    assert len(begun) == 20
    assert most <= 3


def test_the_next_item_is_read_while_one_is_used() -> None:
    used, read_next = threading.Event(), []

    def read(number: int) -> int:
        if number == 1:
            read_next.append(used.wait(10))
        return number

    for number, future in ahead(read, range(2), 1, 1):
        if number == 0:
            used.set()  # had reading begun after this item only, this would have been the loop's next step
        future.result()
    assert read_next == [True]


def test_an_error_of_an_item_comes_with_the_item() -> None:
    def read(number: int) -> int:
        if number == 1:
            raise ValueError("wires crossed")
        return number

    found = [(number, future.exception()) for number, future in ahead(read, range(3), 2, 2)]
    assert [number for number, error in found if error] == [1]


def test_what_waits_for_being_written_is_bounded() -> None:
    gate, written = threading.Event(), []

    def write(number: int) -> None:
        gate.wait(10)
        written.append(number)

    with Writer(1, 2) as writer:
        writer.submit(lambda: write(0))
        writer.submit(lambda: write(1))
        thread = threading.Timer(0.1, gate.set)
        thread.start()
        start = time.perf_counter()
        writer.submit(lambda: write(2))
        assert time.perf_counter() - start > 0.05, "the third waits until one is done"
        assert written
    assert written == [0, 1, 2]


def test_a_failed_writer_stops_the_one_that_computes_and_what_waits() -> None:
    written = []

    def fail() -> None:
        raise OSError("full")

    def run() -> None:
        with Writer(1, 2) as writer:
            writer.submit(fail)
            for number in range(10):
                writer.submit(lambda number=number: written.append(number))

    with pytest.raises(OSError, match="full"):
        run()
    assert len(written) < 10


def test_the_time_left_follows_from_what_this_call_did(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Progress(1) as progress, progress.strips("scene", 100, 90) as step:
        bar = step.__self__
        assert (bar.n, bar.total, bar.format_dict["rate"]) == (90, 100, None)
        time.sleep(0.2)
        step()
        assert bar.format_dict["rate"] < 10


def test_a_log_gets_a_line_a_minute_with_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with Progress(2) as progress, progress.strips("scene", 100, 90) as step:
        for seconds in (20, 20, 20, 30, 30):
            clock[0] += seconds
            step()
    assert capsys.readouterr().err == "scene: strip 93 of 100, 02:20 left\nscene: strip 95 of 100, 02:00 left\n"
