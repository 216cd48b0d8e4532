"""A trained network, inputs, and the results of an undisturbed prediction of them."""

from pathlib import Path

import pytest

from .predicting import ALL, SCENE, draw_scene, predict, scenes_from, trained_run


@pytest.fixture(scope="session")
def run(discs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the discs, with tiles of 32 pixels."""
    return trained_run(tmp_path_factory.mktemp("predicting"), discs)


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one scene and two images."""
    folder = tmp_path_factory.mktemp("scenes") / "in"
    draw_scene(folder / "a" / "scene.tif")
    for seed in (1, 2):
        draw_scene(folder / f"small{seed}.tif", seed, (48, 56))
    return folder


@pytest.fixture(scope="session")
def whole(run: Path, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of one process that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    with pytest.MonkeyPatch.context() as patch:
        scenes_from(SCENE, patch.setattr)
        assert predict(run, scenes, folder, *ALL) == 0
    return folder


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let images of 10,000 pixels be scenes."""
    scenes_from(SCENE, monkeypatch.setattr)
