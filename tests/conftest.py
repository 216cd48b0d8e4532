"""What all tests share."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# The tests run on all cores by processes; threads on top of them would only get in each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep decoded samples out of the user's cache; the folder is shared by the processes of a test run."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / "cache"
    previous = os.environ.get("SEG_SCSE_CACHE")
    os.environ["SEG_SCSE_CACHE"] = str(folder)
    yield folder
    if previous is None:
        del os.environ["SEG_SCSE_CACHE"]
    else:
        os.environ["SEG_SCSE_CACHE"] = previous


def draw_folders(root: Path, count: int = 12, size: tuple[int, int] = (48, 56)) -> Path:
    """Draw `count` pairs of grey images with a bright disc and 0/255 masks into root/images and root/masks."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for index in range(count):
        random = np.random.default_rng(index)
        y, x, radius = random.uniform(15, 33), random.uniform(15, 33), random.uniform(6, 12)
        disc = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
        image = np.clip(60 + 110 * disc + random.normal(0, 12, size), 0, 255).astype(np.uint8)
        Image.fromarray(image).save(root / "images" / f"s{index:02}.png")
        Image.fromarray((255 * disc).astype(np.uint8)).save(root / "masks" / f"s{index:02}.png")
    return root


@pytest.fixture(scope="session")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with twelve drawn pairs."""
    return draw_folders(tmp_path_factory.mktemp("discs"))


@pytest.fixture(scope="session")
def tiny(discs: Path) -> list[str]:
    """Overrides for a run on the discs that takes seconds."""
    return [
        f"data.root={discs}",
        "data.mask.encoding=binary",
        "data.split.train=0.5",
        "data.split.val=0.25",
        "data.split.test=0.25",
        "model.decoder_channels=[32, 16, 16, 8, 8]",
        "model.attention.type=scse",
        "trainer.crop=32",
        "trainer.batch_size=2",
        "trainer.max_epochs=3",
        "trainer.tensorboard=false",
        "evaluation.overlays=1",
    ]


@pytest.fixture(scope="session")
def trained(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the discs, trained from the quickstart, whose card gives way to the drawn folders."""
    from seg_scse.cli import main

    folder = tmp_path_factory.mktemp("cli") / "run"
    quickstart = str(Path(__file__).parents[1] / "configs" / "quickstart.yaml")
    own = ["data.card=null", "trainer.repeats=1", "optimizer.warmup_steps=0", "trainer.val_every=1"]
    assert main(["train", "--config", quickstart, "--out", str(folder), *tiny, *own]) == 0
    return folder


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[[list[str], int], str]:
    """Run a command that must fail, and return its message after checking that it is short and clear."""
    from seg_scse.cli import main

    def run(arguments: list[str], code: int) -> str:
        assert main(arguments) == code
        message = capsys.readouterr().err
        assert message.startswith("error: ")
        assert "Traceback" not in message
        return message

    return run
