from pathlib import Path

import pytest

from seg_scse.data.alike import told_together
from seg_scse.data.measuring import require_entries
from seg_scse.data.samples import Sample
from seg_scse.errors import DataError


def sample(id_: str) -> Sample:
    return Sample(id_, Path(f"/d/images/{id_}.png"), (Path(f"/d/masks/{id_}.png"),), None, id_)


def test_messages_that_differ_by_names_and_numbers_are_one() -> None:
    failed = [(sample(f"p{i}"), f"/d/masks/p{i}.png: {i} pixels\nof p{i} are wrong.") for i in range(3)]
    failed.insert(1, (sample("q"), "/d/images/q.png: is empty."))
    assert told_together(failed) == [
        "/d/masks/p0.png: 0 pixels of p0 are wrong. The same holds for 2 more samples: p1, p2",
        "/d/images/q.png: is empty.",
    ]


def test_a_training_tells_equal_problems_once() -> None:
    samples = [sample(f"p{i}") for i in range(9)]
    with pytest.raises(DataError) as refused:
        require_entries([f"{one.image}: is empty." for one in samples], samples)
    assert str(refused.value).splitlines() == [
        "9 of 9 samples cannot be used:",
        "  - /d/images/p0.png: is empty. The same holds for 8 more samples: p1, p2, p3, p4, p5 and 3 more",
        "Correct them, or leave samples out with data.exclude.",
    ]
