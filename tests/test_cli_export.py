import json

import pytest

from seg_scse.cli import main

from .export.saved import CLASSIC, saved_run


@pytest.fixture(scope="module")
def run(discs, tmp_path_factory):
    return saved_run(tmp_path_factory.mktemp("saved") / "run", discs, *CLASSIC)


def test_the_command_writes_the_file_and_says_how_it_was_compared(run, capsys):
    assert main(["export", str(run), "--format", "safetensors", "--split", "test", "--limit", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    file = run / "export" / "safetensors" / "model.safetensors"
    assert lines[0] == f"written: {file} ({file.stat().st_size / 1e6:.1f} MB)"
    assert lines[1] == "sizes of images: any, sides in multiples of 32"
    assert lines[2] == (
        "against the checkpoint on 1 image (test split): logits differ by up to 0, probabilities by up to 0; 0 pixels "
        "(0.00%) have another label"
    )


def test_json_is_the_report(run, capsys, tmp_path):
    out = tmp_path / "net.safetensors"
    assert main(["export", str(run), "--format", "safetensors", "--out", str(out), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["file"] == str(out)
    assert report["parity"]["source"] == "val split"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--format", "smp"], "classic_unet is no network of segmentation-models-pytorch"),
        (["--format", "torchscript", "--precision", "fp16"], "--precision fp16 is there for --format onnx"),
        (["--format", "onnx", "--images", "a.png", "--limit", "3"], "leave out --split and --limit"),
        (["--format", "onnx", "--out", "."], "is a folder: name the file to write"),
        (["--format", "onnx", "--out", "a.pt"], "--out a.pt: a file of --format onnx ends in .onnx"),
        (["--format", "onnx", "model.width=8"], "It would describe another network"),
    ],
    ids=["smp", "precision", "images", "folder", "suffix", "override"],
)
def test_what_cannot_be_is_refused_before_any_work(run, refused, arguments, reason):
    assert reason in refused(["export", str(run), *arguments], 2)


def test_an_image_that_is_not_there_is_named(run, refused):
    message = refused(["export", str(run), "--format", "safetensors", "--images", "absent.png"], 3)
    assert "absent.png: no such file" in message


def test_the_cost_of_smaller_numbers_is_one_line():
    from seg_scse.cli.exporting import _cost_line

    cost = {"metric": "dice_per_image", "images": 7, "source": "val split"}
    scores = {"fp32": 0.9, "quantised": 0.8912, "cost": 0.0088}
    line = "dice_per_image on 7 images (val split): 0.9000 in fp32, 0.8912 in int8, a cost of 0.0088"
    assert _cost_line({**cost, **scores}, "int8") == line
    assert _cost_line({**cost, "cost": None}, "int8").endswith("nothing to score")
