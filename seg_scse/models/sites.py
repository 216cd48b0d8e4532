"""Named places for gates in the networks of segmentation-models-pytorch.

| name | feature map | how it is reached |
|---|---|---|
| `encoder.k` | k-th feature of the encoder, finest first, for the next stage and the decoder | output of its module |
| `bottleneck` | the deepest feature, on its way to the decoder | input of the decoder |
| `skip.k` | the feature of `encoder.k` on its way to the decoder, where the decoder uses it | input of the decoder |
| `decoder.k` | output of the k-th decoder stage in the order of computation | output of the stage, see below |
| `decoder_in.k` | the upsampled map joined with the skip (U-Net, U-Net++, MA-Net) | input of the stage's `conv1` |

`encoder`, `skip`, `decoder` and `decoder_in` name all sites of their kind. The image itself and the empty features that
stand for a missing scale are not counted as features.

| architecture | decoder stages |
|---|---|
| unet, linknet, manet | each decoder block |
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

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from seg_scse.attention.attach import Site, hook_at
from seg_scse.attention.trace import reached, tensors_in, total, undisturbed
from seg_scse.config.loading import nearest
from seg_scse.errors import ConfigError

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
}
"""Module paths of each architecture's decoder stages; `*` and `?` match within one part of a path."""

CONCATENATING = ("unet", "unetplusplus", "manet")
"""Architectures whose decoder stages convolve a concatenation, in a child `conv1`."""

GROUPS = ("encoder", "bottleneck", "skip", "decoder", "decoder_in")


@dataclass
class _Call:
    """One call of a module: its inputs, and its output with the state in which the call left it."""

    path: str
    inputs: list[Tensor]
    output: Tensor
    version: int
    made: bool
    """Whether the call made or changed the output; False where an input was passed through as it was."""


@dataclass
class _Trace:
    """One forward pass: the calls in order of completion, what the decoder was given, and the sum of the output."""

    calls: list[_Call] = field(default_factory=list)
    features: list[Tensor] = field(default_factory=list)
    leaves: list[Tensor] = field(default_factory=list)
    total: Tensor = field(default_factory=lambda: torch.zeros(()))


@dataclass(frozen=True)
class Sites:
    """The sites of a network by name, and the names of encoder stages that no single module makes."""

    usable: dict[str, Site]
    hidden: tuple[str, ...]

    def select(self, names: Sequence[str]) -> list[Site]:
        """Return the sites that `names` mean, in that order and each once; a name is a site or a group of sites.

        Raises:
            ConfigError: a name means no usable site; all usable ones are listed.
        """
        chosen: dict[str, Site] = {}
        for name in names:
            members = [site for site in (*self.usable, *self.hidden) if site == name or site.startswith(f"{name}.")]
            if not members or set(members) & set(self.hidden):
                raise self._refusal(name, [site for site in members if site in self.hidden])
            chosen |= {site: self.usable[site] for site in members}
        return list(chosen.values())

    def _refusal(self, name: str, hidden: Sequence[str]) -> ConfigError:
        if hidden:
            reason = f"no single module of the encoder makes the feature of {', '.join(hidden)} for all that use it."
        else:
            hint = "" if name.split(".")[0] in GROUPS else nearest(name, GROUPS)
            reason = f"the network uses no feature map of this name{hint or '.'}"
        return ConfigError(
            f"`model.attention.sites`: `{name}` is not available in this network: {reason} "
            f"Usable sites: {', '.join(self.usable)}; a name without its number means all of the kind."
        )


def find_sites(model: nn.Module, architecture: str, example: Tensor) -> Sites:
    """Find the sites of an smp network by running it once on `example` and looking at what flows where.

    Args:
        model: a network with the children `encoder` and `decoder`, the latter taking a list of features first.
        architecture: its name in `DECODER_STAGES`.
        example: (1, C, H, W) float32 that the network accepts.
    """
    trace = _run(model, example)
    real = [index for index, x in enumerate(trace.features) if x.dim() == 4 and x.shape[1] and x is not example]
    encoder = _confirmed(model, example, _encoder_sites(trace, real))
    usable = {site.name: site for site in encoder.values()}
    hidden = [f"encoder.{number}" for number, index in enumerate(real, start=1) if index not in encoder]
    return Sites(usable | _decoder_inputs(trace, real) | _decoder_stages(architecture, trace), tuple(hidden))


