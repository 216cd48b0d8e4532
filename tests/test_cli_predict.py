"""`predict` from the command line: its options, and inputs of every kind."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from seg_scse.cli import main
from seg_scse.hub import save_pretrained
from seg_scse.prediction.folder import Folder

from .prediction.predicting import SCENE, THRESHOLD, results, scenes_from, table, trained_run

Refused = Callable[[list[str], int], str]
FLAT = ["--input", "in", "--output", "out"]


@pytest.fixture(scope="module")
def run(discs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_run(tmp_path_factory.mktemp("predicting"), discs)


def labels(path: Path) -> np.ndarray:
    with Image.open(path) as file:
        return np.array(file)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (FLAT, "nothing to predict with: name a run before --input"),
        (["RUN", *FLAT, "--save", "labels", "maps"], "--save maps: is not known. Known: labels, probabilities"),
        (["RUN", *FLAT, "--resample", "0.5"], "--resample 0.5: give none, training, or height and width in mm"),
        (["RUN", *FLAT, "--resample", "0.5", "-1"], "--resample 0.5 -1: give none, training"),
        (["RUN", *FLAT, "--overwrite", "--shard", "1/2"], "would remove each other's results"),
        (["RUN", *FLAT, "--backend", "onnxruntime", "--compile"], "have no meaning with --backend onnxruntime"),
        (["RUN/checkpoints/best.ckpt", *FLAT, "--checkpoint", "last"], "is a checkpoint file: --checkpoint chooses"),
        (["RUN", *FLAT, "model.encoder=resnet50"], "`model.encoder=resnet50` cannot be changed here"),
        (["RUN", *FLAT, "data.root=x"], "Allowed: evaluation.*, trainer.device, trainer.precision, trainer.threads, "),
        (["RUN", *FLAT, "--threshold", "1.5"], "evaluation.threshold = 1.5"),
        (["RUN", *FLAT, "--scales", "0"], "evaluation.scales"),
    ],
)
def test_wrong_usage_is_refused(run: Path, words: list[str], part: str, refused: Refused) -> None:
    assert part in refused(["predict", *(word.replace("RUN", str(run)) for word in words)], 2)


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0"])
def test_a_shard_is_one_of_several(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["predict", "run", *FLAT, "--shard", text])
    assert f"`{text}` is not I/N with I from 1 to N" in capsys.readouterr().err


def test_missing_inputs_and_runs_have_their_exit_codes(run: Path, tmp_path: Path, refused: Refused) -> None:
    out = str(tmp_path / "out")
    assert "does not exist" in refused(["predict", str(run), "--input", str(tmp_path / "no"), "--output", out], 3)
    (tmp_path / "in").mkdir()
    assert "no " in refused(["predict", str(run), "--input", str(tmp_path / "in"), "--output", out], 3)
    assert refused(["predict", str(tmp_path / "no"), "--input", str(tmp_path), "--output", out], 6)
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("")
    discs = run.parent  # any folder: the output is looked at first
    message = refused(["predict", str(run), "--input", str(discs), "--output", str(tmp_path / "file")], 2)
    assert "file: is a file. Name a folder, or a label map such as map.tif." in message


def test_a_table_names_images_and_their_ids(run: Path, discs: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.csv"
    images = sorted((discs / "images").iterdir())[:2]
    listed.write_text("image,id\n" + "".join(f"{image},ward {n}/ä\n" for n, image in enumerate(images)))
    assert main(["predict", str(run), "--input", str(listed), "--output", str(tmp_path / "out")]) == 0
    assert [row["id"] for row in table(tmp_path / "out")] == ["ward 0/ä", "ward 1/ä"]
    assert (tmp_path / "out" / "labels" / "ward 1" / "ä.png").is_file()


def test_a_large_picture_is_a_scene_too(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 255, (130, 110, 3), np.uint8)
    (tmp_path / "in").mkdir()
    Image.fromarray(pixels).save(tmp_path / "in" / "picture.png")
    np.save(tmp_path / "in" / "array.npy", pixels)
    words = ["predict", str(run), "--input", str(tmp_path / "in"), "--threshold", THRESHOLD, "--format", "png"]
    assert main([*words, "--output", str(tmp_path / "whole")]) == 0
    scenes_from(SCENE, monkeypatch.setattr)
    assert main([*words, "--output", str(tmp_path / "strips")]) == 0
    for name in ("picture.png", "array.png"):
        found = labels(tmp_path / "strips" / "labels" / name)
        assert np.array_equal(found, labels(tmp_path / "whole" / "labels" / name))
        assert set(np.unique(found)) == {0, 1}
    refused_at = ["data.max_pixels=14000", "--output", str(tmp_path / "limited")]
    assert main([*words, *refused_at]) == 3
    assert "1 of 2 items failed:\n  - picture: " in capsys.readouterr().err, "only what is decoded whole is limited"


def test_a_volume_is_predicted_onto_its_voxels(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    affine = np.array([[0.0, 0, 2.5, -9], [-0.8, 0, 0, 30], [0, 0.6, 0, 4], [0, 0, 0, 1]])
    voxels = np.random.default_rng(0).integers(0, 255, (36, 44, 3)).astype(np.uint8)
    image = nibabel.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units("mm")
    (tmp_path / "in").mkdir()
    image.to_filename(tmp_path / "in" / "case.nii.gz")
    words = ["predict", str(run), "--input", str(tmp_path / "in"), "--threshold", THRESHOLD]
    save = ["--save", "labels", "probabilities", "overlays", "--plane", "mean"]
    assert main([*words, "--output", str(tmp_path / "out"), *save]) == 0
    assert "note: volumes: no overlays are written of them" in capsys.readouterr().out
    found = nibabel.load(tmp_path / "out" / "labels" / "case.nii.gz")
    assert found.shape == voxels.shape
    assert np.allclose(found.affine, affine)
    values = np.asarray(found.dataobj)
    (row,) = table(tmp_path / "out")
    assert (row["width"], row["height"], row["slices"]) == ("36", "44", "3")
    assert int(row["foreground_pixels"]) == (values == 1).sum()
    assert float(row["foreground_area"]) == pytest.approx((values == 1).sum() * 2.5 * 0.8 * 0.6)
    assert row["area_unit"] == "mm3"
    assert main([*words, "--output", str(tmp_path / "out"), *save]) == 0
    assert "predicted 0 of 1 item" in capsys.readouterr().out
    one = tmp_path / "one.nii.gz"
    assert main(["predict", str(run), "--input", str(tmp_path / "in" / "case.nii.gz"), "--output", str(one)]) == 0
    assert nibabel.load(one).shape == voxels.shape


def test_the_first_items_alone_can_be_predicted(
    run: Path, discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["predict", str(run), "--input", str(discs / "images"), "--output", str(tmp_path), "--json"]
    assert main([*words, "--limit", "2"]) == 0
    assert json.loads(capsys.readouterr().out)["done"] == 2
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["skipped"] == 2


def test_a_shared_network_predicts_as_its_run(run: Path, discs: Path, tmp_path: Path) -> None:
    shared = save_pretrained(run, tmp_path / "shared")
    words = ["--input", str(discs / "images"), "--threshold", THRESHOLD, "--limit", "2"]
    for name, network in (("run", run), ("shared", shared)):
        assert main(["predict", str(network), *words, "--output", str(tmp_path / name / "out")]) == 0
    assert results(tmp_path / "shared" / "out") == results(tmp_path / "run" / "out")
    facts = [json.loads((tmp_path / name / "out" / "predict.json").read_text()) for name in ("run", "shared")]
    assert facts[0]["settings"] == facts[1]["settings"], "the same checkpoint"


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x"])
def test_an_id_cannot_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(Exception, match="this id leads out of the folder"):
        Folder(tmp_path).path("labels", name, ".png")


def test_the_program_is_a_module_too() -> None:
    done = subprocess.run([sys.executable, "-m", "seg_scse", "predict", "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "--shard I/N" in done.stdout
