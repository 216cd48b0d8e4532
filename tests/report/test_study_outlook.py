from seg_scse.report import study_outlook as outlook
from seg_scse.report.study_reading import Study

from .study_content import study_content, study_row, usual


def takes(**needed):
    row = study_row(0.004, 0.006, 0.31, needed={"difference": 0.005, **needed})
    return outlook.what_it_would_take(Study.model_validate(study_content({"scse-add": row})))


def test_seeds_and_images_that_would_find_half_a_point_are_named():
    assert takes(seeds=12, images=1800) == (
        "To find a difference of 0.5 points in 4 of 5 such studies:",
        [
            "scse-add: 12 seeds with these 133 images, or 1\u202f800 images with these 5 seeds; as it is, 1.1 points "
            "would be found."
        ],
    )


def test_seeds_that_can_never_be_enough_are_said_to_be_none():
    assert "no number of seeds is enough with these 133 images, or 800 images" in takes(seeds=None, images=800)[1][0]
    (both,) = takes(seeds=None, images=None)[1]
    assert "no number of seeds is enough with these 133 images, and no number of images is enough with these" in both


def test_a_study_that_is_large_enough_says_so():
    assert takes(seeds=4, images=100)[1] == ["scse-add: the 5 seeds and 133 images of this study are enough."]


def test_variants_of_the_same_need_are_named_together():
    assert len(outlook.what_it_would_take(Study.model_validate(usual()))[1]) == 1
    assert outlook.what_it_would_take(Study.model_validate(usual()))[1][0].startswith(
        "scse-add, cse, sse and scse-max:"
    )


def test_one_seed_tells_nothing_of_what_it_would_take():
    content = study_content({"scse-add": study_row(0.004, None, seeds=1)}, seeds=1)
    said, texts = outlook.what_it_would_take(Study.model_validate(content))
    assert said.startswith("Not known")
    assert texts == []


def test_few_seeds_explain_wide_intervals_and_many_do_not():
    few = study_content({"scse-add": study_row(0.004, 0.06, 0.31, seeds=3), "cse": study_row(0.0, 0.1, 1.0, seeds=2)})
    said = outlook.why_wide(Study.model_validate(few))
    assert said.startswith("Intervals are for other seeds too, and 2 to 3 seeds say little")
    assert "12.7 standard errors to each side with 2 seeds, 4.3 with 3" in said
    assert outlook.why_wide(Study.model_validate(usual())) == ""
    alone = study_content({"scse-add": study_row(0.004, None, seeds=1)}, seeds=1)
    assert outlook.why_wide(Study.model_validate(alone)) == ""


def test_means_of_other_seeds_than_the_difference_are_said_to_be_so():
    assert outlook.whose_mean(Study.model_validate(usual())) == ""
    short = study_content({"scse-add": study_row(0.004, 0.06, 0.31, seeds=3)}, seeds=5)
    assert "over the seeds that a variant shares with none" in outlook.whose_mean(Study.model_validate(short))


def test_costs_say_on_how_many_crops_they_were_measured():
    content = usual()
    content["baseline"]["cost"] = {**content["baseline"]["cost"], "batch": 2}
    said = outlook.what_costs_are_of(Study.model_validate(content))
    assert said == "Train step and memory are those of none, on 2 crops of noise, and times as much for the others."
    content["baseline"]["cost"] = None
    assert outlook.what_costs_are_of(Study.model_validate(content)) == ""


def chosen(winner, **changes):
    content = study_content({"scse-add": study_row(0.004, 0.006, 0.31)}, {"wider": study_row(0.003, 0.006)})
    content["selection"] |= {"winner": winner, **changes}
    return outlook.what_validation_chooses(Study.model_validate(content))


def test_validation_chooses_and_the_test_split_says_what_that_gives():
    first, gives, refused = chosen("scse-add")
    assert first == "By the val split alone, scse-add would be chosen."
    assert gives == (
        "On the test split that choice has a dice_per_image of 0.9160: +0.4 points (−0.2 to +1.0) against none."
    )
    assert refused.startswith(
        "Choosing by the scores of the test split is not offered: the best of several such scores"
    )


def test_the_baseline_and_a_control_may_be_chosen():
    assert chosen("none")[1] == "It is the baseline: on the test split it has a dice_per_image of 0.9120."
    assert chosen("wider")[0] == "By the val split alone, wider, a control, would be chosen."


def test_nothing_is_chosen_without_validation_scores():
    first, refused = chosen(None, scores={"none": None, "scse-add": None})
    assert first == "No variant can be chosen yet: not every one has a score of the val split."
    assert "not offered" in refused


def test_the_order_of_choice_is_that_of_validation():
    rows = outlook.chosen_rows(Study.model_validate(usual()))
    assert [name for name, *_ in rows][:2] == ["identity", "constant"]
    assert rows[-1] == ("none", "0.9000", "0.9120")


def test_how_it_was_made_says_what_was_declared_and_tested():
    facts = dict(outlook.how_it_was_made(Study.model_validate(usual())))
    assert facts["Declared"].startswith("Primary metric dice_per_image on the test split, baseline none;")
    assert facts["Seeds"].startswith("0, 1, 2, 3 and 4.")
    assert facts["History"] == "2026-01-01: declared"
    assert "Holm's correction for all 8 declared comparisons" in facts["Test"]
    assert "IoU and HD95, and controls against the baseline, have intervals and no tests." in facts["Test"]
    assert "10\u202f000 resamples, random seed 0" in facts["Interval"]
    assert facts["Device"] == "cpu"
    assert facts["Scored"].startswith("At original resolution, threshold 0.5;")


def test_folds_and_groups_are_said():
    content = usual()
    content["declaration"]["folds"] = 3
    content["data"] |= {"groups": True, "units": 21}
    facts = dict(outlook.how_it_was_made(Study.model_validate(content)))
    assert "each in 3 folds" in facts["Seeds"]
    assert "133 images of the test split in 21 groups" in facts["Data"]
    assert "Images of one group are drawn together" in facts["Interval"]
