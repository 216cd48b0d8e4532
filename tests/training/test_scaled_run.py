"""Bands of other types from training to evaluation: one scale, kept in the checkpoint and used again."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seg_scse import checkpoint
from seg_scse.config.loading import load_config
from seg_scse.errors import Stopped
from seg_scse.evaluation.evaluate import evaluate
from seg_scse.evaluation.explain import explain
from seg_scse.evaluation.loaded import data_of, load_run
from seg_scse.training import run

from .test_run import stop_after

BANDS = 5


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scaled")
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / "data" / folder).mkdir(parents=True)
    for i in range(9):
        mask = np.zeros((48, 48), np.uint8)
        mask[i : i + 20, 10:30] = 1
        image = rng.normal(200, 60, (48, 48, BANDS)) + 900.0 * mask[..., None]
        image[:4, :5] = -1
        np.save(root / f"data/images/{i}.npy", image.astype(np.int16))
        Image.fromarray(mask).save(root / f"data/masks/{i}.png")
    folder = root / "run"
    run.start(load_config(None, settings(root)), folder, lambda _: {})
    return folder


def settings(root: Path) -> list[str]:
    return [
        f"data.root={root / 'data'}",
        f"data.cache={root / 'cache'}",
        f"data.bands=[{', '.join(f'b{i}' for i in range(BANDS))}]",
        "data.nodata=-1",
        "data.scale.method=percentile",
        "model.encoder=resnet18",
        "model.decoder_channels=[16, 16, 8, 8, 8]",
        "model.attention.type=scse",
        "augmentation.preset=medium",
        "trainer.crops=class",
        "trainer.crop=32",
        "trainer.batch_size=2",
        "trainer.max_epochs=1",
        "trainer.tensorboard=false",
        "trainer.device=cpu",
    ]


def test_the_scale_is_kept_and_used_again(finished: Path) -> None:
    state = checkpoint.load(finished / checkpoint.BEST)[0]
    assert len(state["mean"]) == len(state["scale"]["low"]) == BANDS
    assert all(low < 300 and high > 900 for low, high in zip(*state["scale"].values(), strict=True))
    loaded = load_run(finished, "best")
    assert data_of(loaded).store.scales.as_state() == state["scale"]
    loaded.state["scale"]["high"][0] = 5000.0  # type: ignore[index]
    assert data_of(loaded).store.scales.shared.high[0] == 5000


def test_evaluation_and_explanation_see_all_bands(finished: Path, tmp_path: Path) -> None:
    found = evaluate(finished, "test", "best")
    assert found is not None
    with Image.open(found[0] / "cases" / "0.image.png") as picture:
        assert (picture.mode, picture.size) == ("RGB", (48, 48))
    file = tmp_path / "foreign.npy"
    np.save(file, np.load(finished.parent / "data/images/0.npy"))
    _, content = explain(finished, "test", "best", images=[str(file)], limit=0, out=tmp_path / "a")
    _, known = explain(finished, "test", "best", images=["0"], limit=0, out=tmp_path / "b")
    arrays, same = (dict(np.load(tmp_path / name / "pages/0.npz")) for name in ("a", "b"))
    assert content["pages"][0]["size"] == known["pages"][0]["size"] == [48, 48]
    assert arrays["image"].dtype == np.uint8
    assert arrays["image"].shape[2] == 3
    assert all(np.array_equal(arrays[name], same[name]) for name in arrays)


def test_a_run_resumes_with_its_scale_whatever_is_cached_and_which_keys_came_later(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    stop_after(monkeypatch, 2)
    with pytest.raises(Stopped):
        run.start(load_config(finished / "config.yaml"), folder, lambda _: {})
    state = checkpoint.load(folder / checkpoint.LAST)[0]
    del state["config"]["data"]["cache_gb"], state["config"]["trainer"]["crops_share"], state["format"]
    checkpoint.save(folder / checkpoint.LAST, state)
    assert run.resume(folder, lambda _: {}, ["data.cache_gb=0.00001"]).progress.finished
    weights, expected = (checkpoint.load(place / checkpoint.LAST)[0] for place in (folder, finished))
    assert weights["scale"] == expected["scale"]
    assert all(torch.equal(weights["model"][key], expected["model"][key]) for key in expected["model"])
