"""Weights of the encoder: from a local file, or from the model hub without its long wait when there is no network."""

import socket
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from huggingface_hub import constants as hub
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from seg_scse.errors import ConfigError

CONNECT_SECONDS = 3.0
CURE = "Set model.encoder_weights=null (random) or to a local .safetensors file of the encoder's state dict."
PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl")
_COLOURS = 3


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
        raise ConfigError(
            f"`{key}` = {path!r}: only .safetensors files are read here, because others can run code. `--from {path}` "
            "takes the tensors that fit out of a file of torch.save, and runs nothing."
        )


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
        plural = "tensor does" if len(problems) == 1 else "tensors do"
        listed = "; ".join(sorted(problems)[:5])
        raise ConfigError(f"{len(problems)} {plural} not fit: {listed}. {_other_images(expected, found)}{cure}")
    # Encoders and networks of smp have versions of their own that drop or rename keys; these fit already.
    nn.Module.load_state_dict(module, state, strict=keys is None)


def _other_images(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> str:
    """Say so where the first convolution shows that the weights are for images with another number of channels."""
    key = next((key for key, shape in expected.items() if len(shape) == 4), "")
    own, other = expected.get(key, ()), found.get(key, ())
    if len(other) != 4 or own[1] == other[1] or (own[0], own[2:]) != (other[0], other[2:]):
        return ""
    return f"The weights are for images with {other[1]} channel{'s' * (other[1] > 1)}, the network for {own[1]}. "


def adapt_colours(weight: Tensor, channels: int) -> Tensor:
    """Adapt the first convolution of a network for RGB images to another number of channels.

    Channel k takes the filter of colour k mod 3, times 3 / channels; a single channel takes the sum of the three
    filters. Where all channels are equal, 1 or a multiple of 3 of them give exactly the response to a grey RGB image;
    other numbers keep its size. This is the rule of segmentation-models-pytorch and timm.

    Args:
        weight: `(O, 3, h, w)`.
        channels: of the images, 1 or more.

    Returns:
        `(O, channels, h, w)`.
    """
    if channels == 1:
        return weight.sum(1, keepdim=True)
    return weight[:, torch.arange(channels) % _COLOURS] * (_COLOURS / channels)


def adaptation_note(channels: int, names: Iterable[str] = ()) -> str:
    """Say what `adapt_colours` does to the weights of an encoder for images with so many channels."""
    listed = ", ".join(names)
    rule = "each colour's filter in turn" if channels > 1 else "the sum of the three filters"
    scale = f", times 3/{channels}" if channels > 1 else ""
    return (
        f"the first convolution{f' ({listed})' if listed else ''} was trained on RGB images and is adapted to images "
        f"with {channels} channel{'s' * (channels > 1)}: {rule}{scale}."
    )


def load_local(encoder: nn.Module, path: Path) -> list[str]:
    """Load a .safetensors file with an encoder's state dict; names and shapes must agree exactly.

    The first convolution of an encoder for RGB images is adapted to other numbers of channels by `adapt_colours`.

    Returns:
        What was adapted, as sentences.

    Raises:
        ConfigError: the file is missing or damaged, or does not fit.
    """
    try:
        state = read_state(path)
        channels = {
            key: own.shape[1]
            for key, own in encoder.state_dict().items()
            if key in state and _differs_in_colours(own, state[key])
        }
        adapted = {key: adapt_colours(state[key], count) for key, count in channels.items()}
        load_fitting(
            encoder, state | adapted, "The file must be of this encoder, for images with 3 channels or as many as here."
        )
    except ConfigError as error:
        raise ConfigError(f"`model.encoder_weights` = {path}: {error} {CURE}") from error
    return [adaptation_note(next(iter(channels.values())), channels)] if channels else []


def _differs_in_colours(own: Tensor, found: Tensor) -> bool:
    """Tell whether a convolution is for other images than RGB and the one found for RGB, and the rest agrees."""
    if own.dim() != 4 or found.dim() != 4 or found.shape[1] != _COLOURS or own.shape[1] == _COLOURS:
        return False
    return (own.shape[0], own.shape[2:]) == (found.shape[0], found.shape[2:])


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
