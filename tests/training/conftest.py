"""Fixtures of several files: a run of a second, and its configuration."""

from collections.abc import Callable
from pathlib import Path

import pytest

from seg_scse.config import load_config
from seg_scse.training import run

from .small import RUNS, Net, trainer


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the folder of an uninterrupted run, by name."""
    base, made = tmp_path_factory.mktemp("uninterrupted"), {}

    def run(name: str) -> Path:
        if name not in made:
            trainer(base / name, *RUNS[name], model=Net).fit()
            made[name] = base / name
        return made[name]

    return run


@pytest.fixture(scope="session")
def small(tiny: list[str]) -> list[str]:
    """Overrides for a run of a second."""
    network = ["model.architecture=classic_unet", "model.width=4", "model.depth=2", "model.decoder_channels=null"]
    return [*tiny, *network, "model.attention.type=none", "trainer.panel=0", "trainer.workers=0"]


@pytest.fixture(scope="session")
def small_run(small: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run with the settings of `small`; to be copied before it is changed."""
    folder = tmp_path_factory.mktemp("faults") / "run"
    run.start(load_config(None, small), folder, lambda _: {})
    return folder


@pytest.fixture(scope="session")
def file(small: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration as a file, for the command line."""
    path = tmp_path_factory.mktemp("config") / "run.yaml"
    path.write_text("{}\n")
    return path
