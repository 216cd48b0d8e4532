"""Weights as .safetensors, for this package."""

import hashlib
import json
from typing import Any

import torch
from safetensors.torch import load as from_safetensors
from safetensors.torch import save as as_safetensors
from torch import nn

from seg_scse.evaluation.loaded import Loaded
from seg_scse.export.networks import plain_config, plain_network, plain_weights
from seg_scse.inference.onnx_backend import encoded


def safetensors_file(loaded: Loaded, facts: dict[str, Any]) -> bytes:
    """Return the weights of a checkpoint as the content of a .safetensors file, with the facts in its header."""
    # Copied, because safetensors refuses other memory formats than the default, and tensors that share memory.
    weights = {key: value.clone(memory_format=torch.contiguous_format) for key, value in plain_weights(loaded).items()}
    return bytes(as_safetensors(weights, metadata=encoded(facts)))


def read_safetensors(content: bytes, loaded: Loaded) -> nn.Module:
    """Build the network of a checkpoint with the weights in what `safetensors_file` made."""
    return plain_network(loaded, from_safetensors(content))


def shared_config(name: str, content: bytes, loaded: Loaded, facts: dict[str, Any]) -> str:
    """Return the `config.json` beside a `model.safetensors`, by which `seg_scse.from_pretrained` reads the folder.

    Args:
        name: of the file.
        content: of the file.
        loaded: the checkpoint.
        facts: of the network.
    """
    weights = {"file": name, "sha256": hashlib.sha256(content).hexdigest()}
    model = plain_config(loaded).model_dump(mode="json")
    return json.dumps({**facts, "model": model, "weights": weights}, indent=2) + "\n"
