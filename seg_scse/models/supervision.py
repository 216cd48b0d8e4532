"""Deep supervision: coarser maps of the decoder are trained to be the answer too, each at its own size.

A 1x1 convolution makes logits of the output of a decoder stage, as it leaves the stage's gate. In training mode the
network returns a list, its logits first and then those of the next coarser stage, and so on; in evaluation mode it
returns its logits alone, the same to the bit as without supervision. Lee et al. 2015, arXiv 1409.5185; the sizes and
1x1 convolutions are those of nnU-Net (Isensee et al. 2021).
"""

from typing import Any

import torch
from torch import Tensor, nn

from seg_scse.attention.attach import Site, SiteHook
from seg_scse.attention.trace import undisturbed
from seg_scse.errors import ConfigError
from seg_scse.models.sites import architecture_of, find_sites

PREFIX = "supervision"
"""Name of the child module that holds the heads, and first part of their state-dict keys."""


class Supervision(nn.ModuleDict):
    """The heads of a network by site key, finest first, and the maps of the forward pass that is under way."""

    def __init__(self) -> None:
        super().__init__()
        self.sites: dict[str, Site] = {}
        self.maps: dict[str, Tensor] | None = None
        """None outside of a forward pass in training mode. So a stage that gradient checkpointing computes again in the
        backward pass leaves nothing behind."""

    def forward(self, logits: Tensor) -> list[Tensor]:
        """Return the logits and those of each head, and forget the maps."""
        maps, self.maps = self.maps or {}, None
        return [logits, *(head(maps[key]) for key, head in self.items())]


class _Collect(SiteHook):
    """Notes the map at one site, as it is after the gate there."""

    def __init__(self, site: Site, supervision: Supervision) -> None:
        super().__init__(site)
        self.supervision = supervision

    def passed(self, x: Tensor, *_signal: Tensor) -> Tensor:
        if self.supervision.maps is not None:
            self.supervision.maps[self.site.key] = x
        return x


class _Begin:
    """Pre-hook of the network: makes room for the maps in training mode. An object, for `copy.deepcopy`."""

    def __init__(self, supervision: Supervision) -> None:
        self.supervision = supervision

    def __call__(self, model: nn.Module, _args: tuple[Any, ...]) -> None:
        self.supervision.maps = {} if model.training else None


class _End(_Begin):
    """Hook of the network: adds the logits of the heads to its own."""

    def __call__(self, _model: nn.Module, _args: tuple[Any, ...], logits: Any = None) -> Any:  # noqa: ANN401 - torch's hook type
        return None if self.supervision.maps is None else self.supervision(logits)


class _Measure(SiteHook):
    """Notes the shape of the map at one site."""

    shape: torch.Size

    def passed(self, x: Tensor, *_signal: Tensor) -> Tensor:
        self.shape = x.shape
        return x

    @property
    def area(self) -> int:
        """Positions of the map."""
        return self.shape[2:].numel()


def attach_supervision(model: nn.Module, stages: int, example: Tensor) -> Supervision:
    """Put heads on the decoder stages below the last, in place.

    Call it after gates are attached, weights are loaded and parameters that no output depends on are frozen: those are
    found in evaluation mode, in which the heads are not asked. The network's own weights and torch's random state stay
    as they are; the heads start as the network's own head does, uniform after Glorot and Bengio with biases of 0.

    Args:
        model: a network of segmentation-models-pytorch, or `ClassicUNet`; its output is one map of logits.
        stages: number of heads, 1 or more.
        example: (1, C, H, W) float32 that the network accepts.

    Returns:
        The heads, which are also `model.supervision`; their state-dict keys start with `supervision.`.

    Raises:
        ConfigError: the network is of another kind, has heads already, or has fewer coarser stages.
    """
    if hasattr(model, PREFIX):
        raise ConfigError(f"the network already has an attribute `{PREFIX}`: heads can be attached once.")
    found, channels = _coarser_stages(model, example)
    if len(found) < stages:
        raise _too_many(stages, [hook.site.name for hook in found])
    supervision = Supervision()
    with torch.random.fork_rng(devices=[]):
        for hook in found[:stages]:
            supervision[hook.site.key] = _head(hook.shape[1], channels)
            supervision.sites[hook.site.key] = hook.site
    model.add_module(PREFIX, supervision.to(example))
    for site in supervision.sites.values():
        # Last in the row: after the gate at the same place.
        model.get_submodule(site.module).register_forward_hook(_Collect(site, supervision))
    model.register_forward_pre_hook(_Begin(supervision))
    model.register_forward_hook(_End(supervision))
    return supervision


def _coarser_stages(model: nn.Module, example: Tensor) -> tuple[list[_Measure], int]:
    """Return the last stage of each size that is smaller than the last stage's, finest first, and the classes."""
    architecture = architecture_of(model)
    if architecture is None:
        raise ConfigError(f"deep supervision needs a decoder with known stages, which {type(model).__name__} has not.")
    sites = find_sites(model, architecture, example).usable
    hooks = [_Measure(site) for name, site in sites.items() if name.startswith("decoder.")]
    handles = [hook.register(model) for hook in hooks]
    try:
        with undisturbed(model), torch.no_grad():
            logits = model(example)
    finally:
        for handle in handles:
            handle.remove()
    last_of = {hook.area: hook for hook in hooks}
    smaller = (hook for hook in last_of.values() if hook.area < hooks[-1].area)
    return sorted(smaller, key=lambda hook: -hook.area), logits.shape[1]


def _head(in_channels: int, classes: int) -> nn.Conv2d:
    head = nn.Conv2d(in_channels, classes, 1)
    nn.init.xavier_uniform_(head.weight)
    nn.init.zeros_(head.bias)  # type: ignore[arg-type]  # the convolution has a bias
    return head


def _too_many(stages: int, names: list[str]) -> ConfigError:
    problem = f"`model.deep_supervision` = {stages}, but the network's decoder has "
    if not names:
        return ConfigError(
            f"{problem}no stage with a smaller map than its last: set it to 0, or choose an architecture whose decoder "
            "goes through several sizes, such as unet."
        )
    return ConfigError(
        f"{problem}{len(names)} with smaller maps than its last ({', '.join(names)}): set it to {len(names)} or less."
    )
