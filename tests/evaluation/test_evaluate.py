import csv
import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seg_scse import files
from seg_scse.errors import ConfigError, DataError, WriteError
from seg_scse.evaluation import thresholds
from seg_scse.evaluation.evaluate import Options, evaluate, evaluate_ensemble
from seg_scse.evaluation.loaded import build_predictor, data_of, load_run
from seg_scse.evaluation.predictions import score_predictions
from seg_scse.evaluation.tables import Tables

from .runs import FAST, another

QUIET = Options(notes=False)


@pytest.fixture(scope="module")
def first(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return another(trained, tmp_path_factory.mktemp("runs") / "seed1", 1)


@pytest.fixture(scope="module")
def second(trained: Path, first: Path) -> Path:
    return another(trained, first.parent / "seed2", 2)


@pytest.fixture(scope="module")
def whole(first: Path) -> tuple[Path, dict]:
    """Everything measured, into a folder of its own."""
    options = Options(out=first.parent / "whole", save=first.parent / "saved", notes=False)
    overrides = ["evaluation.centerline=true", "evaluation.objects=true", "evaluation.resamples=1000"]
    return evaluate(first, "test", "best", overrides, options=options)


def scores(evaluated: tuple[Path, dict] | None, name: str = "dice_per_image") -> float:
    assert evaluated is not None
    return evaluated[1]["scores"][name]["foreground"]


def test_every_file_is_written_and_says_the_same(whole):
    folder, results = whole
    assert {path.name for path in folder.iterdir()} == {
        "cases", "centerlines.csv", "counts.csv", "groups.csv", "objects.csv", "per_image.csv", "probabilities.json",
        "probabilities.npz", "results.json", "surfaces.csv",
    }  # fmt: skip
    assert json.loads((folder / "results.json").read_text()) == results
    tables = Tables.read(folder)
    for name, column in tables.columns("exclude").items():
        mean = np.nanmean(column[:, 1]) if np.isfinite(column[:, 1]).any() else None
        assert results["scores"][f"{name}_per_image"]["foreground"] == (None if mean is None else pytest.approx(mean))
    with (folder / "per_image.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0])[:5] == ["id", "group", "height", "width", "ignored"]
    assert {"dice_foreground", "hd95_foreground", "cldice_foreground", "pq_foreground"} <= set(rows[0])


def test_the_results_say_how_they_were_made(whole, first):
    results = whole[1]
    assert results["format"] == 2
    assert (results["task"], results["members"], results["predictions"]) == ("multiclass", [], None)
    assert results["protocol"]["surface"] == {"tolerance": 2.0, "unit": "px", "spacing": [1.0, 1.0]}
    assert results["protocol"]["objects"]
    assert results["protocol"]["centerline"]
    assert (results["protocol"]["threshold"], results["protocol"]["threshold_from"]) == (0.5, "configuration")
    assert results["data"]["same_as_training"]
    assert results["cost"]["parameters"] > 0
    boot = results["bootstrap"]
    assert (boot["unit"], boot["n"], boot["groups"], boot["resamples"]) == ("image", 3, False, 1000)


def test_intervals_contain_their_scores_and_belong_to_them(whole):
    results = whole[1]
    assert {"dice_per_image", "dice_pooled", "hd95_per_image", "pq_pooled"} <= results["intervals"].keys()
    assert results["intervals"].keys() <= results["scores"].keys()
    for name, by_class in results["intervals"].items():
        assert by_class.keys() == results["scores"][name].keys()
        for label, ends in by_class.items():
            if ends is not None:
                assert ends[0] <= results["scores"][name][label] <= ends[1], (name, label)


def test_saved_predictions_scored_from_disk_give_the_same_numbers(whole, first, tiny):
    data = [text for text in tiny if text.startswith("data.")]
    config = first.parent / "data.yaml"
    config.write_text("data: {channels: gray}\n")
    overrides = [*data, "evaluation.centerline=true", "evaluation.objects=true", "evaluation.resamples=1000"]
    folder, results = score_predictions(first.parent / "saved", str(config), "test", overrides, "index")
    assert folder == first.parent / "saved-evaluation" / "test"
    for key in ("scores", "averages", "intervals", "cases", "confusion", "bootstrap", "images", "classes"):
        assert results[key] == whole[1][key], key
    assert (results["checkpoint"], results["cost"]) == (None, None)
    assert results["predictions"].endswith("saved")
    assert not (folder / "probabilities.json").exists()
    for table in ("counts.csv", "surfaces.csv", "objects.csv", "centerlines.csv", "per_image.csv"):
        assert (folder / table).read_text() == (whole[0] / table).read_text()


def test_a_folder_that_lacks_a_prediction_is_refused_before_anything_is_written(whole, first, tiny, tmp_path):
    shutil.copytree(first.parent / "saved", tmp_path / "saved")
    lost = sorted((tmp_path / "saved").glob("*.png"))[0]
    lost.rename(tmp_path / "saved" / "zz.png")
    config = tmp_path / "data.yaml"
    config.write_text("data: {channels: gray}\n")
    data = [text for text in tiny if text.startswith("data.")]
    with pytest.raises(DataError, match=rf"(?s){lost.stem}: no prediction.*zz\.png: belongs to no sample"):
        score_predictions(tmp_path / "saved", str(config), "test", data, "index")
    assert not (tmp_path / "saved-evaluation").exists()


def test_a_full_disk_leaves_complete_files_and_no_results(first, tmp_path, monkeypatch):
    options = Options(out=tmp_path / "out", notes=False)
    evaluate(first, "test", "best", FAST, options=options)
    written = []
    original = files._flush

    def full(path: Path) -> None:
        written.append(path.name)
        if "per_image" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(path)

    monkeypatch.setattr(files, "_flush", full)
    with pytest.raises(WriteError, match=r"per_image\.csv: the disk is full") as caught:
        evaluate(first, "test", "best", ["evaluation.empty=one", *FAST], options=options)
    assert caught.value.exit_code == 5
    assert not (tmp_path / "out" / "results.json").exists(), "half of an evaluation must not look complete"
    assert not list((tmp_path / "out").glob(".*"))


def test_a_folder_that_cannot_be_written_is_found_before_the_work(first, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("seg_scse.evaluation.scored.score_split", None)
    with pytest.raises(WriteError, match="cannot be written"):
        evaluate(first, "test", "best", FAST, options=Options(out=tmp_path / "file" / "out", notes=False))


def test_an_ensemble_scores_the_mean_of_the_probabilities(first, second):
    folder, results = evaluate_ensemble([first, second], "test", "best", FAST, QUIET)
    assert folder == first.parent / "seed1+seed2-ensemble" / "evaluation" / "test"
    assert [member["run"] for member in results["members"]] == ["seed1", "seed2"]
    assert results["checkpoint"] is None
    loaded = [load_run(run, "best") for run in (first, second)]
    data = data_of(loaded[0])
    predictors = [build_predictor(one, torch.device("cpu")) for one in loaded]
    found = []
    for index in data.manifest.indices("test"):
        image, truth = data.store.image(index), np.asarray(data.store.mask(index))
        mean = sum(predictor.probabilities(image) for predictor in predictors) / 2
        prediction = (mean[0] > 0.5).numpy()
        found.append(2 * (prediction & (truth == 1)).sum() / (prediction.sum() + (truth == 1).sum()))
    assert results["scores"]["dice_per_image"]["foreground"] == pytest.approx(np.mean(found), abs=1e-9)


def test_an_ensemble_is_not_scored_on_images_that_a_member_was_trained_with(trained, first, tmp_path):
    splits = dict(load_run(first, "best").state["splits"])
    train, test = (next(id_ for id_, split in splits.items() if split == name) for name in ("train", "test"))
    splits[train], splits[test] = "test", "train"
    other = another(trained, tmp_path / "other", 3, splits=splits)
    with pytest.raises(
        ConfigError, match=rf"other has 1 of the test images of seed1 in another split, such as train: {test}"
    ):
        evaluate_ensemble([first, other], "test", "best", FAST, QUIET)


def test_members_of_other_classes_are_refused_with_both_lists(trained, first, tmp_path):
    config = dict(load_run(first, "best").state["config"])
    config["data"] = {**config["data"], "classes": ["background", "vessel"]}
    other = another(trained, tmp_path / "other", 3, config=config)
    with pytest.raises(ConfigError, match=r"classes of other: \['background', 'vessel'\]; of seed1: \['background'"):
        evaluate_ensemble([first, other], "test", "best", FAST, QUIET)
    with pytest.raises(ConfigError, match="is no ensemble"):
        evaluate_ensemble([first], "test", "best", FAST, QUIET)
    with pytest.raises(ConfigError, match="are one checkpoint: name each run once"):
        evaluate_ensemble([first, first], "test", "best", FAST, QUIET)


def test_a_tuned_threshold_is_that_of_the_best_validation_score(first):
    tuned = evaluate(first, "test", "best", FAST, options=Options(threshold="tune:val", notes=False))
    protocol = tuned[1]["protocol"]
    chosen, origin = protocol["threshold"], protocol["threshold_from"]
    on_val = {
        value: scores(evaluate(first, "val", "best", FAST, options=Options(threshold=value, notes=False)))
        for value in (chosen, 0.5, chosen - 1 / 256, chosen + 1 / 256)
    }
    assert origin == f"val: dice_per_image = {on_val[chosen]:.4f}, n = 3"
    assert on_val[chosen] == max(on_val.values())
    frozen = evaluate(first, "test", "best", FAST, options=Options(threshold=chosen, notes=False))
    assert frozen[1]["scores"] == tuned[1]["scores"]
    assert frozen[1]["protocol"]["threshold_from"] == "option"
    assert frozen[1]["config"]["evaluation"]["threshold"] == chosen


def test_a_threshold_is_not_tuned_on_what_is_scored(first, monkeypatch):
    monkeypatch.setattr(thresholds, "score_split", None)
    for split, part in (("val", "chosen on the images that are scored"), ("train", "the network never saw")):
        with pytest.raises(ConfigError, match=f"--split {split}: it would be .*{part}"):
            evaluate(first, split, "best", FAST, options=Options(threshold="tune:val", notes=False))


@pytest.fixture
def elsewhere(tmp_path: Path, discs: Path) -> Path:
    """Another data set: three of the discs, turned."""
    for folder in ("images", "masks"):
        (tmp_path / "other" / folder).mkdir(parents=True)
        for index in range(3):
            picture = Image.open(discs / folder / f"s{index:02}.png").transpose(Image.Transpose.ROTATE_180)
            picture.save(tmp_path / "other" / folder / f"turned{index}.png")
    lines = ["data:", f"  root: {tmp_path / 'other'}", "  channels: rgb", "  mask: {encoding: binary}"]
    (tmp_path / "turned.yaml").write_text("\n".join([*lines, "  split: {train: 0.0, val: 0.0, test: 1.0}"]) + "\n")
    return tmp_path / "turned.yaml"


def same_look(first: Path, file: Path) -> list[str]:
    data = load_run(first, "best").config.data
    return [f"data.channels={data.channels}", f"data.classes=[{', '.join(data.classes)}]"]


def test_another_data_set_is_scored_whole_and_kept_apart(first, elsewhere):
    options = Options(data=str(elsewhere), notes=False)
    folder, results = evaluate(first, "test", "best", [*FAST, *same_look(first, elsewhere)], options=options)
    assert folder == first / "evaluation" / "test-on-turned"
    assert results["images"] == 3
    assert results["data"]["name"] == "turned"
    assert results["data"]["same_as_training"] is None
    assert results["config"]["data"]["root"] == str(elsewhere.with_name("other"))
    assert Tables.read(folder).ids == ("turned0", "turned1", "turned2")


def test_another_data_set_with_other_classes_is_refused_with_both_lists(first, elsewhere):
    options = Options(data=str(elsewhere), notes=False)
    overrides = [*FAST, "data.classes=[background, vessel]"]
    with pytest.raises(
        ConfigError, match=r"classes of turned: \['background', 'vessel'\]; of the network: \['background'"
    ):
        evaluate(first, "test", "best", overrides, options=options)
    channels = "rgb" if load_run(first, "best").config.data.channels == "gray" else "gray"
    overrides = [*FAST, *same_look(first, elsewhere)[1:], f"data.channels={channels}"]
    with pytest.raises(ConfigError, match="number of bands of turned"):
        evaluate(first, "test", "best", overrides, options=options)
    with pytest.raises(ConfigError, match=r"neither a YAML configuration nor a card\. Known cards: .*dsb2018"):
        evaluate(first, "test", "best", FAST, options=Options(data="nowhere"))


def test_names_of_training_images_in_another_data_set_are_pointed_out(first, elsewhere, discs, capsys):
    overrides = [*FAST, f"data.root={discs}", "data.split.train=0.0", "data.split.val=0.0", "data.split.test=1.0"]
    evaluate(first, "test", "best", [*overrides, *same_look(first, elsewhere)], options=Options(data=str(elsewhere)))
    assert "warning: 9 of 12 images have the name of an image of the training" in capsys.readouterr().out
