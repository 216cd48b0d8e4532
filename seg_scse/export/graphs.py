"""Networks as graphs that run without this package: of torch.export, TorchScript and ONNX."""

import io
import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seg_scse.errors import ConfigError
from seg_scse.export.sizes import Sizes
from seg_scse.inference.onnx_backend import INPUT, OUTPUT, decoded, encoded, require_extra

OPSET = 18
"""Of ONNX: known to onnxruntime since 1.14 of 2023."""

METADATA = "metadata.json"
"""Name of the extra file with the facts in what TorchScript and torch.export write."""

_MOST_BYTES = 2**31 - 1


def as_program(model: nn.Module, sizes: Sizes) -> torch.export.ExportedProgram:
    """Follow a network in evaluation mode by torch.export."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of torch about itself; whether the result is right is measured
        return torch.export.export(model, (sizes.example(),), dynamic_shapes=sizes.dynamic())


def torch_export_file(model: nn.Module, sizes: Sizes, facts: dict[str, Any]) -> bytes:
    """Return a network as the content of a .pt2 file of torch.export, with its facts."""
    stream = io.BytesIO()
    program = as_program(model, sizes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program, stream, extra_files={METADATA: json.dumps(facts)})
    return stream.getvalue()


def read_torch_export(content: bytes) -> nn.Module:
    """Return the network in what `torch_export_file` made."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _Contiguous(torch.export.load(io.BytesIO(content)).module())


class _Contiguous(nn.Module):
    """Hands images to a graph in the memory format that it was made with."""

    def __init__(self, graph: nn.Module) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.graph(images.contiguous())
        return logits


def torchscript_file(model: nn.Module, sizes: Sizes, facts: dict[str, Any]) -> bytes:
    """Return a network as the content of a TorchScript file, traced, with its facts."""
    stream = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch warns of TorchScript as a whole, and of sizes that become constants
        traced = torch.jit.trace(model, sizes.example(), check_trace=False)  # type: ignore[no-untyped-call]
        torch.jit.save(traced, stream, _extra_files={METADATA: json.dumps(facts)})
    return stream.getvalue()


def read_torchscript(content: bytes) -> nn.Module:
    """Return the network in what `torchscript_file` made."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _Contiguous(torch.jit.load(io.BytesIO(content), map_location="cpu"))  # type: ignore[no-untyped-call]


def onnx_model(model: nn.Module, sizes: Sizes) -> Any:  # noqa: ANN401 - onnx has no types
    """Return a network as an `onnx.ModelProto` that maps `image` to `logits`.

    Raises:
        ConfigError: the extra `export` is not installed.
    """
    for library in ("onnx", "onnxscript", "onnxruntime"):
        require_extra(library)
    program = as_program(model, sizes)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        found = torch.onnx.export(
            program, input_names=[INPUT], output_names=[OUTPUT], opset_version=OPSET, dynamo=True, verbose=False
        )
    assert found is not None
    return _named(found.model_proto, sizes)


def _named(proto: Any, sizes: Sizes) -> Any:  # noqa: ANN401
    """Name the sides of images, which have the names of torch's symbols."""
    del proto.graph.value_info[:]  # the same symbols inside the graph; who needs the shapes infers them
    for value in (*proto.graph.input, *proto.graph.output):
        dims = value.type.tensor_type.shape.dim
        for place, name in ((0, "batch"), *(() if sizes.fixed else ((2, "height"), (3, "width")))):
            dims[place].dim_param = name
    return proto


def onnx_bytes(proto: Any, facts: dict[str, Any]) -> bytes:  # noqa: ANN401
    """Return the content of an ONNX file, with its facts as metadata.

    Raises:
        ConfigError: it is too large for one file.
    """
    if proto.ByteSize() > _MOST_BYTES:
        raise ConfigError(f"the network takes {proto.ByteSize():,} bytes, but an ONNX file at most {_MOST_BYTES:,}.")
    del proto.metadata_props[:]
    for key, value in encoded(facts).items():
        proto.metadata_props.add(key=key, value=value)
    proto.producer_name, proto.producer_version = facts["library_name"], facts["versions"]["seg-scse"]
    content: bytes = proto.SerializeToString()
    return content


def checkpoint_of_onnx(path: Path) -> str | None:
    """Return the SHA-256 of the checkpoint that a file was made of in float32; None where there is no such file."""
    import onnx

    try:
        proto = onnx.load(path, load_external_data=False)
    except Exception:  # missing or damaged: it is made again
        return None
    facts = decoded({one.key: one.value for one in proto.metadata_props})
    made_of = facts.get("checkpoint")
    if facts.get("precision") != "fp32" or not isinstance(made_of, dict):
        return None
    digest = made_of.get("sha256")
    return digest if isinstance(digest, str) else None
