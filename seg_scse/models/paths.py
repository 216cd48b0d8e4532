"""Sites by module path in any network: globs, and the inside of residual blocks."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

import timm.models.resnet as timm_resnet
import torch
import torchvision.models.resnet as torchvision_resnet
from torch import Tensor, nn

from seg_scse.attention.attach import Layout, Site
from seg_scse.attention.trace import Call, differentiable, reached, recorded, total, undisturbed
from seg_scse.config.loading import nearest
from seg_scse.errors import ConfigError

RESIDUAL = "residual"
"""Name of the group of all residual blocks."""

LAST_NORM: dict[type[nn.Module], str] = {
    torchvision_resnet.BasicBlock: "bn2",
    torchvision_resnet.Bottleneck: "bn3",
    timm_resnet.BasicBlock: "bn2",
    timm_resnet.Bottleneck: "bn3",
}
"""The child of each kind of residual block whose output is added to the shortcut. The ResNets of
segmentation-models-pytorch are made of these blocks too."""


def matches(path: str, pattern: str) -> bool:
    """Tell whether a module path matches; `*` and `?` match within one part, and `**` matches any number of parts."""
    return _match(path.split("."), pattern.split("."))


def _match(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    if not patterns:
        return not parts
    if patterns[0] == "**":
        return any(_match(parts[start:], patterns[1:]) for start in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], patterns[0]) and _match(parts[1:], patterns[1:])


def matching(model: nn.Module, pattern: str) -> list[str]:
    """Return the paths of the modules that match a pattern, in the order of definition.

    Raises:
        ConfigError: there is none; the nearest path and the network's children are named.
    """
    paths = [path for path, _ in model.named_modules() if path]
    found = [path for path in paths if matches(path, pattern)]
    if not found:
        children = ", ".join(name for name, _ in model.named_children())
        raise ConfigError(
            f"site `{pattern}` is not available in this network: no module of {type(model).__name__} has this path"
            f"{nearest(pattern, paths) or '.'} Its children: {children}."
        )
    return found


def path_sites(model: nn.Module, patterns: Sequence[str], example: Tensor, layout: Layout | None) -> list[Site]:
    """Return the outputs of the modules whose paths match, or, for `residual`, of the last layers of residual blocks.

    Args:
        model: any network.
        patterns: module paths with `*`, `?` and `**`, or `residual`.
        example: an input that `model` accepts.
        layout: position of the channels at module paths; None finds it out from the last layer before the site that
            knows its width, as at `residual`.

    Raises:
        ConfigError: a pattern matches nothing, or the position of the channels cannot be told.
    """
    with recorded(model) as calls, undisturbed(model), torch.enable_grad():
        start = total(model(differentiable(example)))
    layouts: dict[str, Layout | None] = {}
    for pattern in patterns:
        if pattern == RESIDUAL:
            layouts |= dict.fromkeys(_residual(model, calls, start))
        else:
            layouts |= dict.fromkeys(matching(model, pattern), layout)
    widths = _Widths(model, calls)
    return [Site(path, path, layout=given or widths.layout(path)) for path, given in layouts.items()]


def _residual(model: nn.Module, calls: Sequence[Call], start: Tensor) -> list[str]:
    """Return the last normalisation of each residual block that the output depends on."""
    blocks = [
        f"{path}.{norm}"
        for path, module in model.named_modules()
        for kind, norm in LAST_NORM.items()
        if isinstance(module, kind)
    ]
    passed = [call for call in calls if call.path in blocks]
    used = {
        call.path for call, flows in zip(passed, reached(start, [call.output for call in passed]), strict=True) if flows
    }
    if not used:
        raise ConfigError(
            f"site `{RESIDUAL}` is not available in this network: {type(model).__name__} has no residual block of "
            "torchvision's, timm's or segmentation-models-pytorch's ResNets (BasicBlock, Bottleneck). Name the last "
            "layer before the addition by its module path instead, such as `layer3.*.bn2`."
        )
    return [path for path in blocks if path in used]


class _Widths:
    """Finds the position of the channels in a module's output, from the layers that made it.

    The last convolution, linear layer or layer normalisation before the end of the module's call knows its width; the
    side of the shape that equals it holds the channels. Where none does, as in a concatenation of convolutions, a
    convolution still says that they come first.
    """

    def __init__(self, model: nn.Module, calls: Sequence[Call]) -> None:
        self.shapes: dict[str, torch.Size] = {}
        self.layouts: dict[str, Layout | None] = {}
        last: nn.Module | None = None
        for call in calls:
            module = model.get_submodule(call.path)
            last = module if isinstance(module, nn.modules.conv._ConvNd | nn.Linear | nn.LayerNorm) else last
            self.shapes[call.path] = call.output.shape
            self.layouts[call.path] = _layout(call.output.shape, last)

    def layout(self, path: str) -> Layout:
        """Return the layout of a module's output; what carries no feature map at all is left to be refused later."""
        shape = self.shapes.get(path, torch.Size())
        if len(shape) < 3:
            return "channels_first"
        found = self.layouts[path]
        if found is None:
            raise ConfigError(
                f"site `{path}`: the position of the channels in its map {tuple(shape)} cannot be told; pass "
                "`layout`='channels_first' or 'channels_last'."
            )
        return found


def _layout(shape: torch.Size, layer: nn.Module | None) -> Layout | None:
    """Say where the channels of a map are that `layer` was the last to make; None where it cannot be told."""
    if len(shape) < 3:
        return None
    if isinstance(layer, nn.modules.conv._ConvNd):
        last = layer.out_channels == shape[-1] and layer.out_channels != shape[1]
        return "channels_last" if last else "channels_first"
    width = _width(layer)
    if (shape[1] == width) == (shape[-1] == width):
        return None
    return "channels_first" if shape[1] == width else "channels_last"


def _width(layer: nn.Module | None) -> int | None:
    if isinstance(layer, nn.Linear):
        return layer.out_features
    return layer.normalized_shape[-1] if isinstance(layer, nn.LayerNorm) else None
