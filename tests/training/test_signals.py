import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from seg_scse import distributed
from seg_scse.training.signals import StopRequest, ending_on_sigterm


def send(*numbers: signal.Signals) -> StopRequest:
    stop = StopRequest()
    with stop.listening():
        for number in numbers:
            os.kill(os.getpid(), number)
    return stop


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_remembered(number: signal.Signals) -> None:
    assert send(number).signum == number


def test_a_second_interrupt_is_immediate() -> None:
    with pytest.raises(SystemExit) as end:
        send(signal.SIGINT, signal.SIGINT)
    assert end.value.code == 130


@pytest.mark.parametrize(
    "numbers", [(signal.SIGINT, signal.SIGTERM), (signal.SIGTERM, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT)]
)
def test_a_scheduler_that_sends_a_second_signal_does_not_cut_the_save_short(
    numbers: tuple[signal.Signals, ...],
) -> None:
    assert send(*numbers).signum == numbers[0]


def test_handlers_are_restored() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    send(signal.SIGTERM)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_sigterm_ends_a_block_by_an_exception(capsys: pytest.CaptureFixture[str]) -> None:
    cleared = []

    @contextmanager
    def clearing() -> Iterator[None]:
        try:
            yield
        finally:
            os.kill(os.getpid(), signal.SIGTERM)  # a second one
            cleared.append(True)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as end, ending_on_sigterm(), clearing():
        os.kill(os.getpid(), signal.SIGTERM)
    assert end.value.code == 143
    assert cleared
    assert capsys.readouterr().err == "terminated\n"
    assert signal.getsignal(signal.SIGTERM) == before


def test_sigterm_ends_the_other_processes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(distributed, "is_main", lambda: False)
    with ending_on_sigterm():
        assert signal.getsignal(signal.SIGTERM) == before
