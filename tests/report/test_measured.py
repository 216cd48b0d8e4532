import json

import pytest

from seg_scse.report import measured
from seg_scse.report.citation import citation
from seg_scse.report.per_image import read_per_image
from seg_scse.report.reading import read_results

from .drawn_evaluation import CHECKPOINT

ONE = {"method": "bca", "level": 0.95, "resamples": 10000, "seed": 0, "unit": "image"}
MEMBERS = [{**CHECKPOINT, "run": f"run{k}", "epoch": k} for k in (3, 4)]


def facts(folder) -> dict[str, str]:
    results = read_results(folder / "results.json")
    return dict(measured.what_was_measured(results, read_per_image(folder / "per_image.csv", results)))


PROTOCOL = {"resolution": "original", "empty": "exclude", "threshold": 0.5, "ignore_index": 255}


def changed(folder, **protocol) -> dict:
    return read_results(folder / "results.json").protocol.model_dump(mode="json") | protocol


def test_definition_states_every_choice_of_the_protocol(make_run):
    text = facts(make_run())
    assert text["Images"] == (
        "6 images of the test split, each compared pixel by pixel with its truth mask at original resolution."
    )
    assert "Dice = 2 tp / (2 tp + fp + fn)" in text["Definition"]
    assert (
        text["Decision"]
        == "A pixel is foreground where its predicted probability is above 0.5 (from the configuration)."
    )
    assert text["Tiles"] == (
        "Images larger than 256 px are predicted in tiles of 256 × 256 px, overlapping by at least 25 %."
    )
    assert text["Ignored"] == "Pixels with the mask value 255 are ignored (96 pixels in 6 images)."
    assert text["Weights"] == "checkpoints/best.ckpt, from epoch 12, step 800."
    assert text["Foreground"] == "Stands for the class nucleus."
    assert text["Boundaries"].startswith("Distances in px, from each boundary pixel")
    assert text["Intervals"].startswith(
        "95 % intervals of the bias-corrected and accelerated (BCa) bootstrap: "
        "10\u202f000 resamples of 6 images (seed 0)."
    )
    assert set(text).isdisjoint({"Copies", "Objects", "Centre lines", "Masks"})


def test_number_of_cases_touched_by_the_empty_policy_is_stated(make_run):
    text = facts(make_run(classes=["background", "axon", "Myelin"]))
    assert "this touched 1 of 12 image and class pairs" in text["Empty masks"]
    assert "policy “exclude”" in text["Empty masks"]
    assert text["Decision"] == "Each pixel takes its most probable class."
    assert text["Foreground"] == "Stands for the mean over the 2 classes other than background."


def test_options_of_the_prediction_are_stated_where_they_were_used(make_run, tmp_path):
    protocol = {
        "resolution": "original",
        "empty": "zero",
        "threshold": 0.375,
        "threshold_from": "val: dice_per_image, n = 53",
        "tta": "d4",
        "ignore_index": 255,
        "surface": {"tolerance": 1.5, "unit": "mm", "spacing": "from the files"},
        "objects": True,
        "centerline": True,
    }
    text = facts(make_run(protocol=protocol))
    assert text["Decision"].endswith(
        "above 0.375 (chosen on validation images and then frozen: val: dice_per_image, n = 53)."
    )
    assert "in 8 mirrored and turned copies" in text["Copies"]
    assert text["Boundaries"].startswith("Distances in mm, size of a pixel from the files, from each boundary pixel")
    assert "NSD: the share within 1.5 mm" in text["Boundaries"]
    assert "IoU with a true one is above 0.5" in text["Objects"]
    assert "centre lines" in text["Centre lines"]
    assert {"Tiles", "Arithmetic"}.isdisjoint(text)


def test_sizes_blending_and_margin_are_stated_where_they_are_not_the_default(make_run):
    used = {"scales": [0.75, 1.0], "tile": 256, "overlap": 0.25, "blend": "gaussian", "tile_margin": 16}
    folder = make_run(protocol=PROTOCOL | used)
    text = facts(folder)
    assert text["Copies"] == "Probabilities are averaged over each tile at 0.75, 1 times its size."
    assert "Weights fall from the middle of a tile as a Gaussian." in text["Tiles"]
    assert "The outer 16 px of a tile count only where no other tile reaches." in text["Tiles"]
    assert "mean of 2 sizes; " in citation(read_results(folder / "results.json"))


def test_an_ensemble_whose_members_differ_claims_no_copies(make_run):
    assert "Copies" not in facts(make_run(protocol=PROTOCOL | {"tta": None, "scales": None}))


def test_labels_that_may_overlap_are_said_to_be_scored_one_by_one(make_run):
    text = facts(make_run(classes=["nothing", "forest", "wet"], task="multilabel"))
    assert "Each label is scored by itself" in text["Definition"]
    assert text["Decision"].startswith("A label is set where")


def test_groups_are_the_independent_unit(make_run):
    bootstrap = {"method": "percentile", "level": 0.9, "resamples": 2000, "seed": 1, "unit": "group", "n": 3}
    text = facts(make_run(bootstrap={**bootstrap, "groups": True}))
    assert "They come from 3 independent groups" in text["Images"]
    assert text["Intervals"].startswith(
        "90 % intervals of the percentile bootstrap: 2\u202f000 resamples of 3 groups of"
    )
    assert "drawn together" in text["Intervals"]


