import pytest

from seg_scse.report.scatter import HEIGHT, SIZE, WIDTH, histogram, scatter, side, spans


def test_a_point_lies_at_its_two_scores():
    drawn = scatter([0.5, 0.8], [0.75, 0.6], ["a", "b"], is_share=True, lower=False)
    assert [(p.x, p.y, p.side, p.title) for p in drawn.points] == [
        (0.0, SIZE / 2, "better", "a"),
        (0.6 * SIZE, 0.8 * SIZE, "worse", "b"),
    ]
    assert drawn.ticks[-1] == (1.0, "1")


def test_images_without_a_score_are_left_out():
    assert scatter([None, 0.5], [0.5, None], ["a", "b"], is_share=True, lower=False).points == ()


def test_the_axes_of_a_distance_begin_at_zero():
    drawn = scatter([10.0], [37.0], ["a"], is_share=False, lower=True)
    assert (drawn.points[0].x, drawn.points[0].side) == (0.25 * SIZE, "worse")
    assert (drawn.ticks[0], drawn.ticks[-1]) == ((0.0, "0"), (1.0, "40"))
    assert not drawn.better_above


@pytest.mark.parametrize(
    ("difference", "lower", "expected"), [(1, False, "better"), (1, True, "worse"), (0, True, "equal")]
)
def test_which_side_is_better_depends_on_the_score(difference, lower, expected):
    assert side(difference, lower) == expected


def test_bars_count_images_around_zero():
    drawn = histogram([0.0, 0.01, 0.2, -0.5, None], (0.1, -0.4, 0.3), lower=False)
    assert (drawn.reach, drawn.highest) == (0.5, 2)
    assert [bar[4] for bar in drawn.bars] == ["worse", "equal", "better"]
    assert [bar[3] for bar in drawn.bars] == [HEIGHT / 2, HEIGHT, HEIGHT / 2]
    assert (drawn.mean, drawn.low, drawn.high) == (0.6 * WIDTH, 0.1 * WIDTH, 0.8 * WIDTH)


def test_without_a_difference_there_is_one_bar_in_the_middle():
    drawn = histogram([0.0, 0.0], (0.0, 0.0, 0.0), lower=False)
    assert [bar[4] for bar in drawn.bars] == ["equal"]
    assert drawn.mean == WIDTH / 2


def test_intervals_share_one_axis():
    reach, placed = spans([(0.1, 0.05, 0.2), (None, None, None), (-0.02, -0.04, 0.0)])
    assert reach == 0.2
    assert (placed[0].mean, placed[0].low, placed[0].high) == (750.0, 625.0, 1000.0)
    assert (placed[1].mean, placed[2].high) == (None, 500.0)
