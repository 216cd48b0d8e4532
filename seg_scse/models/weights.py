"""Weights of the encoder: from a local file, or from the model hub without its long wait when there is no network."""

import socket
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import constants as hub
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from seg_scse.errors import ConfigError

CONNECT_SECONDS = 3.0
CURE = "Set model.encoder_weights=null (random) or to a local .safetensors file of the encoder's state dict."
PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl")


def is_local_file(weights: str) -> bool:
    """Tell a path from the name of weights on the model hub.

    Raises:
        ConfigError: it is a path, but not of a .safetensors file.
    """
    if "/" in weights or "\\" in weights or weights.endswith((".safetensors", *PICKLES)):
        require_safetensors(weights, "model.encoder_weights")
        return True
    return False


def require_safetensors(path: str, key: str) -> None:
    """Refuse a file of weights in a form that can hold code, naming the configuration key that asks for it.

    Raises:
        ConfigError: it is no .safetensors file.
    """
    if not path.endswith(".safetensors"):
        raise ConfigError(f"`{key}` = {path!r}: only .safetensors files are read, because others can run code.")


def read_state(path: Path) -> dict[str, Tensor]:
    """Read the state dict in a .safetensors file to the CPU.

    Raises:
        ConfigError: the file is missing or damaged.
    """
    try:
        state: dict[str, Tensor] = load_file(path, device="cpu")
    except FileNotFoundError as error:
        raise ConfigError("the file does not exist.") from error
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"the file cannot be read as safetensors ({error}).") from error
    return state


def load_fitting(module: nn.Module, state: Mapping[str, Tensor], cure: str, keys: Iterable[str] | None = None) -> None:
    """Load a state dict into a module; names and shapes must agree exactly.

    Args:
        module: a network or a part of one.
        state: its state dict.
        cure: what to do if it does not fit.
        keys: the part of the module's own keys that is to be loaded; default: all.

    Raises:
        ConfigError: names or shapes differ; up to five of them are listed. Nothing was changed.
    """
    own = module.state_dict()
    expected = {key: tuple(own[key].shape) for key in (own if keys is None else keys)}
    found = {key: tuple(getattr(value, "shape", ())) for key, value in state.items()}
    problems = [f"`{key}` {shape} is missing" for key, shape in expected.items() if key not in found]
    problems += [f"`{key}` {shape} has no place" for key, shape in found.items() if key not in expected]
    problems += [
        f"`{key}` is {found[key]}, not {shape}" for key, shape in expected.items() if found.get(key, shape) != shape
    ]
    if problems:
        plural = "tensor" if len(problems) == 1 else "tensors"
        raise ConfigError(f"{len(problems)} {plural} do not fit: {'; '.join(sorted(problems)[:5])}. {cure}")
    # Encoders and networks of smp have versions of their own that drop or rename keys; these fit already.
    nn.Module.load_state_dict(module, state, strict=keys is None)


def load_local(encoder: nn.Module, path: Path) -> None:
    """Load a .safetensors file with an encoder's state dict; names and shapes must agree exactly.

    Raises:
        ConfigError: the file is missing or damaged, or does not fit.
    """
    try:
        load_fitting(encoder, read_state(path), "The file must be of this encoder and number of image channels.")
    except ConfigError as error:
        raise ConfigError(f"`model.encoder_weights` = {path}: {error} {CURE}") from error


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
