"""Volumes as samples: one per slice, all slices of a volume in one group."""

from collections.abc import Iterable
from dataclasses import replace

from seg_scse.config.schema import DataConfig
from seg_scse.data.files.volumes import is_volume, plane_count
from seg_scse.data.listing.remarks import Remarks
from seg_scse.data.names import shown
from seg_scse.data.samples import Sample
from seg_scse.errors import DataError

_FEWEST_DIGITS = 3


def expand_volumes(samples: Iterable[Sample], config: DataConfig, remarks: Remarks) -> list[Sample]:
    """Replace each volume by its slices `case/007`, in the group of the volume; other samples stay as they are.

    Args:
        samples: images or volumes, each with its masks.
        config: the plane, and every how many slices one is taken.
        remarks: volumes that cannot be read or do not fit their masks are added to the problems.
    """
    return [part for sample in samples for part in _slices(sample, config, remarks)]


def _slices(sample: Sample, config: DataConfig, remarks: Remarks) -> list[Sample]:
    kinds = {path: is_volume(path) for path in sample.files}
    if not any(kinds.values()):
        return [sample]
    flat = [path for path, is_one in kinds.items() if not is_one]
    if flat:
        volume = next(path for path, is_one in kinds.items() if is_one)
        remarks.problems.append(
            f"{sample.id}: {shown(volume)} is a volume, but {shown(flat[0])} is none. A volume needs a label volume."
        )
        return []
    try:
        counts = {path: plane_count(path, config.volume.plane) for path in sample.files}
    except DataError as error:
        remarks.problems.append(str(error))
        return []
    count = counts[sample.image]
    if len(set(counts.values())) > 1:
        other = next(path for path in counts if counts[path] != count)
        remarks.problems.append(
            f"{sample.id}: {shown(sample.image)} has {count} {config.volume.plane} slices, but {shown(other)} "
            f"{counts[other]}. Correct one, or name the sample in data.exclude."
        )
        return []
    digits = max(_FEWEST_DIGITS, len(str(count - 1)))
    slices = (
        replace(sample, id=f"{sample.id}/{plane:0{digits}}", plane=plane)
        for plane in range(0, count, config.volume.every)
    )
    return [part for part in slices if not remarks.out.has(part.id)]
