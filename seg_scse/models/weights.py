"""Weights of the encoder: from a local file, or from the model hub without its long wait when there is no network."""

import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import constants as hub
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from seg_scse.errors import ConfigError

CONNECT_SECONDS = 3.0
CURE = "Set model.encoder_weights=null (random) or to a local .safetensors file of the encoder's state dict."


def is_local_file(weights: str) -> bool:
    """Tell a path from the name of weights on the model hub.

    Raises:
        ConfigError: it is a path, but not of a .safetensors file.
    """
    if weights.endswith(".safetensors"):
        return True
    if "/" in weights or "\\" in weights or weights.endswith((".pt", ".pth", ".bin", ".ckpt", ".pkl")):
        raise ConfigError(
            f"`model.encoder_weights` = {weights!r}: only .safetensors files are read, because others can run code."
        )
    return False


def load_local(encoder: nn.Module, path: Path) -> None:
    """Load a state dict into an encoder; names and shapes must agree exactly.

    Raises:
        ConfigError: the file is missing or damaged, or does not fit.
    """
    try:
        state = load_file(path, device="cpu")
    except FileNotFoundError as error:
        raise ConfigError(f"`model.encoder_weights`: the file {path} does not exist. {CURE}") from error
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"`model.encoder_weights`: {path} cannot be read as safetensors ({error}). {CURE}") from error
    expected = {key: tuple(value.shape) for key, value in encoder.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in state.items()}
    problems = [f"`{key}` is missing" for key in expected.keys() - found.keys()]
    problems += [f"`{key}` is not in the encoder" for key in found.keys() - expected.keys()]
    problems += [
        f"`{key}` is {found[key]}, not {shape}" for key, shape in expected.items() if found.get(key, shape) != shape
    ]
    if problems:
        examples = "; ".join(sorted(problems)[:3])
        raise ConfigError(
            f"`model.encoder_weights`: {path} does not fit the encoder in {len(problems)} tensors, such as: "
            f"{examples}. Use a file made for this encoder and number of image channels."
        )
    nn.Module.load_state_dict(encoder, state)  # the encoders' own versions drop or rename keys; these fit already


def _hub_is_reachable() -> bool:
    if urllib.request.getproxies():
        return True  # only the hub's own client knows how to ask through a proxy
    address = urllib.parse.urlsplit(hub.ENDPOINT)
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((address.hostname or "", port), timeout=CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


@contextmanager
def quick_hub() -> Iterator[None]:
    """Restrict the model hub to its local cache while its server cannot be reached; its retries take a minute."""
    before = hub.HF_HUB_OFFLINE
    hub.HF_HUB_OFFLINE = before or not _hub_is_reachable()
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE = before
