import pytest

from seg_scse.report.distribution import distribute


def test_each_score_falls_in_the_bin_that_holds_it():
    spread = distribute([0.0, 0.5, 0.51, 1.0, None])
    assert spread.scored == 4
    assert spread.highest == 2
    assert spread.bars == ((0.0, 50.0, 50.0), (500.0, 0.0, 100.0), (975.0, 50.0, 50.0))
    assert spread.ticks == "M0 0V1M500 0V1M510 0V1M1000 0V1"


def test_quartiles_are_those_of_the_scored_images():
    assert distribute([0.1, None, 0.2, 0.3, 0.4, 0.5]).quartiles == pytest.approx((0.2, 0.3, 0.4))


@pytest.mark.parametrize("values", [[], [None, None]])
def test_a_class_without_scored_images_has_nothing_to_draw(values):
    spread = distribute(values)
    assert (spread.scored, spread.bars, spread.quartiles, spread.ticks) == (0, (), (), "")


def test_mean_and_interval_are_those_of_the_results():
    spread = distribute([0.5, 0.7], 0.6, (0.55, 0.65))
    assert (spread.mean, spread.interval) == (0.6, (0.55, 0.65))
