import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_scse import distributed
from seg_scse.data.prepare import PreparedData
from seg_scse.errors import DataError, WriteError
from seg_scse.inference import scoring
from seg_scse.inference.scoring import WAITING, Seen, Spacing, score_split
from seg_scse.inference.sources import FolderSource, NetworkSource, Prediction

from .drawn import drawn, predictor


class Truths:
    """Predicts the truth, and counts who asks."""

    def __init__(self, data: PreparedData) -> None:
        self.data = data
        self.asked: list[int] = []

    def predict(self, index: int) -> Prediction:
        self.asked.append(index)
        return Prediction(np.asarray(self.data.store.mask(index)))


@pytest.fixture
def data() -> PreparedData:
    return drawn(7)


def test_every_measure_sees_every_sample_once_in_the_order_of_the_indices(data: PreparedData) -> None:
    network = predictor()
    seen: list[Seen] = []
    measures = {"kept": seen.append, "size": lambda one: one.truth.size}
    found = score_split(NetworkSource(network, data.store), data, [4, 0, 6], measures)
    assert found == {
        "kept": dict.fromkeys(("s04", "s00", "s06")),
        "size": {f"s{index:02}": data.store.mask(index).size for index in (4, 0, 6)},
    }
    assert list(found["size"]) == [one.id for one in seen] == ["s04", "s00", "s06"]
    for index, one in zip((4, 0, 6), seen, strict=True):
        probabilities = network.probabilities(data.store.image(index))
        assert np.array_equal(one.probabilities, probabilities.numpy())
        assert np.array_equal(one.labels, network.labels(probabilities))
        assert np.array_equal(one.truth, data.store.mask(index))
        assert one.spacing == Spacing(1.0, 1.0, "px")


def test_each_sample_comes_with_its_own_spacing(data: PreparedData) -> None:
    spacings = [Spacing(0.1 * number, 2.0, "mm") for number in range(1, 4)]
    found = score_split(Truths(data), data, [2, 5, 1], {"mm": lambda one: one.spacing.height}, spacings=spacings)
    assert found == {"mm": {"s02": 0.1, "s05": 0.2, "s01": pytest.approx(0.3)}}


def test_measures_run_beside_the_next_prediction_and_no_more_than_two_wait(data: PreparedData) -> None:
    source, release, ahead = Truths(data), threading.Event(), []

    def measure(seen: Seen) -> None:
        assert threading.current_thread() is not threading.main_thread()
        if seen.id == "s00":  # held until the next ones were predicted, which only another thread can do
            assert release.wait(10)
        ahead.append(len(source.asked) - int(seen.id[1:]) - 1)

    original = source.predict

    def predict(index: int) -> Prediction:
        if index == WAITING:
            release.set()
        return original(index)

    source.predict = predict
    score_split(source, data, range(7), {"ahead": measure})
    assert len(ahead) == 7
    assert max(ahead) <= WAITING


def test_what_a_measure_refuses_stops_everything_and_names_the_sample(data: PreparedData) -> None:
    source = Truths(data)

    def measure(seen: Seen) -> None:
        if seen.id == "s01":
            raise DataError("prediction holds the value 7")

    before = threading.active_count()
    with pytest.raises(DataError, match=r"^sample s01: prediction holds the value 7$"):
        score_split(source, data, range(7), {"counts": measure})
    assert source.asked in ([0, 1], [0, 1, 2], [0, 1, 2, 3])
    assert threading.active_count() == before


def test_an_error_keeps_its_kind_and_a_defect_its_traceback(data: PreparedData) -> None:
    def no_room(seen: Seen) -> None:
        raise WriteError("the disk is full")

    with pytest.raises(WriteError, match="sample s00: the disk is full"):
        score_split(Truths(data), data, [0], {"saved": no_room})
    with pytest.raises(ZeroDivisionError) as caught:
        score_split(Truths(data), data, [3], {"defect": lambda _: 1 / 0})
    assert caught.value.__notes__ == ["while the prediction of sample 's03' was measured"]