@pytest.mark.parametrize(
    ("changes", "term", "words"),
    [
        ({"checkpoint": None, "predictions": "masks/out"}, "Masks", "Read from the files in masks/out"),
        ({"checkpoint": None, "members": MEMBERS}, "Weights", "2 networks: run3 (epoch 3), run4 (epoch 4)."),
        ({"folds": 5}, "Weights", "saw it neither in training nor in the choice of its checkpoint"),
    ],
)
def test_origin_of_the_masks_is_stated(make_run, changes, term, words):
    assert words in facts(make_run(**changes))[term]


@pytest.mark.parametrize(
    ("changes", "caution"),
    [
        ({"split": "train"}, "was trained on this split"),
        ({"split": "val"}, "The checkpoint was selected on this split: the scores are optimistic."),
        ({"data": {"same_as_training": False}}, "not those that the network was trained with"),
        ({"data": {"name": "there"}}, "The images of there are not of the data set that the network was trained with"),
        ({"bootstrap": ONE | {"n": 1}}, "6 images alone: no interval can be given"),
        ({}, "6 images are few: the intervals are themselves uncertain below 20."),
    ],
)
def test_what_weakens_a_score_is_said_in_a_caution(make_run, changes, caution):
    assert caution in " ".join(measured.cautions(read_results(make_run(**changes) / "results.json")))


def test_the_train_split_of_another_data_set_was_not_trained_on(make_run):
    results = read_results(make_run(split="train", data={"name": "there"}) / "results.json")
    assert "trained on this split" not in " ".join(measured.cautions(results))
    assert measured.which_images(results) == "the train split of there"


def test_a_foreground_that_is_nowhere_is_a_caution(make_run):
    folder = make_run()
    values = json.loads((folder / "results.json").read_text())
    values["scores"]["dice_per_image"] = dict.fromkeys(values["scores"]["dice_per_image"])
    (folder / "results.json").write_text(json.dumps(values))
    assert "there is nothing to score" in " ".join(measured.cautions(read_results(folder / "results.json")))


def test_boundary_scores_are_defined(make_run):
    sentence = facts(make_run())["Boundaries"]
    for name in ("HD95: the larger of the two 95th percentiles", "ASSD: the mean", "NSD: the share within 2 px"):
        assert name in sentence


@pytest.mark.parametrize(("tolerance", "told"), [(2.0, True), (10.0, False)])
def test_a_tolerance_below_a_pixel_is_pointed_out(make_run, tolerance, told):
    folder = make_run()
    protocol = changed(folder, surface={"tolerance": tolerance, "unit": "m", "spacing": [10.0, 10.0]})
    values = read_results(folder / "results.json").model_dump() | {"protocol": protocol}
    (folder / "results.json").write_text(json.dumps(values))
    assert ("less than a pixel: only boundaries that coincide count" in facts(folder)["Boundaries"]) == told


def test_many_new_images_of_the_training_data_need_no_caution(make_run):
    bootstrap = {"method": "bca", "level": 0.95, "resamples": 10000, "seed": 0, "unit": "image", "n": 20}
    assert measured.cautions(read_results(make_run(bootstrap=bootstrap) / "results.json")) == []


def test_a_threshold_tuned_on_the_scored_split_carries_a_caution(make_run):
    folder = make_run()
    protocol = changed(folder, threshold_from="val: dice_per_image, n = 6")
    results = read_results(folder / "results.json")
    tuned = type(results).model_validate(results.model_dump() | {"split": "val", "protocol": protocol})
    assert "The threshold was chosen on this split too." in measured.cautions(tuned)


def test_citation_says_that_a_threshold_was_chosen_and_copies_averaged(make_run):
    folder = make_run()
    protocol = changed(folder, threshold=0.25, threshold_from="val: dice_per_image, n = 6", tta="flips")
    results = read_results(folder / "results.json")
    tuned = type(results).model_validate(results.model_dump() | {"protocol": protocol})
    assert "threshold 0.25, chosen on validation images; mean of 4 mirrored copies; " in citation(tuned)


def test_citation_states_scores_intervals_policy_and_size(make_run):
    results = read_results(make_run() / "results.json")
    sentence = citation(results)
    for part in (
        "n = 6 images",
        "original resolution",
        "averaged per image",
        "pooled over all pixels",
        "px per image",
        "in brackets: 95 % BCa bootstrap intervals over 6 images",
        "left out of the mean, 0 of 6 cases",
        "checkpoint of epoch 12",
    ):
        assert part in sentence
    assert "cases; threshold 0.5; checkpoint" in sentence
    for key in ("dice_per_image", "dice_pooled", "iou_per_image", "iou_pooled"):
        low, high = results.interval(key)
        assert f"{results.score(key):.4f} [{low:.4f} to {high:.4f}]" in sentence


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"checkpoint": None, "predictions": "masks"}, "masks read from files)."),
        ({"checkpoint": None, "members": MEMBERS}, "mean of 2 networks)."),
        ({"folds": 5}, "5 checkpoints, SHA-256"),
        ({"checkpoint": None}, "weights not known)."),
    ],
)
def test_citation_names_what_made_the_masks(make_run, changes, words):
    assert words in citation(read_results(make_run(**changes) / "results.json"))


def test_citation_without_intervals_and_boundaries_claims_neither(make_run):
    sentence = citation(read_results(make_run(surface=False, intervals={}, bootstrap=None) / "results.json"))
    assert "bracket" not in sentence
    assert "[" not in sentence
    assert "HD95" not in sentence


def test_two_folders_of_masks_are_no_split(make_run):
    folder = make_run(split="all", checkpoint=None, predictions="masks/b")
    assert facts(folder)["Images"].startswith("6 images of the two folders of masks, each compared")
    assert measured.split_name(read_results(folder / "results.json")) == "all files"
