"""Weights & Biases and MLflow as loggers (`loggers.Logger`); each package is imported when it is used."""

import importlib
import math
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_scse.config.schema import Config

_BATCH = 500  # values that are sent to an MLflow server at once; it takes up to 1000
_LONGEST = 500  # characters of a parameter; servers of MLflow before 2.3 take no more


class WandB:
    """A run of Weights & Biases; `WANDB_MODE` and the like are the user's.

    Args:
        config: the configuration, which is stored there.
        folder: the run folder; gives the name, and holds what wandb writes.
        known: id of the run, where it is resumed.
    """

    CURE = "Log in with `wandb login`, or set WANDB_MODE=offline"

    def __init__(self, config: Config, folder: Path, known: str | None) -> None:
        self._wandb: Any = importlib.import_module("wandb")
        self.id = known or secrets.token_hex(4)
        self._run: Any = self._wandb.init(
            project=config.trainer.project,
            name=folder.name,
            id=self.id,
            resume="allow",
            dir=str(folder),
            config=config.model_dump(mode="json"),
            settings=self._wandb.Settings(console="off", silent=True),
        )

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """See `Logger`."""
        self._log(dict(values), step)

    def image(self, name: str, pixels: NDArray[np.uint8], step: int) -> None:
        """See `Logger`."""
        self._log({name: self._wandb.Image(pixels)}, step)

    def _log(self, values: dict[str, Any], step: int) -> None:
        if step >= self._run.step:  # it has the steps before, from this run before it was interrupted
            self._run.log(values, step=step)

    def flush(self) -> None:
        """Nothing to do: a process of wandb's own has everything already."""

    def close(self) -> None:
        """See `Logger`."""
        self._run.finish()


class MLflow:
    """A run of MLflow at the tracking address that the user has set.

    Values are sent in batches, at the latest when a checkpoint is saved.

    Args:
        config: the configuration, whose keys become the parameters of a new run.
        folder: the run folder, which gives the name.
        known: id of the run, where it is resumed.
    """

    CURE = "Correct MLFLOW_TRACKING_URI, or start its server"

    def __init__(self, config: Config, folder: Path, known: str | None) -> None:
        self._mlflow: Any = importlib.import_module("mlflow")
        self._client: Any = self._mlflow.MlflowClient()
        self._pending: list[Any] = []
        self._last: dict[str, float] = {}
        self._resumed = known is not None
        if known is None:
            self.id: str = self._begin(config, folder.name)
        else:
            self.id = known
            self._client.update_run(known, status="RUNNING")

    def _begin(self, config: Config, name: str) -> str:
        project = config.trainer.project
        found = self._client.get_experiment_by_name(project)
        experiment = found.experiment_id if found else self._client.create_experiment(project)
        started: str = self._client.create_run(experiment, run_name=name).info.run_id
        parameters = [
            self._mlflow.entities.Param(f"{section}.{key}", str(value)[:_LONGEST])
            for section, keys in config.model_dump(mode="json").items()
            for key, value in (keys.items() if isinstance(keys, dict) else [("value", keys)])
        ]
        for start in range(0, len(parameters), 100):  # as many as a server takes at once
            self._client.log_batch(started, params=parameters[start : start + 100])
        return started

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """See `Logger`."""
        now = int(time.time() * 1000)
        metric = self._mlflow.entities.Metric
        self._pending += [metric(name, value, now, step) for name, value in values.items() if self._is_new(name, step)]
        if len(self._pending) >= _BATCH:
            self.flush()

    def _is_new(self, name: str, step: int) -> bool:
        """Tell whether the resumed run lacks this value; MLflow keeps whatever is sent twice. Asked for once a name."""
        if name not in self._last:
            history = self._client.get_metric_history(self.id, name) if self._resumed else []
            self._last[name] = max((metric.step for metric in history), default=-math.inf)
        return step > self._last[name]

    def image(self, name: str, pixels: NDArray[np.uint8], step: int) -> None:
        """See `Logger`."""
        self._client.log_image(self.id, pixels, f"{name}/step-{step:06}.png")

    def flush(self) -> None:
        """See `Logger`."""
        for start in range(0, len(self._pending), _BATCH):
            self._client.log_batch(self.id, metrics=self._pending[start : start + _BATCH])
        self._pending.clear()

    def close(self) -> None:
        """See `Logger`."""
        self.flush()
        self._client.set_terminated(self.id)
