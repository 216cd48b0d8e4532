from seg_scse.config.schema import DataConfig, EvaluationConfig
from seg_scse.evaluation.measuring import Plan
from seg_scse.inference.spacing import Spacing


def plan(spacings: list[Spacing], **settings: float) -> Plan:
    return Plan(EvaluationConfig(**settings), DataConfig(), {}, spacings, None, False)


def test_the_usual_tolerance_is_two_pixels_in_the_unit_of_the_files() -> None:
    metres = [Spacing(10.0, 10.0, "m"), Spacing(8.0, 12.0, "m")]
    assert plan(metres).protocol()["surface"] == {"tolerance": 24.0, "unit": "m", "spacing": "from the files"}
    assert plan([Spacing(1.0, 1.0, "px")]).tolerance == 2.0


def test_a_configured_tolerance_is_in_the_unit_of_the_files() -> None:
    assert plan([Spacing(10.0, 10.0, "m")], tolerance=15.0).tolerance == 15.0
