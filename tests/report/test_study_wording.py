import pytest
from pydantic import ValidationError

from seg_scse.report.study_page import study_sentences
from seg_scse.report.study_reading import Study
from seg_scse.report.study_wording import cautions

from .study_content import CONTROLS, run, study_content, study_row, usual


def answer_on(row, **changes):
    """The summary and the sentence of a study of one variant."""
    return study_sentences(study_content({"scse-add": row}, **changes))


def test_a_difference_within_its_interval_is_not_distinguishable_and_stands_beside_the_matched_control():
    summary, said, *_ = study_sentences(
        study_content(
            {"scse-add": study_row(0.004, 0.006, 0.31)},
            {"wider": study_row(0.003, 0.006)},
            {"wider": study_row(0.001, 0.005, 1.0)},
        )
    )
    assert summary == "scse-add cannot be told from none. Against its controls: scse-add cannot be told from wider."
    assert said == (
        "scse-add improves dice_per_image by 0.4 points (95 % interval −0.2 to +1.0, 5 seeds, 133 images; Holm "
        "p = 0.31): not distinguishable from none; the parameter-matched control gains 0.3 (−0.3 to +0.9)."
    )


def test_a_control_that_loses_says_so():
    content = study_content({"scse-add": study_row(0.004, 0.006, 0.31)}, {"wider": study_row(-0.003, 0.006)})
    assert study_sentences(content)[1].endswith("the parameter-matched control loses 0.3 (−0.9 to +0.3).")


def test_a_difference_that_passes_test_and_interval_is_distinguishable():
    summary, said = answer_on(study_row(0.012, 0.005, 0.004))
    assert summary == "scse-add is better than none."
    assert said == (
        "scse-add improves dice_per_image by 1.2 points (95 % interval +0.7 to +1.7, 5 seeds, 133 images; p = 0.004): "
        "distinguishable from none."
    )


def test_a_loss_that_passes_is_distinguishable_and_worse():
    summary, said = answer_on(study_row(-0.012, 0.005, 0.004))
    assert summary == "scse-add is worse than none."
    assert said.startswith("scse-add lowers dice_per_image by 1.2 points (95 % interval −1.7 to −0.7,")
    assert said.endswith(": distinguishable from none, and worse.")


@pytest.mark.parametrize(
    ("half", "p_holm", "why"),
    [
        (0.011, 0.06, " after the correction for 1 comparison."),
        (0.013, 0.04, " (the interval includes 0)."),
        (0.012, 0.05, " (the interval includes 0)."),
    ],
)
def test_one_of_test_and_interval_alone_does_not_make_a_difference_distinguishable(half, p_holm, why):
    summary, said = answer_on(study_row(0.012, half, p_holm))
    assert summary == "scse-add cannot be told from none."
    assert said.endswith(f": not distinguishable from none{why}")


def test_a_p_of_exactly_the_level_passes():
    assert answer_on(study_row(0.012, 0.005, 0.05))[0] == "scse-add is better than none."


def test_an_identical_variant_is_not_distinguishable():
    row = study_row(0.0, 0.0, 1.0, improved=0, ties=133, worse=0, effect=None, detectable=None, needed=None)
    summary, said = answer_on(row)
    assert summary == "scse-add cannot be told from none."
    assert said == (
        "scse-add leaves dice_per_image as it is (95 % interval +0.00 to +0.00, 5 seeds, 133 images; p = 1.00): "
        "not distinguishable from none, equal in every image."
    )


def test_a_lower_distance_is_an_improvement():
    row = study_row(-1.2, 0.8, 0.02, baseline=9.0, mean=7.8)
    summary, said = answer_on(row, metric="hd95")
    assert summary == "scse-add is better than none."
    assert said.startswith(
        "scse-add improves hd95_per_image by 1.20 px (95 % interval −2.00 to −0.40, lower is better,"
    )
    assert answer_on(study_row(1.2, 0.8, 0.02), metric="hd95")[0] == "scse-add is worse than none."


