from pathlib import Path

import onnx
import pytest
import torch

from seg_scse.evaluation.loaded import build_predictor, load_run
from seg_scse.export.calibration import calibration_tiles
from seg_scse.export.evidence import of_split
from seg_scse.export.exporting import Request, export, on_cpu

FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_smaller_numbers_are_written_with_the_dice_they_cost(saved, tmp_path, precision):
    out = tmp_path / "net.onnx"
    report = export(saved, "best", [], Request("onnx", precision, out=out, split="test"))
    cost = report["cost"]
    assert (cost["metric"], cost["images"], cost["source"]) == ("dice_per_image", 4, "test split")
    assert cost["cost"] == pytest.approx(cost["fp32"] - cost["quantised"])
    assert abs(cost["cost"]) < 0.05
    assert 1e-6 < report["parity"]["largest_probability_difference"] < 0.3
    proto = onnx.load(out)
    assert [one.type.tensor_type.elem_type for one in (*proto.graph.input, *proto.graph.output)] == [FLOAT, FLOAT]
    if precision == "fp16":
        assert any(one.data_type == HALF for one in proto.graph.initializer)
    else:
        assert sum(node.op_type == "QuantizeLinear" for node in proto.graph.node) > 5
        kernels = [one.data_type for one in proto.graph.initializer if len(one.dims) == 4]
        assert kernels.count(onnx.TensorProto.INT8) > 5
    assert report["metadata"]["precision"] == precision
    assert Path(report["file"]) == out


def test_calibration_sees_tiles_of_training_images_as_the_network_does(saved):
    loaded = on_cpu(load_run(saved, "best"))
    reference, data = build_predictor(loaded, torch.device("cpu")), of_split(loaded, "test", None).data
    tiles = calibration_tiles(reference, data)
    assert [tile.shape for tile in tiles] == [(1, 3, 64, 64)] * 4
    index = data.manifest.indices("train")[1]
    pixels = torch.from_numpy(data.store.image(index).astype("float32") / 255)
    assert torch.allclose(tiles[1][0, :, :48, :56], ((pixels - 0.3) / 0.2).permute(2, 0, 1), atol=1e-5)
