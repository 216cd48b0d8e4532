"""From the names that a user gives to the sites of a network."""

import re
from collections.abc import Sequence

from torch import Tensor, nn

from seg_scse.attention.attach import Layout, Site
from seg_scse.errors import ConfigError
from seg_scse.models.joins import with_signals
from seg_scse.models.names import GROUPS, Sites
from seg_scse.models.paths import RESIDUAL, matches, matching, path_sites
from seg_scse.models.sites import architecture_of, find_sites

STAGE = re.compile(rf"({'|'.join(name for name in GROUPS if name != RESIDUAL)})(\.\d+)?")


def resolve_sites(
    model: nn.Module, names: Sequence[str], example: Tensor, layout: Layout | None = None, signal: bool = False
) -> list[Site]:
    """Return the sites that names mean, each place once: first the stages, then the modules, each in the order given.

    Args:
        model: any network.
        names: sites and groups of `find_sites`, where the network has an architecture that it knows; `residual`; or
            module paths with `*`, `?` and `**`. In such an architecture `encoder` and `decoder` mean the stages, in any
            other network the modules of these names.
        example: an input that `model` accepts.
        layout: of the outputs of modules; None finds it out.
        signal: whether the gate looks at a second map: only skips can have one.

    Raises:
        ConfigError: a name means nothing in this network, or a layout is given where there is no module path.
    """
    architecture = architecture_of(model)
    paths = [] if signal else [name for name in names if architecture is None or _is_path(model, name)]
    if layout is not None and not set(paths) - {RESIDUAL}:
        raise ConfigError(f"`layout` = {layout} has no meaning for {list(names)}: it belongs to module paths.")
    if signal:
        return _signal_sites(model, architecture, example).select(names)
    stages = [name for name in names if name not in paths]
    sites = find_sites(model, architecture, example).select(stages) if architecture and stages else []
    sites += path_sites(model, paths, example, layout) if paths else []
    places: dict[tuple[object, ...], Site] = {}
    for site in sites:
        places.setdefault((site.module, site.where, site.index), site)
    return list(places.values())


def resolve_convolutions(model: nn.Module, names: Sequence[str]) -> list[str]:
    """Return the paths that names of convolutions mean: module paths with `*`, `?` and `**`.

    Raises:
        ConfigError: a name is that of a stage or of `residual`, or matches no module.
    """
    convolutions = {path for path, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    for name in names:
        if name not in convolutions and (name == RESIDUAL or STAGE.fullmatch(name)):
            raise ConfigError(
                f"site `{name}` is none for `type` = sk, which takes module paths of 3x3 convolutions: name them, such "
                "as `encoder.layer3.*.conv2`."
            )
    return [path for name in names for path in matching(model, name)]


def _signal_sites(model: nn.Module, architecture: str | None, example: Tensor) -> Sites:
    if architecture is None:
        return Sites({}, (), "", signal=True)
    return with_signals(find_sites(model, architecture, example), model, example)


def _is_path(model: nn.Module, name: str) -> bool:
    """Tell a module path from the name of a stage, in a network that has named stages."""
    if STAGE.fullmatch(name):
        return False
    return name == RESIDUAL or "." in name or any(matches(path, name) for path, _ in model.named_modules())
