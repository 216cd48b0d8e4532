"""Segmentation networks with squeeze-and-excitation attention, trained and scored from a config file."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seg_scse.api.loading import load
    from seg_scse.attention.gates import SCSE
    from seg_scse.hub import from_pretrained, save_pretrained
    from seg_scse.models.attach import attach_attention
    from seg_scse.models.build import build_model

try:
    __version__ = version("seg-scse")
except PackageNotFoundError:  # a checkout that was not installed
    __version__ = "0.0.0"

__all__ = ["SCSE", "__version__", "attach_attention", "build_model", "from_pretrained", "load", "save_pretrained"]

_HOMES = {
    "SCSE": "seg_scse.attention.gates",
    "attach_attention": "seg_scse.models.attach",
    "build_model": "seg_scse.models.build",
    "from_pretrained": "seg_scse.hub",
    "load": "seg_scse.api.loading",
    "save_pretrained": "seg_scse.hub",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    """Import a public name at its first use: torch takes seconds, and the command line answers without it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
