import pytest

from seg_scse.data.checking.grouping import group_hint


@pytest.mark.parametrize(
    ("ids", "expression", "count"),
    [
        ([f"lung{p}x_{i:03}" for p in "abc" for i in range(2)], r"^(.+)[_-]\d+$", 3),
        ([f"patient{p:02}_frame{i}_gt" for p in range(4) for i in range(3)], r"^([A-Za-z]*\d+)[_-].+$", 4),
        ([f"TCGA_{p}/slice{i}" for p in range(3) for i in range(5)], r"^(.+)/[^/]+$", 3),
    ],
)
def test_series_are_recognised_by_their_names(ids: list[str], expression: str, count: int) -> None:
    hint = group_hint(ids)
    assert hint is not None
    assert (hint.expression, hint.count) == (expression, count)
    assert len(hint.groups) == len(ids)


@pytest.mark.parametrize(
    "ids",
    [
        [f"ISIC_{i:07}" for i in range(20)],  # one prefix for all
        ["cat", "dog", "house", "tree", "bird", "fish"],
        [f"a_{i}" for i in range(3)] + ["b", "c_1"],  # an id that the pattern does not match
        [f"{c}_1" for c in "abcdef"],  # series of one
    ],
)
def test_other_names_give_no_hint(ids: list[str]) -> None:
    assert group_hint(ids) is None
