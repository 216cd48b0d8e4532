"""Named places for gates in segmentation networks that have an encoder and a decoder.

| name | feature map | how it is reached |
|---|---|---|
| `encoder.k` | k-th feature of the encoder, finest first, for the next stage and the decoder | output of its module |
| `bottleneck` | the deepest feature, on its way to the decoder | input of the decoder |
| `skip.k` | the feature of `encoder.k` on its way to the decoder, where the decoder uses it | input of the decoder |
| `decoder.k` | output of the k-th decoder stage in the order of computation | output of the stage, see below |
| `decoder_in.k` | the upsampled map joined with the skip (U-Net, U-Net++, MA-Net) | input of the stage's `conv1` |

`encoder`, `skip`, `decoder` and `decoder_in` name all sites of their kind. The image itself and the empty features that
stand for a missing scale are not counted as features. `bottleneck` and the encoder's last stage are one map: where both
are asked for, it gets one gate, on `bottleneck`.

| architecture | decoder stages |
|---|---|
| classic_unet, unet, linknet, manet | each decoder block |
| unetplusplus | each node of the nested grid |
| fpn | top-down pyramid: p5, p4, p3, p2 |
| pspnet | pyramid pooling; fusion convolution |
| pan | feature pyramid attention; each global attention upsampling |
| deeplabv3 | atrous pyramid; the decoder's last activation |
| deeplabv3plus | atrous pyramid; low-level projection; fusion |
| upernet | pyramid pooling; each lateral fusion of the top-down pyramid; last fusion |
| segformer | projection of each feature; fusion |
| dpt | each fusion block |
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from seg_scse.attention.attach import Layout, Site, SiteHook
from seg_scse.attention.trace import Call, differentiable, reached, recorded, total, undisturbed
from seg_scse.models.classic import ClassicUNet
from seg_scse.models.names import Sites
from seg_scse.models.paths import matches

DECODER_STAGES: dict[str, tuple[str, ...]] = {
    "unet": ("decoder.blocks.*",),
    "unetplusplus": ("decoder.blocks.*",),
    "manet": ("decoder.blocks.*",),
    "linknet": ("decoder.blocks.*",),
    "fpn": ("decoder.p?",),
    "pspnet": ("decoder.psp", "decoder.conv"),
    "deeplabv3": ("decoder.aspp", "decoder.relu"),
    "deeplabv3plus": ("decoder.aspp", "decoder.block?"),
    "pan": ("decoder.fpa", "decoder.gau?"),
    "upernet": ("decoder.psp", "decoder.fpn_lateral_blocks.*", "decoder.fusion_block"),
    "segformer": ("decoder.mlp_stage.*", "decoder.fuse_stage"),
    "dpt": ("decoder.fusion_blocks.*",),
    "classic_unet": ("decoder.blocks.*",),
}
"""Module paths of each architecture's decoder stages; `*` and `?` match within one part of a path."""

CONCATENATING = ("unet", "unetplusplus", "manet", "classic_unet")
"""Architectures whose decoder stages convolve a concatenation, in a child `conv1`."""


@dataclass
class Trace:
    """One forward pass: the image, the calls in order of completion, what the decoder was given, the output's sum."""

    image: Tensor
    calls: list[Call] = field(default_factory=list)
    features: list[Tensor] = field(default_factory=list)
    leaves: list[Tensor] = field(default_factory=list)
    total: Tensor = field(default_factory=lambda: torch.zeros(()))


def architecture_of(model: nn.Module) -> str | None:
    """Return the name of the network's architecture in `DECODER_STAGES`, or None where it is none of them."""
    if isinstance(model, ClassicUNet):
        return "classic_unet"
    names = (name for name, kind in smp.MODEL_ARCHITECTURES_MAPPING.items() if isinstance(model, kind))
    return next(names, None)


def find_sites(model: nn.Module, architecture: str, example: Tensor) -> Sites:
    """Find the sites of a network by running it once on `example` and looking at what flows where.

    Args:
        model: a network with the children `encoder` and `decoder`, the latter taking a list of features first.
        architecture: its name in `DECODER_STAGES`.
        example: (1, C, H, W) float32 that the network accepts.
    """
    trace = trace_decoder(model, example)
    real = [index for index, x in enumerate(trace.features) if x.dim() > 2 and x.shape[1] and x is not trace.image]
    encoder = _confirmed(model, example, _encoder_sites(trace, real))
    usable = {site.name: site for site in encoder.values()}
    hidden = [f"encoder.{number}" for number, index in enumerate(real, start=1) if index not in encoder]
    usable |= _decoder_inputs(trace, real) | _decoder_stages(architecture, trace)
    return Sites(usable, tuple(hidden), f"encoder.{len(real)}")