def test_an_interruption_ends_the_thread_and_measures_nothing_more(data: PreparedData) -> None:
    source, measured, before = Truths(data), [], threading.active_count()
    original = source.predict

    def predict(index: int) -> Prediction:
        if index == 3:
            raise KeyboardInterrupt
        return original(index)

    source.predict = predict
    with pytest.raises(KeyboardInterrupt):
        score_split(source, data, range(7), {"seen": lambda one: measured.append(one.id)})
    assert threading.active_count() == before
    assert set(measured) <= {"s00", "s01", "s02"}


@pytest.mark.parametrize(
    ("shards", "message"),
    [
        ([{"n": {"s00": 1}}, {"n": {"s00": 1, "s01": 2}}], r"2 samples:\n  - s00 was measured twice$"),
        ([{"n": {"s00": 1}}, {"n": {}}], r"  - s01 was not measured$"),
        ([{"n": {"s00": 1, "s01": 2}}, {"n": {"s05": 2}}], r"  - s05 is not to be measured$"),
    ],
)
def test_processes_that_do_not_make_one_whole_are_refused(
    data: PreparedData, monkeypatch: pytest.MonkeyPatch, shards: Any, message: str
) -> None:
    monkeypatch.setattr(distributed, "gather", lambda _: shards)
    with pytest.raises(DataError, match=message):
        score_split(Truths(data), data, [0, 1], {"n": lambda _: 0})


def test_an_index_given_twice_is_refused(data: PreparedData) -> None:
    with pytest.raises(DataError, match="an id is there twice"):
        score_split(Truths(data), data, [0, 1, 0], {"n": lambda _: 0})


def test_files_are_read_one_by_one_and_have_no_probabilities(data: PreparedData) -> None:
    read: list[Path] = []

    def reader(path: Path) -> np.ndarray:
        read.append(path)
        return np.zeros((2, 2), np.uint8)

    source = FolderSource({4: Path("four.png"), 2: Path("two.png")}, reader)
    assert not read
    found = score_split(source, data, [2, 4], {"none": lambda one: (one.labels.shape, one.probabilities)})
    assert found["none"] == {"s02": ((2, 2), None), "s04": ((2, 2), None)}
    assert read == [Path("two.png"), Path("four.png")]


def test_a_network_may_leave_out_its_confidence(data: PreparedData) -> None:
    source = NetworkSource(predictor(), data.store, confident=False)
    found = score_split(source, data, [1], {"kept": lambda one: (one.labels.any(), one.probabilities)})
    assert found["kept"] == {"s01": (True, None)}
    assert source.predict(1).probabilities is not None


def test_a_check_comes_before_each_image_and_what_it_raises_ends_the_work(data: PreparedData) -> None:
    source, before = Truths(data), threading.active_count()
    asked: list[int] = []

    def check() -> None:
        asked.append(len(source.asked))
        if len(asked) == 4:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        score_split(source, data, range(7), {"seen": lambda one: None}, check=check)
    assert asked == [0, 1, 2, 3]
    assert source.asked == [0, 1, 2]
    assert threading.active_count() == before


@pytest.mark.parametrize("rank", [0, 1])
def test_all_processes_check_equally_often(data: PreparedData, monkeypatch: pytest.MonkeyPatch, rank: int) -> None:
    source, checks = Truths(data), []
    monkeypatch.setattr(scoring.distributed, "world_size", lambda: 2)
    monkeypatch.setattr(scoring.distributed, "rank", lambda: rank)
    monkeypatch.setattr(scoring, "_merged", lambda shards, ids: shards[0])
    score_split(source, data, range(5), {"seen": lambda one: None}, check=lambda: checks.append(1))
    assert len(source.asked) == (3, 2)[rank]
    assert len(checks) == 2
