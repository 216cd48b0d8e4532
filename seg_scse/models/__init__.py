"""Networks: building one from its configuration, the named places in it, and gates on those of any network."""

from seg_scse.models.attach import attach_attention, attach_configured, example_for
from seg_scse.models.build import build_model, describe_model
from seg_scse.models.classic import ClassicUNet
from seg_scse.models.names import Sites
from seg_scse.models.sites import find_sites

__all__ = [
    "ClassicUNet",
    "Sites",
    "attach_attention",
    "attach_configured",
    "build_model",
    "describe_model",
    "example_for",
    "find_sites",
]
