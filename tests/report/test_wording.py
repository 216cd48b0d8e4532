import pytest

from seg_scse.report import wording
from seg_scse.report.reading import read_per_image, read_results


def measured(folder) -> dict[str, str]:
    results = read_results(folder / "results.json")
    return dict(wording.what_was_measured(results, read_per_image(folder / "per_image.csv", results)))


def test_definition_states_every_choice_of_the_protocol(make_run):
    text = measured(make_run())
    assert text["Images"] == (
        "6 images of the test split, each compared pixel by pixel with its truth mask at original resolution."
    )
    assert "above 0.5" in text["Decision"]
    assert text["Tiles"] == (
        "Images larger than 256 px are predicted in tiles of 256 × 256 px, overlapping by at least 25%."
    )
    assert text["Ignored"] == "Pixels with the mask value 255 are ignored (96 pixels in 6 images)."
    assert text["Weights"] == "checkpoints/best.ckpt, from epoch 12, step 800."
    assert text["Foreground"] == "Stands for the class nucleus."


def test_number_of_cases_touched_by_the_empty_policy_is_stated(make_run):
    text = measured(make_run(classes=["background", "axon", "Myelin"]))
    assert "this touched 1 of 12 image and class pairs" in text["Empty masks"]
    assert "policy “exclude”" in text["Empty masks"]
    assert text["Decision"] == "Each pixel takes its most probable class."
    assert text["Foreground"] == "Stands for the mean over the 2 classes other than background."


@pytest.mark.parametrize(("split", "caution"), [("train", "was trained on"), ("val", "optimistic"), ("test", None)])
def test_scores_of_a_split_that_training_saw_carry_a_caution(make_run, split, caution):
    text = measured(make_run(split=split))
    assert (caution or "") in text.get("Caution", "")
    assert ("Caution" in text) == (caution is not None)


def test_citation_states_averaging_policy_and_size(make_run):
    results = read_results(make_run() / "results.json")
    sentence = wording.citation(results)
    for part in (
        "n = 6 images",
        "original resolution",
        "averaged per image",
        "pooled over all pixels",
        "left out of the mean, 0 of 6 cases",
        "checkpoint of epoch 12",
    ):
        assert part in sentence
    for key in ("dice_per_image", "dice_pooled", "iou_per_image", "iou_pooled"):
        assert f"{results.scores[key]['foreground']:.4f}" in sentence


@pytest.mark.parametrize(("number", "text"), [(1, "1 image"), (0, "0 images"), (12345, "12\u202f345 images")])
def test_counts_are_grouped_and_plural(number, text):
    assert wording.count(number, "image") == text
