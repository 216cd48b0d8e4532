"""Predicting volumes slice by slice, in any plane or by the mean of three, onto the voxels of their file."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from seg_scse.config.schema import DataConfig
from seg_scse.data.files.volumes import Header
from seg_scse.data.lazy import ArrayLike
from seg_scse.data.volume_slices import Slice, VolumeSlices, series_slices, volume_slices
from seg_scse.errors import DataError
from seg_scse.inference.predictor import Network
from seg_scse.inference.spacing import Spacing
from seg_scse.prediction.inputs.items import Item
from seg_scse.prediction.inputs.opening import Reading
from seg_scse.prediction.volume_arrays import Found, VolumeArrays, Wanted
from seg_scse.prediction.writing.nifti_files import Intent, volume_suffix, write_nifti
from seg_scse.prediction.writing.rasters import probability_names

T = TypeVar("T")
Plane = Literal["axial", "coronal", "sagittal", "mean"]
VIEWS = ("axial", "coronal", "sagittal")
PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal", "mean")
"""`mean`: of the probabilities in the three planes."""

UNCERTAINTY = ("entropy", "disagreement")
"""Along the last axis of an uncertainty volume: entropy of the mean probabilities, and what of it is disagreement."""

_UNLIKE = 0.25
"""Share by which pixels may be larger or smaller than those of the training without a word."""


@dataclass(frozen=True)
class VolumeOutputs:
    """Where what is predicted of a volume goes; `.nii.gz` or `.nii`. None: it is not written.

    Attributes:
        labels: uint8 `(X, Y, Z)`: class indices, or bits of a multilabel task; 0 where there is no data.
        probabilities: float32 `(X, Y, Z, K')`: as `Network.probabilities` has them, on the last axis.
        uncertainty: float32 `(X, Y, Z, 2)`, nats: see `UNCERTAINTY`.
    """

    labels: Path | None
    probabilities: Path | None = None
    uncertainty: Path | None = None


@dataclass(frozen=True)
class VolumeResult:
    """What was predicted of a volume.

    Attributes:
        shape: voxels along the axes of the file.
        slices: predicted slices, of all planes.
        voxels: of each class, by index; multilabel: class 0 has those without a label.
        nodata: voxels without data, which are in no class.
        voxel_size: mm3; None where the file has no unit.
        unit: of what is measured by `voxel_size`: `mm3`, or `px` for counted voxels.
        notes: what the reader should know, in lines.
    """

    shape: tuple[int, int, int]
    slices: int
    voxels: tuple[int, ...]
    nodata: int
    voxel_size: float | None
    unit: str
    notes: tuple[str, ...]


def predict_volume(
    network: Network,
    item: Item,
    reading: Reading,
    plane: Plane,
    resample: tuple[float, float] | None,
    out: VolumeOutputs,
    progress: Callable[[int, int], None] | None = None,
    trained: Spacing | None = None,
) -> VolumeResult:
    """Predict a NIfTI volume or a DICOM series, and write what is asked for.

    Memory holds the decoded volume and one byte per voxel for the labels; for the mean of three planes and for
    probabilities 4 bytes per voxel and probability more, for uncertainty 8 (12 for the mean).

    Args:
        network: what predicts the slices.
        item: a volume (one file, or one per band) or a series.
        reading: how the run reads its files.
        plane: in which the slices lie; that of the training is `reading.config.volume.plane`.
        resample: height and width in mm that the slices are brought to before the network sees them; probabilities
            are brought back. None: none.
        out: the files to write, labels last.
        progress: called after each slice with the number of slices done and of all.
        trained: size of the training pixels, which volumes of other pixels are remarked by.

    Returns:
        What was found.

    Raises:
        ConfigError: an output is not named `.nii.gz` or `.nii`.
        DataError: the volume cannot be read, is not as the run declares its images, or says no size in mm to resample.
        WriteError: an output cannot be written.
    """
    for path in (out.labels, out.probabilities, out.uncertainty):
        if path is not None:
            volume_suffix(path)
    opener = series_slices if item.kind == "series" else volume_slices
    slices = opener(item.files, reading.config, reading.scale)
    header, views = slices.header, VIEWS if plane == "mean" else (plane,)
    sizes = {view: _network_size(header, view, resample, slices.name) for view in views}
    total = sum(header.along(view) for view in views)
    wanted = Wanted(out.probabilities is not None, out.uncertainty is not None)
    arrays = VolumeArrays(header, network, len(views), wanted)
    for done, found in enumerate(_predicted(network, slices, sizes, wanted.uncertainty), start=1):
        arrays.add(found)
        if progress is not None:
            progress(done, total)
    arrays.finish()
    _write(arrays, header, out, reading.config)
    return VolumeResult(
        shape=header.spatial,
        slices=total,
        voxels=arrays.counts(len(reading.config.classes)),
        nodata=arrays.nodata,
        voxel_size=header.voxel_volume,
        unit="px" if header.voxel_volume is None else "mm3",
        notes=tuple(_notes(header, reading.config, plane, resample, trained)),
    )


def _network_size(header: Header, view: str, resample: tuple[float, float] | None, name: str) -> tuple[int, int] | None:
    """Height and width that the slices of a plane are brought to; None: they stay as they are."""
    if resample is None:
        return None
    if not header.millimetres:
        raise DataError(
            f"{name}: does not say the unit of its voxels, so that they cannot be resampled to millimetres. Set its "
            "spatial unit (nibabel: header.set_xyzt_units('mm')), or predict with --resample none."
        )
    sizes = zip(header.slice_shape(view), header.place(view).spacing, resample, strict=True)
    height, width = (max(1, round(pixels * own / wanted)) for pixels, own, wanted in sizes)
    return None if (height, width) == header.slice_shape(view) else (height, width)


def _predicted(
    network: Network, slices: VolumeSlices, sizes: Mapping[str, tuple[int, int] | None], entropy: bool
) -> Iterator[Found]:
    """Predict all slices in their order; the next is read while one is computed."""
    for view, size in sizes.items():
        shape = slices.header.slice_shape(view)
        numbers = range(slices.header.along(view))
        read = _ahead(partial(_shown, slices, view, size), numbers)
        for group in _groups(zip(numbers, read, strict=True), _together(network, size or shape)):
            strips = _strips(network, [one.image for _, one in group], entropy)
            for (number, one), strip in zip(group, strips, strict=True):
                yield Found(view, number, one.valid, *(_sized(planes, shape) for planes in strip))


def _together(network: Network, shape: tuple[int, int]) -> int:
    """Slices per forward pass: on a GPU as many as tiles, where each fits into one; on a CPU it gains nothing."""
    fits = all(max(shape) <= member.tile for member in network.members)
    return network.members[0].batch_size if fits and network.device.type != "cpu" else 1


def _groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group


def _ahead(read: Callable[[int], T], numbers: Iterable[int]) -> Iterator[T]:
    """Read one item in a thread while the one before is used."""
    with ThreadPoolExecutor(1) as pool:
        waiting: list[Future[T]] = []
        for number in numbers:
            waiting.append(pool.submit(read, number))
            if len(waiting) > 1:
                yield waiting.pop(0).result()
        for last in waiting:
            yield last.result()


def _strips(network: Network, images: Sequence[ArrayLike], entropy: bool) -> list[tuple[Tensor, Tensor | None]]:
    """Probabilities (K', h, W) and entropy (h, W) of images, as `evaluate` computes them."""
    if len(images) > 1:
        return [strip[1:] for strip in network.batch(images, entropy=entropy)]
    found = list(network.strips(images[0], entropy=entropy))
    entropies = [strip.entropy for strip in found if strip.entropy is not None]
    return [(torch.cat([strip.probabilities for strip in found], 1), torch.cat(entropies) if entropies else None)]


def _shown(slices: VolumeSlices, view: str, size: tuple[int, int] | None, number: int) -> Slice:
    """Read a slice and bring it to another size, in the unit that its values have; 8-bit ones become [0, 1]."""
    one = slices.read(view, number)
    if size is None:
        return one
    whole = one.scaling is None and one.pixels.dtype == np.uint8
    values = one.pixels.astype(np.float32) / np.float32(255 if whole else 1)
    resized = _interpolated(torch.from_numpy(values.transpose(2, 0, 1).copy()), size)
    return one._replace(pixels=resized.permute(1, 2, 0).contiguous().numpy())


def _sized(planes: Tensor | None, shape: tuple[int, int]) -> Any:  # noqa: ANN401 - None stays None
    """Bring what was predicted back to the pixels of the volume."""
    if planes is None or planes.shape[-2:] == shape:
        return planes
    return _interpolated(planes, shape) if planes.ndim == 3 else _interpolated(planes[None], shape)[0]


def _interpolated(planes: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (C, h, w) linearly, over all pixels that a larger one covers; sums of probabilities stay 1."""
    return interpolate(planes[None], size, mode="bilinear", align_corners=False, antialias=True)[0]


def _write(arrays: VolumeArrays, header: Header, out: VolumeOutputs, config: DataConfig) -> None:
    bits = config.task == "multilabel"
    names = probability_names(config.classes, config.task)
    kinds: list[tuple[Path | None, NDArray[Any] | None, dict[str, Any], Intent]] = [
        (out.probabilities, arrays.probabilities, {"probabilities": names}, "none"),
        (out.uncertainty, arrays.uncertainty, {"uncertainty": UNCERTAINTY, "unit": "nats"}, "none"),
        (out.labels, arrays.labels, {"classes": config.classes, "values": "bits" if bits else "indices"}, "label"),
    ]
    for path, array, facts, intent in kinds:
        if path is not None and array is not None:
            write_nifti(path, array, header, facts, intent)


def _notes(
    header: Header, config: DataConfig, plane: Plane, resample: tuple[float, float] | None, trained: Spacing | None
) -> Iterator[str]:
    own = config.volume.plane
    if plane not in (own, "mean"):
        yield f"the slices are {plane}, those of the training {own}"
    if trained is None or trained.unit != "mm" or resample is not None or not header.millimetres:
        return
    sizes = {view: header.place(view).spacing for view in (VIEWS if plane == "mean" else (plane,))}
    unlike = [
        f"{view} pixels are {height:g} x {width:g} mm"
        for view, (height, width) in sizes.items()
        if max(abs(height / trained.height - 1), abs(width / trained.width - 1)) > _UNLIKE
    ]
    if unlike:
        yield (
            f"its {', '.join(unlike)}, those of the training {trained.height:g} x {trained.width:g} mm: use --resample "
            "training"
        )
