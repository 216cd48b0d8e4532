"""A volume: predicted slice by slice, written as NIfTI, and kept in the ledger."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from seg_scse.data.names import shown
from seg_scse.inference.predictor import Network
from seg_scse.inference.spacing import Spacing
from seg_scse.prediction.folder import Folder
from seg_scse.prediction.inputs.opening import Reading
from seg_scse.prediction.ledger import Ledger, Result, Task
from seg_scse.prediction.settings import Choices, Kind
from seg_scse.prediction.volumes import VolumeOutputs, VolumeResult, predict_volume
from seg_scse.prediction.writing.areas import ClassCounts

_SUFFIX = ".nii.gz"
_NOT_OF_VOLUMES = ("overlays", "polygons")


@dataclass(frozen=True)
class VolumeWork:
    """How volumes are predicted.

    Attributes:
        network: what predicts their slices.
        reading: how files are read.
        choices: planes, resampling, and what is saved.
        folder: where the results go.
        ledger: keeps what is finished.
        resample: height and width in mm of the pixels that slices are brought to, or None.
        trained: size of the pixels of the training, or None.
    """

    network: Network
    reading: Reading
    choices: Choices
    folder: Folder
    ledger: Ledger
    resample: tuple[float, float] | None = None
    trained: Spacing | None = None

    def predict(self, task: Task, progress: Callable[[int, int], None]) -> None:
        """Predict a volume and write what was asked for and volumes have.

        Args:
            task: the volume.
            progress: called after each slice with the number of slices done and of all.

        Raises:
            DataError: it cannot be read.
            WriteError: a result cannot be written.
        """
        start = perf_counter()
        without = [kind for kind in self.choices.save if kind in _NOT_OF_VOLUMES]
        if without:
            self.ledger.notes[f"volumes: no {' and no '.join(without)} are written of them"] = None
        paths: dict[Kind, Path] = {
            kind: self.folder.path(kind, task.item.id, _SUFFIX)
            for kind in self.choices.save
            if kind not in _NOT_OF_VOLUMES
        }
        out = VolumeOutputs(paths.get("labels"), paths.get("probabilities"), paths.get("uncertainty"))
        plane = self.choices.plane or self.reading.config.volume.plane
        found = predict_volume(self.network, task.item, self.reading, plane, self.resample, out, progress, self.trained)
        for note in found.notes:
            self.ledger.notes[f"{shown(task.item.id)}: {note}"] = None
        self.ledger.finish(task, _result(found, list(paths.values()), perf_counter() - start))


def _result(found: VolumeResult, outputs: list[Path], seconds: float) -> Result:
    size = found.voxel_size or 1.0
    counts = ClassCounts(found.voxels, tuple(voxels * size for voxels in found.voxels), found.nodata)
    width, height, slices = found.shape
    return Result(outputs, counts, found.unit, height, width, seconds, slices)
