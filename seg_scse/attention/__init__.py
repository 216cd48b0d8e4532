"""Gates that recalibrate feature maps, and attaching them to any network."""

from seg_scse.attention.attach import GateSet, Site, attach_gates
from seg_scse.attention.functional import recalibrate
from seg_scse.attention.gates import SCSE
from seg_scse.attention.registry import build_gate

__all__ = ["SCSE", "GateSet", "Site", "attach_gates", "build_gate", "recalibrate"]
