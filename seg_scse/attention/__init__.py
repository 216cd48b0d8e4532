"""Gates that recalibrate feature maps, and attaching them to any network."""

from seg_scse.attention.attach import GateSet, Site, attach_attention
from seg_scse.attention.functional import recalibrate
from seg_scse.attention.gates import ChannelSE, ScSE, SpatialSE
from seg_scse.attention.registry import build_gate

__all__ = ["ChannelSE", "GateSet", "ScSE", "Site", "SpatialSE", "attach_attention", "build_gate", "recalibrate"]
