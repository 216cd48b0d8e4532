"""Scoring a trained network whose gates do not look at the image any more: the control for what their looking is worth.

A gate can be of use because it scales a channel, whatever the image. After training, every gate is replaced by its mean
over training images, and the same images are scored again: what is lost is what looking at each image was worth to this
network. It does not say what training with gates was worth; that takes other trained networks.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seg_scse import distributed
from seg_scse.errors import ConfigError
from seg_scse.evaluation.evaluate import evaluate
from seg_scse.evaluation.gate_means import FROZEN
from seg_scse.evaluation.loaded import Loaded, load_run, result_folder
from seg_scse.evaluation.scored import Evaluated
from seg_scse.evaluation.tables import FORMAT, RESULTS


def evaluate_frozen(run: Path, split: str, overrides: Sequence[str] = ()) -> Evaluated | None:
    """Score the best checkpoint of a run with every gate at its mean over training images.

    The means are those of `gate_means.gate_means`: of at most 100 training images, tiled as in prediction. Everything
    that an evaluation measures is measured, but for the time of a prediction, and written into
    `RUN/evaluation/<split>-frozen`; `protocol.gates` of `results.json` is "mean". Results of the same weights under the
    same `evaluation` section are kept.

    Args:
        run: run folder or checkpoint file.
        split: train, val or test.
        overrides: as for an evaluation.

    Returns:
        as `evaluate`.

    Raises:
        ConfigError: besides the reasons of `evaluate`: the network has no gates, or some without a channel or spatial
            gate by itself.
        CheckpointError: no usable checkpoint.
        DataError: the split or the training split is empty, or a file unusable.
        WriteError: the results cannot be written.
    """
    loaded = load_run(run, "best", overrides)
    if loaded.config.model.attention.type == "none":
        raise ConfigError(f"{run} has no gates to replace: it was trained with model.attention.type = none.")
    folder = result_folder(loaded, "evaluation", f"{split}{FROZEN}")
    done = distributed.from_main(_finished(folder, loaded))
    if done is None:
        return evaluate(run, split, "best", overrides, notes=False, frozen=True)
    return (folder, done) if distributed.is_main() else None


def _finished(folder: Path, loaded: Loaded) -> dict[str, Any] | None:
    """Return the results in a folder if they are those of these weights and settings."""
    try:
        found: dict[str, Any] = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
        same = (
            found["format"] == FORMAT
            and found["checkpoint"]["sha256"] == loaded.digest
            and found["config"]["evaluation"] == loaded.config.evaluation.model_dump(mode="json")
            and found["protocol"]["gates"] == "mean"
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if same else None
