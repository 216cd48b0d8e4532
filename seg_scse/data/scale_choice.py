"""Choosing the scaling of each image of a data set."""

from collections.abc import Mapping, Sequence
from typing import Any

from seg_scse.config.schema import DataConfig
from seg_scse.data.scale_measuring import Measurable, file_scalings, measured_scaling
from seg_scse.data.scaling import Scales, by_type, declared_range, from_state, scale_notes
from seg_scse.errors import DataError


def choose_scales(
    config: DataConfig, data: Measurable, train: Sequence[int], state: Mapping[str, Any] | None
) -> Scales:
    """Choose as `data.scale` declares, or as a checkpoint remembers.

    Args:
        config: the `data` section.
        data: the images.
        train: positions of the training split, over which a data set is measured.
        state: what a checkpoint keeps (`Scales.as_state`).

    Raises:
        ConfigError: ranges do not fit the bands.
        DataError: the types have no range, or there is nothing to measure.
        OSError: the cache cannot be written.
    """
    declared = config.scale
    if declared.method == "dtype":
        return by_type(data.samples, data.entries, train)
    if declared.per == "file":
        note = f"scale by {declared.method}: measured over each image or volume"
        return Scales(tuple(file_scalings(declared, data)), None, (note,))
    shared = declared_range(config) or from_state(state)
    if shared is None:
        if not train:
            raise DataError(f"data.scale.method = {declared.method}: no training images to measure. Change data.split.")
        shared = measured_scaling(declared, data, train)
    notes = scale_notes(declared, config.band_names, shared)
    return Scales((shared,) * len(data.entries), shared, tuple(notes))
