import pytest

from seg_scse.evaluation.cases import choose_cases


def rows(*scores: float | None) -> list[dict[str, str | float | None]]:
    return [{"id": f"s{index}", "dice_foreground": score} for index, score in enumerate(scores)]


def kinds(chosen: list[tuple[str, dict[str, str | float | None]]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for kind, row in chosen:
        found.setdefault(kind, []).append(row["dice_foreground"])
    return found


def test_worst_median_and_best_are_chosen_by_score_in_order() -> None:
    chosen = choose_cases(rows(0.9, 0.1, 0.5, 0.3, 0.7, 0.2, 0.8, 0.4, 0.6), each=2)
    assert kinds(chosen) == {"worst": [0.1, 0.2], "median": [0.4, 0.5], "best": [0.8, 0.9]}


@pytest.mark.parametrize("count", range(9))
@pytest.mark.parametrize("each", [0, 1, 3, 10])
def test_no_image_is_chosen_twice_and_none_without_a_score(count: int, each: int) -> None:
    chosen = choose_cases([*rows(*[0.1 * index for index in range(count)]), *rows(None, None)], each)
    ids = [row["id"] for _, row in chosen]
    assert len(set(ids)) == len(ids)
    assert all(row["dice_foreground"] is not None for _, row in chosen)
    assert bool(chosen) == (count > 0 and each > 0)


def test_equal_scores_are_ordered_by_id() -> None:
    assert [row["id"] for _, row in choose_cases(rows(0.5, 0.5, 0.5), each=1)] == ["s0", "s1", "s2"]
