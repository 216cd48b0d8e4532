from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from seg_scse.errors import CheckpointError, ConfigError
from seg_scse.inference import onnx_backend
from seg_scse.inference.ensemble import Ensemble
from seg_scse.inference.onnx_backend import decoded, encoded, load_onnx, with_onnx

from .drawn import Bright, predictor

CPU = torch.device("cpu")


def brightness(path, by, names=("image", "logits"), sides=("height", "width")):
    """Write a network that subtracts a number from the sum of the channels."""
    shape = ["batch", 3, *sides]
    nodes = [
        helper.make_node("ReduceSum", [names[0], "axes"], ["sum"], keepdims=1),
        helper.make_node("Sub", ["sum", "by"], [names[1]]),
    ]
    constants = [
        helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
        helper.make_tensor("by", TensorProto.FLOAT, [1], [by]),
    ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info(names[0], TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(names[1], TensorProto.FLOAT, [shape[0], 1, *sides])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    for key, value in encoded({"name": "bright", "classes": ["a", "b"], "scale": None, "tile": 32}).items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)
    return path


def test_logits_and_facts_come_from_the_file(tmp_path):
    network = load_onnx(brightness(tmp_path / "net.onnx", 0.5), CPU)
    images = torch.rand(2, 3, 7, 9).to(memory_format=torch.channels_last)
    assert torch.allclose(network(images), images.sum(1, keepdim=True) - 0.5, atol=1e-6)
    assert network.facts == {"name": "bright", "classes": ["a", "b"], "scale": None, "tile": 32}


def test_facts_survive_as_texts():
    facts = {"name": "a b", "count": 3, "list": [1.5, None], "map": {"x": True}}
    assert all(isinstance(text, str) for text in encoded(facts).values())
    assert decoded(encoded(facts)) == facts


def test_a_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "net.onnx").write_text("none")
    with pytest.raises(CheckpointError, match=r"net\.onnx: cannot be read as ONNX \(.*Export it again"):
        load_onnx(tmp_path / "net.onnx", CPU)
    with pytest.raises(CheckpointError, match=r"absent\.onnx: cannot be read"):
        load_onnx(tmp_path / "absent.onnx", CPU)


def test_a_file_with_other_inputs_is_refused(tmp_path):
    path = brightness(tmp_path / "net.onnx", 0.5, names=("x", "y"))
    with pytest.raises(CheckpointError, match=r"maps x to y, not image to logits. Use a file of `seg-scse export"):
        load_onnx(path, CPU)


def test_a_network_for_tiles_alone_refuses_another_size(tmp_path):
    network = load_onnx(brightness(tmp_path / "net.onnx", 0.5, sides=(32, 32)), CPU)
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 1, 32, 32)
    with pytest.raises(ConfigError, match=r"images of 32 x 32 alone, not of 64 x 32: leave evaluation\.scales"):
        network(torch.zeros(2, 3, 64, 32))


def test_without_the_extra_its_name_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'onnxruntime is not installed. Run `pip install "seg-scse\[export\]"`'):
        load_onnx(brightness(tmp_path / "net.onnx", 0.5), CPU)


def test_a_predictor_and_each_member_of_an_ensemble_get_their_own_file(tmp_path):
    files = [brightness(tmp_path / f"{by}.onnx", by) for by in (0.5, 2.0)]
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    one = replace(predictor(Bright()), precision="bf16")
    alone = [with_onnx(one, [file]) for file in files]
    assert {each.precision for each in alone} == {"fp32"}
    both = with_onnx(Ensemble((one, one)), files)
    each = torch.stack([network.probabilities(image) for network in alone])
    assert (each[0] - each[1]).abs().max() > 0.1
    assert torch.allclose(both.probabilities(image), each.mean(0), atol=1e-6)
    with pytest.raises(ValueError, match="shorter"):
        with_onnx(Ensemble((one, one)), files[:1])


def test_a_gpu_is_used_where_the_runtime_can(monkeypatch):
    class Runtime:
        found = ("CPUExecutionProvider",)

        @classmethod
        def get_available_providers(cls):
            return cls.found

    cuda = torch.device("cuda", 1)
    assert onnx_backend._providers(Runtime, cuda) == ["CPUExecutionProvider"]
    Runtime.found = ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert onnx_backend._providers(Runtime, cuda)[0] == ("CUDAExecutionProvider", {"device_id": 1})
    assert onnx_backend._providers(Runtime, CPU) == ["CPUExecutionProvider"]
