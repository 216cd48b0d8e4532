"""Scoring predictions that lie in files: of another program, another machine, or of people."""

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from seg_scse import distributed
from seg_scse.config.loading import load_config, path_name, refuse_overrides
from seg_scse.config.schema import IGNORE_INDEX, Config
from seg_scse.data.names import shown
from seg_scse.data.prepare import PreparedData, prepare_data
from seg_scse.errors import SegScseError
from seg_scse.evaluation.evaluate import CURE
from seg_scse.evaluation.loaded import dataset_facts, sources
from seg_scse.evaluation.masks_only import SPLIT, read_truth
from seg_scse.evaluation.other_data import other_data
from seg_scse.evaluation.prediction_files import (
    ENCODINGS,
    Encoding,
    Expected,
    Labels,
    prediction_files,
    read_prediction,
    require_encoding,
    require_readable,
)
from seg_scse.evaluation.scored import Evaluated, Job, score
from seg_scse.inference.sources import FolderSource

T = TypeVar("T")

_MASKS_ONLY = (
    *("evaluation.", "data.mask."),
    *(
        "data.classes",
        "data.task",
        "data.split.group",
        "data.mask_suffix",
        "data.mask_pattern",
        "data.exclude",
        "data.max_pixels",
    ),
)
"""Keys that mean something for two folders of masks."""


def score_predictions(
    folder: Path, data: str, split: str, overrides: Sequence[str], encoding: Encoding, out: Path | None = None
) -> Evaluated | None:
    """Score a folder of predictions, one file per sample of a split.

    Args:
        folder: `<id>.png`, `.tif`, `.tiff` or `.npy` for every sample of the split, and for no other.
        data: configuration file or card: the images, their truth and their splits.
        split: train, val or test.
        overrides: `section.key=value` texts of the sections data and evaluation.
        encoding: what the values in the files are.
        out: folder for the results; default: `<folder>-evaluation/<split>`, beside it.

    Returns:
        the folder and the content of `results.json`; None in processes that do not write.

    Raises:
        ConfigError: the configuration has problems, or the encoding cannot hold the classes.
        DataError: data or predictions cannot be used; everything that is wrong with the predictions is listed.
        WriteError: the results cannot be written.
    """
    other = other_data(data, overrides)
    require_encoding(encoding, other.data)
    prepared = prepare_data(other.data)
    files = _Files(folder, encoding, prepared, prepared.require(split, CURE), f" {CURE}")
    return _score(files, other.config, split, out, other.name, images=True)


def score_masks(
    truth: Path, prediction: Path, overrides: Sequence[str], encoding: Encoding | None = None, out: Path | None = None
) -> Evaluated | None:
    """Score one folder of masks against another, without a network and without images.

    Args:
        truth: masks as the configuration declares them.
        prediction: one file for each of them, with the same name but for the extension.
        overrides: `section.key=value` texts, such as `data.mask.encoding=binary` and `data.classes=[background, cell]`.
        encoding: what the values of the predictions are; None: as `data.mask.encoding` where that is index, palette
            or binary, else index.
        out: folder for the results; default: `<prediction>-evaluation/all`, beside it.

    Returns:
        as `score_predictions`.

    Raises:
        ConfigError: as `score_predictions`, or a mask encoding with other than one file for each image.
        DataError: masks or predictions cannot be used; all of them are listed.
        WriteError: the results cannot be written.
    """
    refuse_overrides(overrides, _MASKS_ONLY, "With --masks-only nothing but masks is read.")
    config = load_config(None, [f"name={path_name(prediction.resolve())}", *overrides])
    same = [name for name in ENCODINGS if name == config.data.mask.encoding]
    chosen: Encoding = encoding or (same[0] if same else "index")
    require_encoding(chosen, config.data)
    prepared = _said_once(partial(read_truth, truth, config.data))
    files = _Files(prediction, chosen, prepared, prepared.require(SPLIT, CURE))
    return _score(files, config, SPLIT, out, shown(truth.resolve().name), images=False)


def _said_once(work: Callable[[], T]) -> T:
    """Do what every process needs; of an error, only the main one speaks."""
    try:
        return work()
    except SegScseError as error:
        if distributed.is_main():
            raise
        raise SystemExit(error.exit_code) from None


@dataclass(frozen=True)
class _Files:
    """A folder of predictions of some samples."""

    folder: Path
    encoding: Encoding
    data: PreparedData
    indices: list[int]
    hint: str = ""

    def source(self) -> FolderSource:
        """Find all files and read each once, so that everything that is wrong is said before anything is scored."""
        samples = self.data.manifest.samples
        found = prediction_files(self.folder, [samples[index].id for index in self.indices], self.hint)
        require_readable(found, lambda place: self._expected(self.indices[place]), self.encoding, self.data.config)
        index_of = dict(zip(found.values(), self.indices, strict=True))

        def read(path: Path) -> Labels:
            return read_prediction(path, self._expected(index_of[path]), self.encoding, self.data.config)

        return FolderSource({index: path for path, index in index_of.items()}, read)

    def _expected(self, index: int) -> Expected:
        entry = self.data.store.entries[index]
        return Expected(entry.shape[:2], entry.place)


def _score(files: _Files, config: Config, split: str, out: Path | None, data: str, images: bool) -> Evaluated | None:
    folder = files.folder.resolve()
    results = out or folder.with_name(f"{folder.name}-evaluation") / split
    job = Job(
        name=path_name(folder),
        split=split,
        folder=results,
        config=config.model_copy(update={"data": files.data.config}),
        data=files.data,
        indices=files.indices,
        source=_said_once(files.source),
        facts={
            "checkpoint": None,
            "members": [],
            "sources": sources(results, [folder]),
            "predictions": shown(files.folder),
            "protocol": _protocol(config),
            "data": dataset_facts(files.data, data),
            "device": platform.processor() or platform.machine(),
        },
        images=images,
    )
    return score(job)


def _protocol(config: Config) -> dict[str, Any]:
    """How the files are scored; how they were made is not known."""
    unknown = dict.fromkeys(("threshold", "threshold_from", "tile", "overlap", "blend", "tile_margin", "precision"))
    known = {
        "resolution": "original",
        "empty": config.evaluation.empty,
        "ignore_index": IGNORE_INDEX,
        "tta": "none",
        "scales": [1.0],
    }
    return {**known, **unknown}
