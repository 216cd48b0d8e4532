"""ONNX Runtime in the place of torch: an exported network that predicts like the one it was made of."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from seg_scse.errors import CheckpointError, ConfigError
from seg_scse.inference.ensemble import Ensemble
from seg_scse.inference.predictor import Network, Predictor

INPUT, OUTPUT = "image", "logits"
"""Names of what goes in and comes out of an exported graph."""

_NetworkT = TypeVar("_NetworkT", bound=Network)
_QUIET = 4  # onnxruntime's level of fatal errors: what fails is raised, and need not be printed too


def require_extra(library: str) -> None:
    """Refuse to go on without a library of the extra `export`.

    Raises:
        ConfigError: it is not installed.
    """
    from importlib.util import find_spec

    if find_spec(library) is None:
        raise ConfigError(f'{library} is not installed. Run `pip install "seg-scse[export]"`.')


class OnnxNetwork(nn.Module):
    """A network in ONNX Runtime, called like one of torch; see `load_onnx`.

    Attributes:
        facts: the metadata of the file, as `seg_scse.export` wrote them; empty in a file of another program.
    """

    def __init__(self, session: Any, device: torch.device) -> None:  # noqa: ANN401 - onnxruntime has no types
        super().__init__()
        self._session, self._device = session, device
        self._sides: list[int | str] = session.get_inputs()[0].shape[2:]
        self._channels: int = session.get_outputs()[0].shape[1]
        self._on_gpu = "CUDAExecutionProvider" in session.get_providers()
        self.facts = decoded(session.get_modelmeta().custom_metadata_map)

    def forward(self, images: Tensor) -> Tensor:
        """Map standardised images (N, C, H, W) float32 to logits (N, K, H, W) float32 on the same device.

        Raises:
            ConfigError: the file was made for one size alone, which this is not.
        """
        fixed = [side for side in self._sides if isinstance(side, int)]
        if fixed and fixed != list(images.shape[2:]):
            raise ConfigError(
                f"the exported network takes images of {' x '.join(map(str, fixed))} alone, not of "
                f"{' x '.join(map(str, images.shape[2:]))}: leave evaluation.scales at [1.0], or predict with torch."
            )
        images = images.float().contiguous()
        if self._on_gpu and images.is_cuda:
            return self._bound(images)
        logits = self._session.run([OUTPUT], {INPUT: images.cpu().numpy()})[0]
        return torch.from_numpy(logits).to(images.device)

    def _bound(self, images: Tensor) -> Tensor:
        """Run on the GPU's own memory, without a copy through that of the machine."""
        shape = (len(images), self._channels, *images.shape[2:])
        logits = torch.empty(shape, dtype=torch.float32, device=images.device)
        binding, index = self._session.io_binding(), images.device.index or 0
        for bind, name, tensor in ((binding.bind_input, INPUT, images), (binding.bind_output, OUTPUT, logits)):
            bind(name, "cuda", index, np.float32, tuple(tensor.shape), tensor.data_ptr())
        torch.cuda.current_stream(images.device).synchronize()  # the runtime has a stream of its own
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return logits


def load_onnx(source: Path | bytes, device: torch.device) -> OnnxNetwork:
    """Make a network of an exported file, which takes the place of the torch network of a `Predictor`.

    On a GPU it runs by CUDA where onnxruntime has that provider (package `onnxruntime-gpu`), else on the CPU.

    Args:
        source: a file that `seg-scse export --format onnx` wrote, or its content.
        device: where images come from and logits go to.

    Raises:
        CheckpointError: the file is missing, damaged, or has other inputs and outputs.
        ConfigError: onnxruntime is not installed.
    """
    require_extra("onnxruntime")
    import onnxruntime

    name = source if isinstance(source, Path) else "the exported network"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _QUIET
    options.intra_op_num_threads = torch.get_num_threads()
    content = str(source) if isinstance(source, Path) else source
    try:
        session = onnxruntime.InferenceSession(content, options, providers=_providers(onnxruntime, device))
    except Exception as error:  # its errors have no common class
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(f"{name}: cannot be read as ONNX ({reason}). Export it again.") from error
    names = [one.name for one in (*session.get_inputs(), *session.get_outputs())]
    if names != [INPUT, OUTPUT]:
        raise CheckpointError(
            f"{name}: maps {', '.join(names[:-1])} to {names[-1]}, not {INPUT} to {OUTPUT}. Use a file of "
            "`seg-scse export --format onnx`."
        )
    return OnnxNetwork(session, device)


def _providers(onnxruntime: Any, device: torch.device) -> list[Any]:  # noqa: ANN401 - a module without types
    cpu = "CPUExecutionProvider"
    if device.type != "cuda" or "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return [cpu]
    return [("CUDAExecutionProvider", {"device_id": device.index or 0}), cpu]


def with_onnx(network: _NetworkT, files: Sequence[Path]) -> _NetworkT:
    """Return a predictor or an ensemble that computes by ONNX Runtime and is the same in all else.

    Args:
        network: what predicts by torch.
        files: the exported network of each of its members, in their order; they compute in float32.

    Raises:
        CheckpointError: a file cannot be used.
        ConfigError: onnxruntime is not installed.
    """
    members = tuple(
        replace(member, model=load_onnx(file, member.device), precision="fp32")
        for member, file in zip(network.members, files, strict=True)
    )
    found: Predictor | Ensemble = replace(network, members=members) if isinstance(network, Ensemble) else members[0]
    return cast(_NetworkT, found)


def encoded(facts: dict[str, Any]) -> dict[str, str]:
    """Write facts as the texts that the metadata of a file are: texts as they are, all else as JSON."""
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items()}


def decoded(texts: dict[str, str]) -> dict[str, Any]:
    """Read what `encoded` wrote; what is no JSON is a text."""
    return {key: _value(text) for key, text in texts.items()}


def _value(text: str) -> Any:  # noqa: ANN401 - any JSON
    try:
        return json.loads(text)
    except ValueError:
        return text