def _run(model: nn.Module, example: Tensor) -> _Trace:
    """Record one forward pass; the decoder works on cut-off copies, so that its use of each feature can be told."""
    trace = _Trace()
    versions: list[dict[int, int]] = []

    def before(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        versions.append({id(x): x._version for x in tensors_in((args, kwargs))})

    def after(path: str, args: tuple[Any, ...], kwargs: dict[str, Any], output: object) -> None:
        entered = versions.pop()
        if isinstance(output, Tensor):
            made = entered.get(id(output)) != output._version
            trace.calls.append(_Call(path, list(tensors_in((args, kwargs))), output, output._version, made))

    def cut(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        trace.features = list(args[0])
        trace.leaves = [x.detach().requires_grad_() for x in trace.features]
        return (list(trace.leaves), *args[1:])

    handles = [model.get_submodule("decoder").register_forward_pre_hook(cut)]
    for path, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(
            module.register_forward_hook(
                lambda _module, args, kwargs, output, path=path: after(path, args, kwargs, output), with_kwargs=True
            )
        )
    try:
        with undisturbed(model), torch.enable_grad():
            trace.total = total(model(example))
    finally:
        for handle in handles:
            handle.remove()
    return trace


def _encoder_sites(trace: _Trace, real: Sequence[int]) -> dict[int, Site]:
    """Return, by feature, the module that makes it; without those features that no single module call makes."""
    sites: dict[int, Site] = {}
    for number, index in enumerate(real, start=1):
        following = [trace.features[later] for later in real[number : number + 1]]
        site = _maker(f"encoder.{number}", trace, trace.features[index], following)
        if site is not None:
            sites[index] = site
    return sites


def _maker(name: str, trace: _Trace, feature: Tensor, following: Sequence[Tensor]) -> Site | None:
    """Return the last module that makes `feature`, if it is called once and the following feature depends on it too."""
    for call in reversed(trace.calls):
        layout = _layout(call, feature) if call.made and call.path.startswith("encoder.") else None
        if layout is None or not all(reached(feature.sum(), [call.output])):
            continue
        flows_on = all(reached(later.sum(), [call.output])[0] for later in following)
        called = sum(other.path == call.path for other in trace.calls)
        return Site(name, call.path, layout=layout) if flows_on and called == 1 else None
    return None


def _confirmed(model: nn.Module, example: Tensor, sites: dict[int, Site]) -> dict[int, Site]:
    """Keep the sites at which a change does reach the decoder's feature: an in-place operation may come between."""
    changed: dict[int, Tensor] = {}
    features: list[Tensor] = []

    def change(index: int, x: Tensor) -> Tensor:
        changed[index] = x + 1
        return changed[index].clone()

    def hook(index: int, site: Site) -> Callable[..., Any]:
        return lambda _module, _args, output: site.change(output, partial(change, index))

    handles = [hook_at(model, site, hook(index, site)) for index, site in sites.items()]
    decoder = model.get_submodule("decoder")
    handles.append(decoder.register_forward_pre_hook(lambda _module, args: features.extend(args[0])))
    try:
        with undisturbed(model), torch.no_grad():
            model(example)
    finally:
        for handle in handles:
            handle.remove()
    return {index: site for index, site in sites.items() if torch.equal(features[index], changed[index])}


def _layout(call: _Call, feature: Tensor) -> Literal["NCHW", "NHWC"] | None:
    """Say how the call's output holds the feature: as it is or copied, channels first or last, or not at all."""
    if call.output is feature:
        return "NCHW" if call.version == feature._version else None
    if call.output.dim() != 4 or call.output._version != call.version:
        return None
    if call.output.shape == feature.shape and torch.equal(call.output, feature):
        return "NCHW"
    nchw = call.output.permute(0, 3, 1, 2)
    return "NHWC" if nchw.shape == feature.shape and torch.equal(nchw, feature) else None


def _decoder_inputs(trace: _Trace, real: Sequence[int]) -> dict[str, Site]:
    """Return the features that the decoder uses, as they reach it."""
    used = reached(trace.total, trace.leaves)
    names = [f"skip.{number}" for number in range(1, len(real))] + ["bottleneck"]
    return {name: Site(name, "decoder", "input", index) for name, index in zip(names, real, strict=True) if used[index]}


def _decoder_stages(architecture: str, trace: _Trace) -> dict[str, Site]:
    """Return the outputs of the decoder's stages, and the concatenations that some of them start with."""
    globs = DECODER_STAGES[architecture]
    calls = [call for call in trace.calls if _matches(call.path, globs) and call.output.numel()]
    used = reached(trace.total, [call.output for call in calls])
    outputs: dict[str, Site] = {}
    inputs: dict[str, Site] = {}
    for number, call in enumerate((call for call, flows in zip(calls, used, strict=True) if flows), start=1):
        outputs[f"decoder.{number}"] = Site(f"decoder.{number}", call.path)
        joins = sum(x.numel() > 0 for x in call.inputs) > 1
        if joins and architecture in CONCATENATING:
            inputs[f"decoder_in.{number}"] = Site(f"decoder_in.{number}", f"{call.path}.conv1", "input")
    return outputs | inputs


def _matches(path: str, globs: Iterable[str]) -> bool:
    return any(fnmatchcase(path, glob) and path.count(".") == glob.count(".") for glob in globs)
