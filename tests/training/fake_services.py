"""Stand-ins for the packages of Weights & Biases and MLflow, which keep what they are given."""

from types import SimpleNamespace
from typing import Any

import numpy as np

Points = dict[str, list[int]]


class Service:
    """What stand-ins of both packages share: what was logged, and a failure when it is wanted."""

    def __init__(self) -> None:
        self.points: dict[str, list[int]] = {}
        self.started: list[dict[str, Any]] = []
        self.ended = 0
        self.down = False

    def take(self, name: str, step: int) -> None:
        self.require()
        self.points.setdefault(name, []).append(step)

    def require(self) -> None:
        if self.down:
            raise ConnectionError("network is unreachable\nmore")


class FakeWandB(Service):
    """As much of wandb as is used; `step` is the one after the last that was logged, as after a resume."""

    step = 0

    def Image(self, pixels: np.ndarray) -> np.ndarray:  # noqa: N802
        return pixels

    def Settings(self, **values: object) -> dict[str, object]:  # noqa: N802
        return values

    def init(self, **arguments: Any) -> "FakeWandB":
        self.require()
        self.started.append(arguments)
        self.step = max((step for steps in self.points.values() for step in steps), default=-1) + 1
        return self

    def log(self, values: dict[str, object], step: int) -> None:
        assert step >= self.step, "wandb would ignore it with a warning"
        self.step = step
        for name in values:
            self.take(name, step)

    def finish(self) -> None:
        self.ended += 1


class FakeMLflow(Service):
    """As much of mlflow as is used."""

    def __init__(self) -> None:
        super().__init__()
        self.entities = SimpleNamespace(
            Metric=lambda name, value, time, step: (name, value, step), Param=lambda name, value: (name, value)
        )
        self.parameters: dict[str, str] = {}
        self.experiments: list[str] = []
        self.pictures: list[str] = []
        self.states: list[str] = []

    def MlflowClient(self) -> "FakeMLflow":  # noqa: N802
        return self

    def get_experiment_by_name(self, name: str) -> SimpleNamespace | None:
        self.require()
        return SimpleNamespace(experiment_id=name) if name in self.experiments else None

    def create_experiment(self, name: str) -> str:
        self.experiments.append(name)
        return name

    def create_run(self, experiment: str, run_name: str) -> SimpleNamespace:
        self.started.append({"experiment": experiment, "name": run_name})
        return SimpleNamespace(info=SimpleNamespace(run_id=f"run{len(self.started)}"))

    def update_run(self, run: str, status: str) -> None:
        self.require()
        self.states.append(f"{run} {status}")

    def log_batch(self, run: str, metrics: Any = (), params: Any = ()) -> None:
        assert run == "run1"
        assert len(metrics) <= 1000
        assert len(params) <= 100
        self.parameters |= dict(params)
        for name, _, step in metrics:
            self.take(name, step)

    def get_metric_history(self, run: str, name: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(step=step) for step in self.points.get(name, [])]

    def log_image(self, run: str, pixels: np.ndarray, file: str) -> None:
        self.pictures.append(file)

    def set_terminated(self, run: str) -> None:
        self.ended += 1
