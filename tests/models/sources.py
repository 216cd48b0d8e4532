"""Small networks, and sources made of them."""

from typing import Any

import torch
from torch import Tensor, nn

from seg_scse.config.schema import ModelConfig
from seg_scse.models import build_model
from seg_scse.models.source import Source
from seg_scse.models.transferred import Transfer

CLASSIC = {"architecture": "classic_unet", "width": 4, "depth": 2}
UNET = {"encoder": "resnet18", "decoder_channels": (16, 16, 8, 8, 8)}
HOSTS = {"classic_unet": CLASSIC, "unet-resnet18": UNET}
RGB = ("red", "green", "blue")
BINARY = ("background", "nucleus")
FOUR = ("background", "axon", "myelin", "nucleus")
SCSE = {"type": "scse", "sites": ["encoder", "decoder"]}


def network(
    model: dict[str, Any], classes: tuple[str, ...] = BINARY, bands: int = 3, task: Any = "multiclass", seed: int = 0
) -> nn.Module:
    torch.manual_seed(seed)
    built = build_model(model, bands, len(classes), task)
    for name, value in built.state_dict().items():
        if "running" in name:  # not those of a fresh network
            value.uniform_(0.5, 1.5)
    return built.eval()


def source(
    model: dict[str, Any],
    classes: tuple[str, ...] | None = BINARY,
    bands: tuple[str, ...] | None = RGB,
    task: Any = "multiclass",
    known: bool = True,
) -> tuple[nn.Module, Source]:
    built = network(model, classes or BINARY, len(bands or RGB), task, seed=1)
    config = ModelConfig.model_validate(model) if known else None
    return built, Source("runs/nuclei", built.state_dict(), config, classes, bands)


def counts(result: Transfer) -> dict[str, int]:
    actions = [moved.action for moved in result.moved.values()]
    return {action: actions.count(action) for action in dict.fromkeys(actions)}


def named(result: Transfer, action: str) -> list[str]:
    return [name for name, moved in result.moved.items() if moved.action == action]


def image(bands: int = 3) -> Tensor:
    return torch.rand(2, bands, 64, 64, generator=torch.Generator().manual_seed(3))


def answer(model: nn.Module, x: Tensor | None = None) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model.eval()(image() if x is None else x)
    return logits
