import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import nn

from seg_scse.errors import ConfigError, DataError, SegScseError
from seg_scse.evaluation.loaded import build_predictor, load_run
from seg_scse.export import exporting, formats
from seg_scse.export.exporting import Request, default_file, export, onnx_file
from seg_scse.inference.onnx_backend import load_onnx

from .saved import CLASSIC, saved_run

CPU = torch.device("cpu")


def test_the_report_says_how_far_the_file_is_from_the_checkpoint(exported):
    parity = exported["parity"]
    assert parity["source"] == "test split"
    assert parity["names"] == ["s02", "s05", "s08", "s11"]
    assert (parity["images"], parity["different_pixels"], parity["equal_labels"]) == (4, 0, 1.0)
    assert 0 < parity["largest_logit_difference"] < 1e-4
    assert parity["largest_probability_difference"] < 1e-4
    file = Path(exported["file"])
    assert json.loads(file.with_name("net.onnx.json").read_text()) == {**exported, "file": "net.onnx"}


def test_the_metadata_in_the_file_say_how_to_use_it(exported, saved):
    facts = load_onnx(Path(exported["file"]), CPU).facts
    assert facts == exported["metadata"]
    loaded = load_run(saved, "best")
    assert facts["checkpoint"]["sha256"] == loaded.digest
    assert (facts["classes"], facts["mean"], facts["std"]) == (["background", "foreground"], [0.3] * 3, [0.2] * 3)
    assert (facts["tile"], facts["overlap"], facts["blend"], facts["margin"]) == (64, 0.25, "linear", 0)
    assert (facts["activation"], facts["threshold"], facts["multiple"]) == ("sigmoid", 0.5, 32)
    assert "torch" in facts["versions"]


def test_the_graph_has_no_heads_of_deep_supervision_and_names_its_sides(exported, saved):
    proto = onnx.load(exported["file"])
    assert any("supervision" in name for name in load_run(saved, "best").state["model"])
    assert not any("supervision" in one.name for one in proto.graph.initializer)
    sides = [side.dim_param for side in proto.graph.input[0].type.tensor_type.shape.dim]
    assert sides == ["batch", "", "height", "width"]


def test_a_file_gives_the_class_maps_of_the_checkpoint_at_any_size(exported, saved):
    predictor = build_predictor(load_run(saved, "best"), CPU)
    other = replace(predictor, model=load_onnx(Path(exported["file"]), CPU))
    for height, width in ((40, 70), (64, 64), (150, 131)):
        image = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
        labels = predictor.labels(predictor.probabilities(image))
        assert np.array_equal(labels, other.labels(other.probabilities(image)))
        assert 0 < labels.mean() < 1


@pytest.mark.parametrize("format_", ["torchscript", "torch-export"])
def test_a_graph_of_torch_is_compared_on_files_that_are_named(saved, tmp_path, format_):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 90, 3), np.uint8)).save(tmp_path / "a.png")
    out = tmp_path / f"net{formats.SUFFIXES[format_]}"
    report = export(saved, "best", [], Request(format_, out=out, images=[str(tmp_path / "a.png")]))
    assert (report["parity"]["names"], report["parity"]["different_pixels"]) == (["a.png"], 0)
    assert report["parity"]["largest_logit_difference"] < 1e-4
    assert report["notes"] == []
    extra = {"metadata.json": ""}
    if format_ == "torchscript":
        with pytest.warns(FutureWarning):
            torch.jit.load(str(out), _extra_files=extra)
    else:
        torch.export.load(out, extra_files=extra)
    assert json.loads(extra["metadata.json"]) == report["metadata"]


class Off(nn.Module):
    """Answers a little differently from a network."""

    def __init__(self, network, by):
        super().__init__()
        self.network, self.by = network, by

    def forward(self, images):
        return self.network(images) + self.by


@pytest.mark.parametrize("by", [0.002, float("nan")])
def test_a_network_that_answers_differently_is_refused_and_not_written(saved, tmp_path, monkeypatch, by):
    read = formats._read
    monkeypatch.setattr(formats, "_read", lambda job, content: Off(read(job, content), by))
    out = tmp_path / "net.safetensors"
    with pytest.raises(SegScseError, match="another one than the checkpoint: on images of several sizes logits"):
        export(saved, "best", [], Request("safetensors", out=out))
    monkeypatch.setattr(formats, "sizes_apart", lambda *_: 0.0)
    with pytest.raises(SegScseError, match=r"on 4 images \(val split\) logits differ by up to (0.002|nan)"):
        export(saved, "best", [], Request("safetensors", out=out))
    assert list(tmp_path.iterdir()) == []


