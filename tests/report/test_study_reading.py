import json

import pytest

from seg_scse.errors import DataError
from seg_scse.report.study_page import write_study
from seg_scse.report.study_reading import Study, read_study, run_scores

from .study_content import run, study_content, study_row, usual, write_content


def test_a_missing_study_is_named(tmp_path):
    with pytest.raises(DataError, match=r"study\.json: file not found"):
        write_study(tmp_path)


def test_text_that_is_no_json_is_named(tmp_path):
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(DataError, match=r"study\.json: is not JSON"):
        write_study(tmp_path)


@pytest.mark.parametrize("key", ["bootstrap", "rows", "baseline", "selection", "runs", "declaration", "data"])
def test_a_missing_key_is_named(tmp_path, key):
    content = usual()
    del content[key]
    with pytest.raises(DataError, match=rf"does not hold what it should:\n  - {key}: Field required"):
        read_study(write_content(tmp_path, content))
    assert [path.name for path in tmp_path.iterdir()] == ["study.json"]


def test_another_format_is_refused(tmp_path):
    with pytest.raises(DataError, match="format: Input should be 1"):
        read_study(write_content(tmp_path, {**usual(), "format": 2}))


def test_a_row_without_the_primary_metric_is_refused(tmp_path):
    content = usual()
    del content["rows"][2]["metrics"]["dice"]
    with pytest.raises(DataError, match="sse: metrics lacks 'dice', the primary metric"):
        read_study(write_content(tmp_path, content))


@pytest.mark.parametrize("role", ["baseline", "treatment"])
def test_a_role_of_no_variant_is_refused(tmp_path, role):
    content = usual()
    content["declaration"][role] = "nobody"
    with pytest.raises(DataError, match=f"the {role} 'nobody' is none of the variants"):
        read_study(write_content(tmp_path, content))


def test_a_number_that_is_none_is_refused(tmp_path):
    content = usual()
    content["rows"][0]["metrics"]["dice"]["p_holm"] = 1.5
    with pytest.raises(DataError, match="p_holm: Input should be less than or equal to 1"):
        read_study(write_content(tmp_path, content))
    text = json.dumps(usual()).replace("0.0123", "NaN").replace('"difference": 0.004', '"difference": NaN', 1)
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(DataError, match="finite number"):
        read_study(tmp_path)


def test_keys_of_a_later_version_are_ignored(tmp_path):
    assert read_study(write_content(tmp_path, {**usual(), "later": 1})).names[:2] == ("none", "scse-add")


def test_the_score_of_a_seed_is_the_mean_of_its_folds_and_absent_where_one_is_missing():
    content = study_content({"scse-add": study_row(0.004, 0.006, 0.3, seeds=2)}, seeds=2)
    content["declaration"]["folds"] = 2
    scores = [{"dice": value, "iou": None, "hd95": None} for value in (0.5, 0.7, 0.9)]
    content["runs"] = [run("none", seed, fold=fold, scores=scores[seed + fold]) for seed in (0, 1) for fold in (0, 1)]
    content["runs"][3] = run("none", 1, "failed", fold=1)
    assert run_scores(Study.model_validate(content), "none") == {0: pytest.approx(0.6)}