def test_the_summary_counts_variants_and_names_those_that_differ():
    rows = {"a": study_row(0.012, 0.005, 0.004), "b": study_row(0.013, 0.005, 0.004)}
    rows |= {"c": study_row(-0.02, 0.005, 0.001), "d": study_row(0.001, 0.005, 0.9)}
    assert study_sentences(study_content(rows))[0] == (
        "Of 4 variants, a and b are better than none; c is worse than none; the other cannot be told from it."
    )
    rows = dict.fromkeys("abc", study_row(0.001, 0.005, 0.9))
    assert study_sentences(study_content(rows))[0] == "No variant can be told from none."


def test_what_the_controls_say_is_in_words():
    summary, *said = study_sentences(usual())
    assert summary.endswith(
        "Against its controls: scse-add is better than frozen; it cannot be told from wider, constant and identity."
    )
    found = {text.split(" against ")[1].split(" ")[0]: text for text in said if " against " in text}
    assert list(found) == list(CONTROLS)
    assert found["wider"] == (
        "scse-add against wider (as many parameters without gates): +0.1 points (95 % interval −0.4 to +0.6, 5 seeds, "
        "133 images; Holm p = 1.00), not distinguishable: the parameters alone may do as much."
    )
    assert found["frozen"].endswith("distinguishable: the gates use what is in the single image.")


def test_a_control_that_beats_the_treatment_is_said_to():
    worse = study_row(-0.009, 0.004, 0.003)
    content = study_content(
        {"scse-add": study_row(0.001, 0.005, 0.9)}, {"wider": study_row(0.01, 0.005)}, {"wider": worse}
    )
    summary, _, against = study_sentences(content)
    assert summary.endswith("Against its controls: scse-add is worse than wider.")
    assert against.endswith("distinguishable: the control is better.")


def test_a_study_of_one_seed_says_that_nothing_is_tested_and_why():
    row = study_row(0.004, None, seeds=1)
    summary, said = answer_on(row, seeds=1)
    assert summary == "Nothing can be said of the variants yet: no difference to none could be tested."
    assert said == (
        "scse-add improves dice_per_image by 0.40 points (1 seed, 133 images): not tested, because an interval over "
        "seeds needs at least two seeds, not 1."
    )


def test_a_variant_without_a_finished_run_cannot_be_compared():
    empty = study_row(None, seeds=0, images=0, units=0, reason="no finished seed shared with none", improved=0, ties=0,
                      worse=0)  # fmt: skip
    rows = {"a": study_row(0.012, 0.005, 0.004), "b": empty}
    summary, _, said = study_sentences(study_content(rows))
    assert summary == "Of 2 variants, a is better than none; 1 variant could not be tested."
    assert said == "b cannot be compared with none: no finished seed shared with none."


def test_groups_are_counted_beside_the_images():
    content = study_content({"scse-add": study_row(0.004, 0.006, 0.31, units=21)})
    content["data"] |= {"groups": True, "units": 21}
    assert "5 seeds, 133 images in 21 groups; p = 0.31)" in study_sentences(content)[1]


def test_a_small_difference_is_never_said_to_be_zero():
    rows = {"a": study_row(0.0003, 0.03, 0.9), "b": study_row(0.012, 0.03, 0.9)}
    _, a, b = study_sentences(study_content(rows))
    assert a.startswith("a improves dice_per_image by 0.03 points (95 % interval −2.97 to +3.03,")
    assert b.startswith("b improves dice_per_image by 1.20 points")


def test_what_is_no_study_is_refused():
    with pytest.raises(ValidationError):
        study_sentences({"format": 1, "runs": [run("none", 0)]})


def test_what_was_added_when_results_could_be_seen_is_a_caution():
    content = usual()
    late = "2026-01-03: added seeds 5, 6 after 20 finished runs"
    content["declaration"]["history"] = ["2026-01-01: declared", "2026-01-02: added seeds 4 after 0 finished runs"]
    assert not any("declared before" in text for text in cautions(Study.model_validate(content)))
    content["declaration"]["history"].append(late)
    (said,) = (text for text in cautions(Study.model_validate(content)) if "declared before" in text)
    assert said.startswith(f"Not all of this was declared before the first run: {late}. Who adds until")
    assert "seeds 4" not in said
