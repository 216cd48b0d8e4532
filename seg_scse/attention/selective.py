"""Selective kernel convolutions, SK: a block that replaces a 3x3 convolution instead of following one."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seg_scse.attention.gates import hidden_units
from seg_scse.config.attention import GateConfig
from seg_scse.errors import ConfigError


class SelectiveKernelConv(nn.Module):
    """A selective kernel convolution: each output channel chooses between a 3x3 and a 5x5 view of the input.

    V = a * U1 + b * U2, U1 = relu(BN(conv_3x3(X))), U2 = relu(BN(conv_3x3 with dilation 2 (X))); z =
    relu(BN(W mean(U1 + U2))) with h units; (a, b) = softmax over the two branches of (A z, B z) for each channel.
    Li et al., CVPR 2019, arXiv 1903.06586, section 3.1, whose d = max(C / r, L) is h = max(C // reduction, min_width)
    (r = 16, L = 32 in the paper).

    The layers are those of timm, both branches reading all input channels. Deviations: the branches are not grouped
    (the paper has 32 groups); a dilation of the replaced convolution multiplies that of both branches.

    The branches have normalisation and activation of their own, and the normalisation and activation that follow the
    replaced convolution in the host stay where they are, so that the map is normalised twice. z is normalised over the
    batch: training needs at least two images per process and forward pass.

    Parameters, I input and C output channels: 18 I C + 4 C + 3 C h + 2 h.

    Args:
        in_channels: I.
        out_channels: C.
        stride: 1 or 2.
        dilation: of the 3x3 view.
        reduction: C / h.
        min_width: least h.

    Raises:
        ConfigError: no bottleneck unit is left.
    """

    kind = "sk"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        dilation: int = 1,
        *,
        reduction: int,
        min_width: int,
    ) -> None:
        from timm.layers import SelectiveKernel  # slower to import than torch, and most networks have none

        super().__init__()
        self.channels = out_channels
        self.hidden = hidden_units(out_channels, reduction, min_width)
        self.block = SelectiveKernel(
            in_channels, out_channels, stride=stride, dilation=dilation, rd_channels=self.hidden, split_input=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x (N, I, H, W) to (N, C, H', W') as a 3x3 convolution with `padding` = `dilation` would.

        Raises:
            ConfigError: a single image in training mode.
        """
        if self.training and len(x) == 1:
            raise ConfigError(
                "`type` = sk normalises over the batch and cannot train on one image: choose a batch size >= 2 "
                "that leaves no single image over."
            )
        first, second = (branch(x) for branch in self.block.paths)
        # timm stacks the maps themselves, at full size and without their memory format, and averages them afterwards.
        means = torch.stack([first.mean((2, 3), keepdim=True), second.mean((2, 3), keepdim=True)], dim=1)
        shares = self.block.attn(means).to(first.dtype)  # (N, 2, C, 1, 1)
        y: Tensor = first * shares[:, 0] + second * shares[:, 1]
        return y


def replaced_convolutions(model: nn.Module) -> dict[str, SelectiveKernelConv]:
    """Return the selective kernel convolutions of a network by their path, in the order of its modules."""
    return {path: module for path, module in model.named_modules() if isinstance(module, SelectiveKernelConv)}


def replace_convolutions(model: nn.Module, paths: Sequence[str], config: GateConfig) -> None:
    """Replace 3x3 convolutions of `model` by selective kernel convolutions, in place.

    Input and output channels, stride, dilation, device, dtype and mode stay; a bias is dropped, because each branch
    ends in a normalisation with a bias of its own. New weights are drawn from torch's random state; those of the
    replaced convolutions are lost. Other than gates that are attached, the new blocks change the host's state-dict
    keys, from `<path>.weight` to `<path>.block.*`: load pretrained weights before.

    Args:
        model: any network.
        paths: module paths of the convolutions, such as `encoder.layer1.0.conv2`.
        config: `type: sk` with its `reduction` and `min_width`.

    Raises:
        ConfigError: `config` is not of type sk, or a path names no convolution that can be replaced. All such paths
            are listed, and none is replaced.
    """
    if config.type != "sk":
        raise ConfigError(f"`type` = {config.type} does not replace convolutions; only sk does.")
    names = {path: module for path, module in model.named_modules(remove_duplicate=False) if path}
    problems = [f"`{path}` {reason}" for path in paths if (reason := _obstacle(path, names))]
    if problems:
        raise ConfigError(
            f"{'; '.join(problems)}. `type` = sk replaces 3x3 convolutions (nn.Conv2d, one group, stride 1 or 2, "
            "padding = dilation)."
        )
    blocks = {path: _selective(names[path], config) for path in dict.fromkeys(paths)}
    for path, block in blocks.items():
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, block)


def _obstacle(path: str, names: dict[str, nn.Module]) -> str:
    """Say why the module at `path` cannot be replaced, or nothing."""
    conv = names.get(path)
    if conv is None:
        return "does not exist in this network"
    if type(conv) is not nn.Conv2d:
        return f"is a {type(conv).__name__}"
    if sum(module is conv for module in names.values()) > 1:
        return "is used under more than one path"
    expected: dict[str, tuple[object, ...]] = {
        "kernel_size": ((3, 3),),
        "groups": (1,),
        "stride": ((1, 1), (2, 2)),
        "dilation": (conv.dilation[:1] * 2,),
        "padding": (conv.dilation, "same"),
        "padding_mode": ("zeros",),
    }
    wrong = [
        f"{name}={getattr(conv, name)}" for name, allowed in expected.items() if getattr(conv, name) not in allowed
    ]
    return f"has {', '.join(wrong)}" if wrong else ""


def _selective(conv: nn.Module, config: GateConfig) -> SelectiveKernelConv:
    """Build the block that takes the place of a convolution."""
    assert isinstance(conv, nn.Conv2d)
    block = SelectiveKernelConv(
        conv.in_channels,
        conv.out_channels,
        conv.stride[0],
        conv.dilation[0],
        reduction=config.reduction,
        min_width=config.min_width,
    )
    return block.to(conv.weight.device, conv.weight.dtype).train(conv.training)
