"""Weights as a plain state dict that segmentation-models-pytorch's own network loads strictly."""

import io
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from seg_scse.attention.attach import PREFIX
from seg_scse.checkpoint import load_tensors
from seg_scse.data.names import some
from seg_scse.errors import ConfigError
from seg_scse.evaluation.loaded import Loaded
from seg_scse.export.networks import plain_network, plain_weights
from seg_scse.models.build import output_channels
from seg_scse.models.foreign import smp_scse_names

_CURE = "Use --format safetensors, onnx, torchscript or torch-export, which hold any network."
_ITS_GATES = "it knows scSE gates of U-Net and U-Net++ as `model.attention.preset=smp` places them, and no others"


def smp_file(loaded: Loaded) -> bytes:
    """Return the weights of a checkpoint as a file of `torch.save`: a state dict, and nothing else.

    Raises:
        ConfigError: smp has no such network; says why.
    """
    stream = io.BytesIO()
    torch.save(_translated(loaded), stream)
    return stream.getvalue()


def read_smp(content: bytes, loaded: Loaded) -> nn.Module:
    """Build smp's own network with the weights in what `smp_file` made."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pth"
        path.write_bytes(content)
        weights = load_tensors(path)  # the one safe reader, which reads files
    network = _smp_network(loaded)
    network.load_state_dict(weights, strict=True)
    return network.eval()


def smp_call(loaded: Loaded) -> dict[str, Any]:
    """The arguments of `smp.create_model` that build the network of a checkpoint.

    Raises:
        ConfigError: the architecture is none of smp's.
    """
    config, data = loaded.config.model, loaded.config.data
    if config.architecture == "classic_unet":
        raise ConfigError(f"--format smp: classic_unet is no network of segmentation-models-pytorch. {_CURE}")
    arguments: dict[str, Any] = {
        "arch": config.architecture,
        "encoder_name": config.encoder,
        "encoder_weights": None,
        "in_channels": len(loaded.state["mean"]),
        "classes": output_channels(len(data.classes), data.task),
    }
    if config.decoder_channels is not None:
        widths = list(config.decoder_channels)
        arguments["decoder_channels"] = widths if len(widths) > 1 else widths[0]
    if any(_is_gate(key) for key in loaded.state["model"]):
        arguments["decoder_attention_type"] = "scse"
    return arguments


def _smp_network(loaded: Loaded) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of narrow decoders, whose gates get no unit in smp
        network: nn.Module = smp.create_model(**smp_call(loaded))  # ignores gates that its architecture does not have
    return network


def _translated(loaded: Loaded) -> dict[str, Tensor]:
    """The weights under smp's names, in smp's order."""
    wanted, own = _smp_network(loaded).state_dict(), plain_weights(loaded)
    network = plain_network(loaded)
    ours = smp_scse_names(network, wanted)
    unused = _never_called(network)
    found = {key: ours.get(key, key) for key, value in wanted.items() if _fits(own.get(ours.get(key, key)), value)}
    absent = [key for key in wanted if key not in found and not key.startswith(unused)]
    left = own.keys() - set(found.values())
    if absent or left:
        raise ConfigError(
            f"--format smp: segmentation-models-pytorch has another network: {_ITS_GATES}. "
            f"Not in smp's: {some(_places(left)) or 'nothing'}; not in this one: {some(_places(absent)) or 'nothing'}. "
            f"{_CURE}"
        )
    # The last block has no skip and never calls its first attention: the file has zeros for it.
    return {
        key: own[found[key]].reshape(value.shape).clone() if key in found else torch.zeros_like(value)
        for key, value in wanted.items()
    }


def _fits(own: Tensor | None, wanted: Tensor) -> bool:
    """Tell whether two tensors hold the same weights in other words: smp's matrices are 1x1 convolutions."""
    return own is not None and list(own.shape) == list(wanted.shape[: own.dim()]) and own.numel() == wanted.numel()


def _never_called(network: nn.Module) -> tuple[str, ...]:
    """Start of the names of the attention in smp's decoder that is never called, if it has blocks like that."""
    blocks = dict(network.named_modules()).get("decoder.blocks")
    names = [] if blocks is None else [name for name, _ in blocks.named_children()]
    return tuple(f"decoder.blocks.{name}.attention1.attention." for name in names[-1:])


def _places(keys: Any) -> list[str]:  # noqa: ANN401 - names in any collection
    """The modules that hold tensors, each once."""
    return sorted({".".join(key.split(".")[:2] if _is_gate(key) else key.split(".")[:4]) for key in keys})


def _is_gate(key: str) -> bool:
    return key.startswith(f"{PREFIX}.")