def test_a_network_off_by_rounding_is_not_refused(saved, tmp_path, monkeypatch):
    read = formats._read
    monkeypatch.setattr(formats, "_read", lambda job, content: Off(read(job, content), 0.0005))
    report = export(saved, "best", [], Request("safetensors", out=tmp_path / "net.safetensors"))
    assert report["parity"]["largest_logit_difference"] == pytest.approx(5e-4, rel=1e-2)


def test_a_graph_that_cannot_have_any_size_is_made_for_tiles(saved, tmp_path, monkeypatch):
    seen = formats.sizes_apart
    monkeypatch.setattr(formats, "sizes_apart", lambda *args: seen(*args) if args[3].fixed else 1.0)
    report = export(saved, "best", [], Request("torch-export", out=tmp_path / "net.pt2"))
    assert report["metadata"]["sizes"] == "64 x 64, and no other"
    assert "takes images of 64 x 64 alone, the tile of the training" in report["notes"][0]
    program = torch.export.load(tmp_path / "net.pt2").module()
    assert program(torch.zeros(3, 3, 64, 64)).shape == (3, 1, 64, 64)
    with pytest.raises(Exception, match="64"):
        program(torch.zeros(1, 3, 128, 64))


def test_a_network_that_no_graph_can_hold_is_refused_by_name(saved, tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("no such operator\nat length")

    monkeypatch.setattr(formats.graphs, "torchscript_file", broken)
    with pytest.raises(ConfigError, match=r"classic_unet cannot be exported as torchscript \(no such operator\)"):
        export(saved, "best", [], Request("torchscript", out=tmp_path / "net.torchscript"))


def test_without_its_data_and_without_files_the_cure_is_named(saved, tmp_path):
    with pytest.raises(DataError, match=r"compared on real images, but (.|\n)*--images FILE"):
        export(saved, "best", [f"data.root={tmp_path}"], Request("safetensors"))
    assert not (saved / "export" / "safetensors").exists()


def test_smaller_numbers_are_of_onnx_and_need_a_truth():
    with pytest.raises(ConfigError, match="--precision int8 is there for --format onnx, not for torchscript"):
        Request("torchscript", "int8")
    with pytest.raises(ConfigError, match="judged by the Dice it costs"):
        Request("onnx", "fp16", images=["a.png"])


def test_a_limit_spreads_the_images_over_the_split(saved, tmp_path):
    report = export(saved, "best", [], Request("safetensors", out=tmp_path / "w.safetensors", split="test", limit=2))
    assert report["parity"]["names"] == ["s02", "s11"]


def test_each_kind_has_a_file_of_its_own(saved):
    loaded = load_run(saved, "best")
    names = [str(default_file(loaded, *kind).relative_to(saved)) for kind in (("onnx",), ("onnx", "int8"), ("smp",))]
    assert names == ["export/discs.onnx", "export/discs-int8.onnx", "export/discs.pth"]
    assert default_file(loaded, "safetensors") == saved / "export" / "safetensors" / "model.safetensors"
    last = replace(loaded, file=saved / "checkpoints" / "last.ckpt")
    assert default_file(last, "onnx") == saved / "export" / "discs-last.onnx"
    lone = replace(loaded, run=None, file=Path("w/epoch3.ckpt"))
    assert default_file(lone, "torch-export") == Path("w/epoch3-export/discs.pt2")


def test_the_file_for_onnxruntime_is_made_once_for_a_checkpoint(discs, tmp_path, monkeypatch):
    run = saved_run(tmp_path / "run", discs, *CLASSIC)
    loaded = load_run(run, "best", ["trainer.precision=bf16", f"data.root={tmp_path}"])
    path = onnx_file(loaded)
    assert path == run / "export" / "discs.onnx"
    report = json.loads((run / "export" / "discs.onnx.json").read_text())
    assert report["parity"]["source"] == "drawn images"
    assert report["parity"]["largest_logit_difference"] > 0
    before = path.stat()
    assert onnx_file(loaded) == path
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    monkeypatch.setattr(exporting, "_write", lambda *_: path.write_text("made"))
    onnx_file(replace(loaded, digest="another"))
    assert path.read_text() == "made"
    path.write_text("damaged")
    onnx_file(loaded)
    assert path.read_text() == "made"