def trace_decoder(model: nn.Module, example: Tensor) -> Trace:
    """Record one forward pass; the decoder works on cut-off copies, so that its use of each feature can be told."""
    trace = Trace(differentiable(example))

    def cut(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        trace.features = list(args[0])
        trace.leaves = [x.detach().requires_grad_() for x in trace.features]
        return (list(trace.leaves), *args[1:])

    handle = model.get_submodule("decoder").register_forward_pre_hook(cut)
    try:
        with recorded(model) as trace.calls, undisturbed(model), torch.enable_grad():
            trace.total = total(model(trace.image))
    finally:
        handle.remove()
    return trace


def _encoder_sites(trace: Trace, real: Sequence[int]) -> dict[int, Site]:
    """Return, by feature, the module that makes it; without those features that no single module call makes."""
    sites: dict[int, Site] = {}
    for number, index in enumerate(real, start=1):
        following = [trace.features[later] for later in real[number : number + 1]]
        site = _maker(f"encoder.{number}", trace, trace.features[index], following)
        if site is not None:
            sites[index] = site
    return sites


def _maker(name: str, trace: Trace, feature: Tensor, following: Sequence[Tensor]) -> Site | None:
    """Return the last module that makes `feature`, if it is called once and the following feature depends on it too."""
    for call in reversed(trace.calls):
        layout = _layout(call, feature) if call.made and call.path.startswith("encoder.") else None
        if layout is None or not all(reached(feature.sum(), [call.output])):
            continue
        flows_on = all(reached(later.sum(), [call.output])[0] for later in following)
        called = sum(other.path == call.path for other in trace.calls)
        return Site(name, call.path, layout=layout) if flows_on and called == 1 else None
    return None


class _Shift(SiteHook):
    """Adds 1 to the map at a site, and remembers the result."""

    changed: Tensor

    def passed(self, x: Tensor, *_signal: Tensor) -> Tensor:
        self.changed = x + 1
        return self.changed.clone()


def _confirmed(model: nn.Module, example: Tensor, sites: dict[int, Site]) -> dict[int, Site]:
    """Keep the sites at which a change does reach the decoder's feature: an in-place operation may come between."""
    features: list[Tensor] = []
    shifts = {index: _Shift(site) for index, site in sites.items()}
    handles = [shift.register(model) for shift in shifts.values()]
    decoder = model.get_submodule("decoder")
    handles.append(decoder.register_forward_pre_hook(lambda _module, args: features.extend(args[0])))
    try:
        with undisturbed(model), torch.no_grad():
            model(example)
    finally:
        for handle in handles:
            handle.remove()
    return {index: site for index, site in sites.items() if torch.equal(features[index], shifts[index].changed)}


def _layout(call: Call, feature: Tensor) -> Layout | None:
    """Say how the call's output holds the feature: as it is or copied, channels first or last, or not at all."""
    if call.output is feature:
        return "channels_first" if call.version == feature._version else None
    if call.output.dim() != feature.dim() or call.output._version != call.version:
        return None
    if call.output.shape == feature.shape and torch.equal(call.output, feature):
        return "channels_first"
    moved = call.output.movedim(-1, 1)
    return "channels_last" if moved.shape == feature.shape and torch.equal(moved, feature) else None


def _decoder_inputs(trace: Trace, real: Sequence[int]) -> dict[str, Site]:
    """Return the features that the decoder uses, as they reach it."""
    used = reached(trace.total, trace.leaves)
    names = [f"skip.{number}" for number in range(1, len(real))] + ["bottleneck"]
    return {name: Site(name, "decoder", "input", index) for name, index in zip(names, real, strict=True) if used[index]}


def _decoder_stages(architecture: str, trace: Trace) -> dict[str, Site]:
    """Return the outputs of the decoder's stages, and the concatenations that some of them start with."""
    globs = DECODER_STAGES[architecture]
    calls = [call for call in trace.calls if any(matches(call.path, glob) for glob in globs) and call.output.numel()]
    used = reached(trace.total, [call.output for call in calls])
    outputs: dict[str, Site] = {}
    inputs: dict[str, Site] = {}
    for number, call in enumerate((call for call, flows in zip(calls, used, strict=True) if flows), start=1):
        outputs[f"decoder.{number}"] = Site(f"decoder.{number}", call.path)
        joins = sum(x.numel() > 0 for x in call.inputs) > 1
        if joins and architecture in CONCATENATING:
            inputs[f"decoder_in.{number}"] = Site(f"decoder_in.{number}", f"{call.path}.conv1", "input")
    return outputs | inputs
