"""Networks: building one from its configuration, and the named places in it where gates can be."""

from seg_scse.models.build import build_model, describe_model
from seg_scse.models.sites import Sites, find_sites

__all__ = ["Sites", "build_model", "describe_model", "find_sites"]
