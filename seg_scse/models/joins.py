"""Skips for gates that look at a second map: where one module of the decoder is given a skip and a map of the decoder.

For such a gate, the site `skip.k` lies at the input of that module and not at that of the decoder, because the map that
steers the gate, its signal, is not there before. In U-Nets the signal is the coarser map that the block is about to
upsample, as in Attention U-Net (Oktay et al. 2018).
"""

from torch import Tensor, nn

from seg_scse.attention.attach import Argument, Site, SiteHook
from seg_scse.attention.trace import Call, reached
from seg_scse.models.names import Sites
from seg_scse.models.sites import Trace, trace_decoder


def with_signals(sites: Sites, model: nn.Module, example: Tensor) -> Sites:
    """Return the sites of the same network for gates with a signal; skips that have none are hidden.

    Args:
        sites: from `find_sites`.
        model: the network.
        example: (1, C, H, W) float32 that it accepts.
    """
    skips = {
        name: site.index for name, site in sites.usable.items() if name.startswith("skip.") and site.index is not None
    }
    trace = trace_decoder(model, example)
    joins = {name: join for name, index in skips.items() if (join := _join(name, index, trace))}
    leaking = _leaking(joins, {name: skips[name] for name in joins}, model, example)
    usable = {name: join for name, join in joins.items() if name not in leaking}
    return Sites(usable, tuple(name for name in skips if name not in usable), sites.deepest, signal=True)


def _join(name: str, index: int, trace: Trace) -> Site | None:
    """Return the input of the outermost module that is given the feature itself, if it is given one other map."""
    feature = trace.leaves[index]
    users = [call for call in trace.calls if any(value is feature for value in call.arguments.values())]
    pair = _pair(users[-1], feature) if users else None  # the outermost call ends last
    return Site(name, users[-1].path, "input", argument=pair[0], signal=pair[1]) if pair else None


def _pair(call: Call, feature: Tensor) -> tuple[Argument, Argument] | None:
    """Return the argument that is the skip, and the only other one that is a feature map."""
    maps = [key for key, x in call.arguments.items() if isinstance(x, Tensor) and x.dim() == feature.dim()]
    own = [key for key in maps if call.arguments[key] is feature]
    others = [key for key in maps if call.arguments[key] is not feature and call.arguments[key].numel()]
    return (own[0], others[0]) if len(own) == len(others) == 1 else None


class _Cut(SiteHook):
    """Cuts the graph at a site."""

    def passed(self, x: Tensor, *_signal: Tensor) -> Tensor:
        return x.detach()


def _leaking(joins: dict[str, Site], indices: dict[str, int], model: nn.Module, example: Tensor) -> set[str]:
    """Name the skips that influence the output past their join: a gate there would act on a part of the skip only."""
    handles = [_Cut(site).register(model) for site in joins.values()]
    try:
        trace = trace_decoder(model, example)
    finally:
        for handle in handles:
            handle.remove()
    passed = reached(trace.total, [trace.leaves[index] for index in indices.values()])
    return {name for name, leaks in zip(indices, passed, strict=True) if leaks}
