"""What a network was given as its input: said where it differs, and refused where it would mean something else."""

import re
from typing import Any

import pytest

from seg_scse.config.loading import override
from seg_scse.config.schema import Config, ScaleConfig
from seg_scse.errors import ConfigError
from seg_scse.models.source import Limits, Source
from seg_scse.training.inputs import choose_statistics, input_notes

MEASURED = ((0.5, 0.6), (0.1, 0.2))
THERE = ((0.3, 0.4), (0.2, 0.2))
NARROW, WIDE = {"low": [0.0, 10.0], "high": [100.0, 200.0]}, {"low": [0.0, 0.0], "high": [400.0, 400.0]}


def source(limits: Limits | None = None, **scale: Any) -> Source:
    """A source of the bands `nir, red`."""
    mean, std = THERE
    return Source(
        "net", {}, bands=("nir", "red"), mean=mean, std=std, scale=ScaleConfig(**scale), limits=limits, crop=64
    )


def config(statistics: str = "source", bands: tuple[str, ...] = ("nir", "red"), **scale: Any) -> Config:
    return Config.model_validate(
        {
            "data": {"bands": bands, "scale": scale},
            "finetune": {"source": "net", "statistics": statistics},
            "trainer": {"crop": 64},
        }
    )


def test_statistics_of_the_data_are_those_measured() -> None:
    assert choose_statistics(source(), config("data"), MEASURED, None) == MEASURED


def test_statistics_of_the_source_follow_the_names_of_the_bands() -> None:
    found = choose_statistics(source(), config(bands=("red", "nir")), MEASURED, None)
    assert found == ((0.4, 0.3), (0.2, 0.2))


def test_statistics_of_pixels_that_were_scaled_by_the_same_limits_are_taken() -> None:
    limits = {"low": [10.0, 0.0], "high": [200.0, 100.0]}  # of the same bands, in another order
    given = config(bands=("red", "nir"), method="percentile")
    assert choose_statistics(source(NARROW, method="percentile"), given, MEASURED, limits) == ((0.4, 0.3), (0.2, 0.2))


@pytest.mark.parametrize(
    ("there", "here", "limits"),
    [
        (source(NARROW, method="percentile"), {"method": "percentile"}, WIDE),  # measured anew
        (source(NARROW, method="percentile"), {}, None),
        (source(), {"method": "percentile"}, NARROW),
        (source(method="zscore", per="file"), {"method": "percentile", "per": "file"}, None),
        (source(), {"method": "percentile", "per": "file"}, None),
    ],
)
def test_statistics_of_pixels_in_other_units_are_refused_with_a_cure_that_works(
    there: Source, here: dict[str, Any], limits: Limits | None
) -> None:
    given = config(**here)
    with pytest.raises(ConfigError, match="scaled to \\[0, 1\\] in another way") as caught:
        choose_statistics(there, given, MEASURED, limits)
    cured = override(given, re.findall(r"'(data\.scale\..*?)'", str(caught.value)))
    declared = {"low": list(cured.data.scale.low), "high": list(cured.data.scale.high)} if there.limits else None
    assert choose_statistics(there, cured, MEASURED, declared) == THERE


def test_all_that_differs_in_the_input_is_said() -> None:
    given = override(config("data", method="percentile"), ["trainer.crop=128"])
    assert input_notes(source(), given, MEASURED, WIDE) == [
        "mean: 0.5, 0.6; in the source 0.3, 0.4",
        "std: 0.1, 0.2; in the source 0.2, 0.2",
        "data.scale: {method: range, low: [0.0, 0.0], high: [400.0, 400.0]}; in the source {method: dtype}",
        "trainer.crop: 128; in the source 64",
    ]


def test_nothing_is_said_where_nothing_differs_or_the_source_does_not_tell() -> None:
    assert input_notes(source(), config(), THERE, None) == []
    assert input_notes(Source("w.pth", {}), config(), THERE, None) == []
