"""Whole predictions: what is written, skipped, replaced and refused."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from seg_scse import checkpoint
from seg_scse.cli import main
from seg_scse.data.files.reading import read_raster
from seg_scse.errors import ConfigError
from seg_scse.evaluation.loaded import load_run
from seg_scse.inference.predictor import Predictor
from seg_scse.prediction import work
from seg_scse.prediction.folder import Folder
from seg_scse.prediction.networks import config_of

from ..evaluation.runs import another
from .predicting import ALL, THRESHOLD, copied, predict, record, results, said, table, trained_run

Refused = Callable[[list[str], int], str]


def test_a_scene_keeps_its_place_and_lacks_data_where_its_image_does(whole: Path, scenes: Path) -> None:
    with (
        rasterio.open(whole / "labels" / "a" / "scene.tif") as map_,
        rasterio.open(scenes / "a" / "scene.tif") as image,
    ):
        labels, pixels = map_.read(1), image.read(1)
        assert (map_.crs, map_.transform, map_.shape, map_.nodata) == (image.crs, image.transform, image.shape, 255)
    assert set(np.unique(labels)) == {0, 1, 255}
    assert np.array_equal(labels == 255, pixels == 0)
    with rasterio.open(whole / "probabilities" / "a" / "scene.tif") as file:
        probabilities = file.read(1)
        assert file.crs == image.crs
    assert np.array_equal(np.isnan(probabilities), pixels == 0)
    assert np.array_equal(labels == 1, probabilities > float(THRESHOLD))
    with rasterio.open(whole / "uncertainty" / "a" / "scene.tif") as file:
        entropy, disagreement = file.read()
        assert file.descriptions == ("entropy", "disagreement")
    known = pixels != 0
    assert entropy[known].max() <= np.log(2) + 1e-6
    assert (disagreement[known] <= entropy[known] + 1e-6).all()
    assert disagreement[known].max() > 0
    assert np.array(Image.open(whole / "overlays" / "a" / "scene.png")).shape == (210, 190, 3)
    regions = json.loads((whole / "polygons" / "a" / "scene.geojson").read_text())["features"]
    assert {region["properties"]["class"] for region in regions} == {"foreground"}


def test_the_summary_counts_pixels_and_areas(whole: Path) -> None:
    rows = {row["id"]: row for row in table(whole)}
    assert list(rows) == ["a/scene", "small1", "small2"]
    scene = rows["a/scene"]
    with rasterio.open(whole / "labels" / "a" / "scene.tif") as file:
        labels = file.read(1)
    assert int(scene["foreground_pixels"]) == (labels == 1).sum()
    assert int(scene["nodata_pixels"]) == (labels == 255).sum() == 110 * 80
    assert float(scene["foreground_area"]) == 100 * (labels == 1).sum()
    assert (scene["area_unit"], scene["status"], scene["height"], scene["width"]) == ("m2", "done", "210", "190")
    facts = json.loads((whole / "predict.json").read_text())
    assert facts["classes"] == ["background", "foreground"]
    assert (facts["settings"]["tta"], facts["settings"]["threshold"]) == ("flips", float(THRESHOLD))


def test_nothing_is_left_of_the_strips_of_a_finished_scene(whole: Path) -> None:
    assert not list((whole / ".strips").iterdir())
    assert record(whole, "a/scene")["strips"] == ["1/1: 0-8"]


def test_a_scene_is_predicted_as_it_is_as_a_whole(run: Path, scenes: Path, whole: Path, tmp_path: Path) -> None:
    assert predict(run, scenes, tmp_path / "out", *ALL, "--format", "tif") == 0
    kept = {name: data for name, data in results(tmp_path / "out").items() if "overlays" not in name}
    assert kept == {name: data for name, data in results(whole).items() if "overlays" not in name}


def test_images_are_predicted_as_they_are_evaluated(run: Path, discs: Path, tmp_path: Path) -> None:
    fast = ["evaluation.surface=false", "evaluation.overlays=0", f"evaluation.threshold={THRESHOLD}"]
    assert main(["evaluate", str(run), "--split", "val", "--save-predictions", str(tmp_path / "maps"), *fast]) == 0
    assert predict(run, discs / "images", tmp_path / "out") == 0
    names = [path.name for path in (tmp_path / "maps").iterdir()]
    assert len(names) == 3
    for name in names:
        ours, theirs = (np.array(Image.open(tmp_path / folder / name)) for folder in ("out/labels", "maps"))
        assert np.array_equal(ours, theirs)
        assert ours.any()


def test_what_is_done_is_skipped_and_what_changed_is_done_again(
    run: Path, discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, out = copied(discs, tmp_path / "in"), tmp_path / "out"
    assert predict(run, inputs, out) == 0
    times = {path.name: path.stat().st_mtime_ns for path in (out / "labels").iterdir()}
    Image.fromarray(np.zeros((40, 50), np.uint8)).save(inputs / "s00.png")
    (out / "labels" / "s01.png").unlink()
    assert predict(run, inputs, out) == 0
    assert "predicted 2 of 3 items" in capsys.readouterr().out
    changed = [path.name for path in sorted((out / "labels").iterdir()) if times[path.name] != path.stat().st_mtime_ns]
    assert changed == ["s00.png", "s01.png"]
    assert np.array(Image.open(out / "labels" / "s00.png")).shape == (40, 50)
    monkeypatch.setattr("seg_scse.evaluation.members.build_network", None)  # where nothing is to do nothing is built
    assert predict(run, inputs, out) == 0
    assert "predicted 0 of 3 items" in capsys.readouterr().out
    (out / ".items" / f"{next((out / '.items').glob('*.json')).name}").write_text("{")
    assert len(table(out)) == 3


def test_other_settings_are_refused_and_replaced_on_request(
    run: Path, discs: Path, tmp_path: Path, refused: Refused
) -> None:
    inputs, out = copied(discs, tmp_path / "in"), tmp_path / "out"
    assert predict(run, inputs, out) == 0
    message = refused(said(run, inputs, out, "--tta", "d4", "--format", "tif"), 2)
    assert f"{out}: holds results of other settings:\n  - format: auto -> tif\n  - tta: none -> d4\n" in message
    assert "replace them by --overwrite" in message
    assert predict(run, inputs, out, "--tta", "d4", "--format", "tif", "--overwrite") == 0
    assert sorted(results(out)) == ["labels/s00.tif", "labels/s01.tif", "labels/s02.tif"]
    assert json.loads((out / "predict.json").read_text())["settings"]["tta"] == "d4"
    message = refused(said(run, inputs, out, "--overwrite", "--shard", "1/2"), 2)
    assert "the calls would remove each other's results" in message


def test_small_images_go_through_the_network_together(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for number in range(7):
        pixels = random.integers(0, 255, (20 + number, 32), np.uint16 if number == 3 else np.uint8)
        Image.fromarray(pixels).save(tmp_path / "in" / f"{number}.png")
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / "in" / "large.png")
    assert predict(run, tmp_path / "in", tmp_path / "alone") == 0
    sizes, batch = [], Predictor.batch

    def watched(self: Predictor, images: list, **named: object) -> object:
        sizes.append(len(images))
        return batch(self, images, **named)

    monkeypatch.setattr(Predictor, "batch", watched)
    monkeypatch.setattr(work, "is_gpu", lambda network: True)
    assert predict(run, tmp_path / "in", tmp_path / "together") == 0
    assert sizes == [3, 1, 3], "those of another type by themselves"
    assert results(tmp_path / "together") == results(tmp_path / "alone")


def test_images_that_fail_together_are_predicted_alone(
    run: Path, discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for number in range(3):
        Image.fromarray(np.full((30, 30), 40 * number, np.uint8)).save(tmp_path / "in" / f"{number}.png")
    batch = Predictor.batch

    def failing(self: Predictor, images: list, **named: object) -> object:
        if len(images) > 1 or (images[0] == 40).all():
            raise MemoryError
        return batch(self, images, **named)

    monkeypatch.setattr(Predictor, "batch", failing)
    monkeypatch.setattr(work, "is_gpu", lambda network: True)
    assert predict(run, tmp_path / "in", tmp_path / "out") == 3
    assert sorted(results(tmp_path / "out")) == ["labels/0.png", "labels/2.png"]
    assert "1 of 3 items failed" in capsys.readouterr().err


def test_one_file_that_fails_leaves_nothing_beside_it(run: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("no image")
    assert predict(run, tmp_path / "bad.png", tmp_path / "map.png") == 3
    assert [path.name for path in tmp_path.iterdir()] == ["bad.png"]


def test_an_image_is_never_replaced_by_its_label_map(run: Path, discs: Path, tmp_path: Path, refused: Refused) -> None:
    image = copied(discs, tmp_path / "in", 1) / "s00.png"
    before = image.read_bytes()
    assert "is the image itself" in refused([*said(run, image, image), "--overwrite"], 2)
    assert image.read_bytes() == before


def test_one_file_gives_one_label_map(run: Path, scenes: Path, whole: Path, tmp_path: Path, refused: Refused) -> None:
    target = tmp_path / "maps" / "map.tif"
    one = scenes / "small1.tif"
    assert predict(run, one, target, "--tta", "flips") == 0
    assert target.read_bytes() == (whole / "labels" / "small1.tif").read_bytes()
    assert [path.name for path in target.parent.iterdir()] == ["map.tif"]
    assert f"{target}: exists. Name another file, or replace it by --overwrite." in refused(said(run, one, target), 2)
    assert predict(run, one, target, "--overwrite") == 0
    message = refused(said(run, scenes, tmp_path / "x.tif"), 2)
    assert "x.tif: names one file, but there are 3 items to predict. Name a folder." in message
    message = refused(said(run, one, tmp_path / "y.tif", "--save", "overlays"), 2)
    assert "y.tif: names one label map. Name a folder for --save." in message


def test_files_that_no_prediction_made_are_left_alone(run: Path, discs: Path, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "out" / "labels").mkdir(parents=True)
    (tmp_path / "out" / "labels" / "s00.png").write_text("truth")
    message = refused(said(run, discs / "images", tmp_path / "out", "--overwrite"), 2)
    assert "holds files in labels that no prediction made" in message
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["labels"]


def test_several_runs_predict_by_their_mean(run: Path, scenes: Path, tmp_path: Path) -> None:
    inputs, second = scenes / "small1.tif", another(run, tmp_path / "second", 1)
    save = ["--save", "labels", "probabilities", "uncertainty"]
    found = {}
    for name, runs in (("one", [run]), ("two", [second]), ("both", [run, second])):
        words = ["predict", *map(str, runs), "--input", str(inputs), "--output", str(tmp_path / name), *save]
        assert main(words) == 0
        with rasterio.open(tmp_path / name / "probabilities" / "small1.tif") as file:
            found[name] = file.read(1)
        with rasterio.open(tmp_path / name / "uncertainty" / "small1.tif") as file:
            assert file.count == (2 if name == "both" else 1)
    assert np.abs(found["one"] - found["two"]).max() > 1e-3
    assert np.allclose(found["both"], (found["one"] + found["two"]) / 2, atol=1e-6)
    digests = [checkpoint.load(one / checkpoint.BEST)[1] for one in (run, second)]
    assert json.loads((tmp_path / "both" / "predict.json").read_text())["settings"]["checkpoints"] == digests


def test_each_of_several_runs_sees_a_file_in_its_own_scale(discs: Path, tmp_path: Path) -> None:
    first = trained_run(tmp_path, discs, "data.scale.method=percentile", "trainer.max_epochs=1")
    second = another(first, tmp_path / "second", 0, scale={"low": [0.0] * 3, "high": [400.0] * 3})
    inputs, found = copied(discs, tmp_path / "in", 1), {}
    for name, runs in (("one", [first]), ("two", [second]), ("both", [first, second])):
        words = ["--input", str(inputs), "--output", str(tmp_path / name), "--save", "probabilities"]
        assert main(["predict", *map(str, runs), *words]) == 0
        found[name] = read_raster(tmp_path / name / "probabilities" / "s00.tif", 10**6).pixels
    assert np.abs(found["one"] - found["two"]).max() > 1e-2
    assert np.allclose(found["both"], (found["one"] + found["two"]) / 2, atol=1e-6)


def test_strips_that_a_kill_left_of_a_finished_scene_go_away(
    run: Path, scenes: Path, whole: Path, tmp_path: Path, small: None
) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    strips = Folder(out).strips("a/scene")
    for folder in (strips / "0123", strips.with_suffix(".by"), Folder(out).strips("another")):
        folder.mkdir(parents=True)
        (folder / "000000.npz").touch()
    strips.with_suffix(".tif").touch()
    assert predict(run, scenes, out, *ALL) == 0
    assert [path.name for path in (out / ".strips").iterdir()] == [Folder(out).strips("another").name]
    assert results(out) == results(whole)


def test_results_of_an_earlier_version_of_a_file_are_not_left_beside_the_new_ones(
    run: Path, scenes: Path, discs: Path, tmp_path: Path
) -> None:
    inputs, out = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    Image.open(discs / "images" / "s00.png").save(inputs / "s.tif")
    assert predict(run, inputs, out) == 0
    assert list(results(out)) == ["labels/s.png"]
    shutil.copy(scenes / "small1.tif", inputs / "s.tif")
    assert predict(run, inputs, out) == 0
    assert list(results(out)) == ["labels/s.tif"]
    (inputs / "s.tif").write_bytes(b"II*\0")
    assert predict(run, inputs, out) == 3
    assert predict(run, inputs, out, "--overwrite") == 3
    assert list(results(out)) == []


def test_a_name_that_is_too_long_does_not_stop_the_rest(
    run: Path, discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = discs / "images" / "s00.png"
    (tmp_path / "in.csv").write_text(f"image,id\n{image},{'x' * 240}\n{image},short\n")
    assert predict(run, tmp_path / "in.csv", tmp_path / "out") == 3
    assert "240 bytes are too long for the names of results" in capsys.readouterr().err
    assert list(results(tmp_path / "out")) == ["labels/short.png"]


def test_files_of_others_below_the_output_are_left_alone(run: Path, discs: Path, tmp_path: Path) -> None:
    others = tmp_path / "out" / "mine" / ".draft.partial"
    others.parent.mkdir(parents=True)
    others.touch()
    assert predict(run, copied(discs, tmp_path / "in", 1), tmp_path / "out") == 0
    assert others.exists()


def test_a_threshold_without_meaning_is_refused(run: Path) -> None:
    loaded = load_run(run, "best", [])
    mask = loaded.config.data.mask.model_copy(update={"encoding": "index"})
    data = loaded.config.data.model_copy(update={"classes": ("a", "b", "c"), "task": "multiclass", "mask": mask})
    three = dataclasses.replace(loaded, config=loaded.config.model_copy(update={"data": data}))
    with pytest.raises(ConfigError, match=r"--threshold 0.4: of 3 classes \(a, b, c\) the most probable one"):
        config_of(three, ["evaluation.threshold=0.4"])
    assert config_of(three, []).data.classes == ("a", "b", "c")
    assert config_of(loaded, ["evaluation.threshold=0.4"]).data.classes == loaded.config.data.classes
