import numpy as np
import torch
from safetensors import safe_open

from seg_scse import from_pretrained
from seg_scse.evaluation.loaded import build_predictor, load_run
from seg_scse.export.exporting import Request, export
from seg_scse.inference.onnx_backend import decoded


def test_safetensors_hold_weights_and_facts_and_load_as_a_shared_network(saved, tmp_path):
    report = export(saved, "best", [], Request("safetensors", out=tmp_path / "model.safetensors"))
    assert report["parity"]["largest_logit_difference"] == 0
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert decoded(file.metadata()) == report["metadata"]
        assert not any(name.startswith("supervision") for name in file.keys())  # noqa: SIM118 - no mapping
    shared = from_pretrained(tmp_path)
    predictor = build_predictor(load_run(saved, "best"), torch.device("cpu"))
    image = np.random.default_rng(0).integers(0, 256, (80, 70, 3), np.uint8)
    assert np.array_equal(shared.predict(image), predictor.labels(predictor.probabilities(image)))


def test_a_file_of_another_name_leaves_other_networks_alone(saved, tmp_path):
    export(saved, "best", [], Request("safetensors", out=tmp_path / "net.safetensors"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.safetensors", "net.safetensors.json"]
