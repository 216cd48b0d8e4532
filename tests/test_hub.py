"""Folders to share: the same network comes back, and what is no such folder is refused in one line."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from seg_scse import checkpoint, from_pretrained, save_pretrained
from seg_scse.config.schema import Config
from seg_scse.errors import CheckpointError, ConfigError, DataError
from seg_scse.evaluation.loaded import build_predictor, load_run
from seg_scse.models import build_model, weights

SECRET = "/data/somebody/patients"


def write_run(
    folder: Path, channels: int = 3, state: Any = None, weights: str | None = None, seed: int = 0, **data: Any
) -> Path:
    """Write a run folder with an untrained network."""
    config = Config.model_validate(
        {
            "name": "drawn",
            "data": {"root": SECRET, "images": f"{SECRET}/images", "masks": f"{SECRET}/masks", **data},
            "model": {
                "architecture": "classic_unet",
                "width": 8,
                "depth": 2,
                "attention": {"type": "scse"},
                "weights": weights,
            },
            "trainer": {"crop": 32},
            "evaluation": {"threshold": 0.4, "overlap": 0.5, "blend": "gaussian", "margin": 4},
        }
    )
    torch.manual_seed(seed)
    model = build_model(config.model.without_weights(), channels, len(config.data.classes), config.data.task)
    for name, value in model.state_dict().items():
        if "running" in name:  # not those of a fresh network
            value.uniform_(0.5, 1.5)
    content = {
        "config": config.model_dump(mode="json"),
        "data_digest": "d" * 64,
        "mean": [0.4] * channels,
        "std": [0.2 + 0.01 * band for band in range(channels)],
        "scale": state,
        "model": model.state_dict(),
        "progress": {"epoch": 3, "step": 30},
        "splits": {"a": "train", "b": "test"},
    }
    checkpoint.save(folder / checkpoint.BEST, content)
    return folder


MULTILABEL = {
    "task": "multilabel",
    "classes": ("none", "lung", "heart"),
    "masks": f"{SECRET}/masks/{{class}}",
    "mask": {"encoding": "files"},
}
KINDS = {
    "two classes": {},
    "three classes": {"classes": ("background", "round", "long")},
    "labels": MULTILABEL,
}


def pixels(bands: int = 3, size: tuple[int, int] = (45, 70), dtype: Any = np.uint8) -> np.ndarray:
    top = 256 if dtype == np.uint8 else 4000
    return np.random.default_rng(0).integers(0, top, (*size, bands)).astype(dtype)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_pretrained(write_run(tmp_path / "run"), tmp_path / "net")


@pytest.mark.parametrize("kind", KINDS)
def test_weights_and_predictions_come_back_to_the_bit(tmp_path: Path, kind: str) -> None:
    run = write_run(tmp_path / "run", **KINDS[kind])
    network = from_pretrained(save_pretrained(run, tmp_path / "net"))
    loaded = load_run(run, "best")
    ours, theirs = network.model.state_dict(), loaded.state["model"]
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) and ours[key].dtype == theirs[key].dtype for key in theirs)
    predictor, image = build_predictor(loaded, torch.device("cpu")), pixels()
    expected = predictor.probabilities(image)
    assert torch.equal(network.probabilities(image), expected)
    assert np.array_equal(network.predict(image), predictor.labels(expected))
    assert network.predict(image).dtype == np.uint8
    assert not network.model.training
    assert network.classes == loaded.config.data.classes


def test_a_folder_of_an_earlier_version_says_nothing_of_blending(folder: Path) -> None:
    evaluation = from_pretrained(folder).config.evaluation
    assert (evaluation.blend, evaluation.margin) == ("gaussian", 4)
    changed(folder, blend=None, margin=None)
    evaluation = from_pretrained(folder).config.evaluation
    assert (evaluation.blend, evaluation.margin) == ("linear", 0)


def test_a_class_is_present_above_the_threshold_of_the_folder(folder: Path) -> None:
    image = pixels()
    probabilities = from_pretrained(folder).probabilities(image)[0]
    assert facts_of(folder)["threshold"] == 0.4
    changed(folder, threshold=float(probabilities.median()))
    labels = from_pretrained(folder).predict(image)
    assert np.array_equal(labels, (probabilities > probabilities.median()).numpy())
    assert 0 < labels.mean() < 0.6


def test_a_file_gives_what_its_pixels_give(folder: Path, tmp_path: Path) -> None:
    network, image = from_pretrained(folder), pixels()
    Image.fromarray(image).save(tmp_path / "image.png")
    for name in (tmp_path / "image.png", str(tmp_path / "image.png")):
        assert torch.equal(network.probabilities(name), network.probabilities(image))


def test_bands_are_scaled_as_in_training(tmp_path: Path) -> None:
    scale = {"low": [100.0, 200.0], "high": [2000.0, 3000.0]}
    run = write_run(tmp_path / "run", 2, scale, bands=["nir", "swir"], scale={"method": "percentile"})
    network = from_pretrained(save_pretrained(run, tmp_path / "net"))
    image = pixels(2, dtype=np.uint16)
    scaled = np.clip((image.astype(np.float32) - [100, 200]) / np.float32([1900, 2800]), 0, 1).astype(np.float32)
    predictor = build_predictor(load_run(run, "best"), torch.device("cpu"))
    assert torch.allclose(network.probabilities(image), predictor.probabilities(scaled), atol=1e-6)
    np.save(tmp_path / "image.npy", image)
    assert torch.equal(network.probabilities(tmp_path / "image.npy"), network.probabilities(image))
    assert network.bands == ("nir", "swir")


def test_nothing_in_the_folder_says_where_somebodys_files_are(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", weights=f"{SECRET}/start.safetensors", **MULTILABEL)
    folder = save_pretrained(run, tmp_path / "net", "mit", "A. Name")
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    for path in folder.iterdir():
        assert b"somebody" not in path.read_bytes()
        assert str(tmp_path).encode() not in path.read_bytes()


def test_a_checkpoint_file_by_itself_is_enough(tmp_path: Path) -> None:
    file = write_run(tmp_path / "run") / checkpoint.BEST
    shutil.copy(file, tmp_path / "alone.ckpt")
    network = from_pretrained(save_pretrained(tmp_path / "alone.ckpt", tmp_path / "net"))
    assert network.facts["checkpoint"]["epoch"] == 3


def test_weights_start_a_new_run_of_the_same_network(folder: Path) -> None:
    config = {"architecture": "classic_unet", "width": 8, "depth": 2, "attention": {"type": "scse"}}
    model, saved = build_model({**config, "weights": str(folder / "model.safetensors")}), from_pretrained(folder).model
    assert all(torch.equal(value, saved.state_dict()[key]) for key, value in model.state_dict().items())


def test_an_earlier_network_is_replaced_and_other_files_are_not(folder: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "other", classes=("a", "b", "c"))
    assert from_pretrained(save_pretrained(run, folder)).classes == ("a", "b", "c")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="full: holds other files, which are not overwritten"):
        save_pretrained(run, tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["notes.txt"]
    with pytest.raises(ConfigError, match="is a file"):
        save_pretrained(run, tmp_path / "full" / "notes.txt")


def test_an_evaluation_that_cannot_be_read_leaves_an_earlier_network_as_it_was(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    folder = save_pretrained(run, tmp_path / "network")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (run / "evaluation" / "test").mkdir(parents=True)
    (run / "evaluation" / "test" / "results.json").write_text('{"format": 1}')
    with pytest.raises(DataError, match="is of format 1"):
        save_pretrained(run, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_an_identifier_of_a_license_is_one_word(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'CC BY' is no identifier of the Hugging Face Hub"):
        save_pretrained(write_run(tmp_path / "run"), tmp_path / "net", "CC BY")
    assert not (tmp_path / "net").exists()


def changed(folder: Path, **changes: Any) -> None:
    """Change keys of `config.json`; None removes one."""
    facts = facts_of(folder) | changes
    (folder / "config.json").write_text(
        json.dumps({key: facts[key] for key in facts if changes.get(key, 0) is not None})
    )


def facts_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return found


def damage_weights(folder: Path) -> None:
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-5] ^= 1
    (folder / "model.safetensors").write_bytes(data)


def other_weights(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    state.pop(next(iter(state)))
    save_file(state, folder / "model.safetensors")
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    changed(folder, weights={"file": "model.safetensors", "sha256": digest})


REFUSED = {
    "no config": (lambda f: (f / "config.json").unlink(), "holds no config.json, so it is no network to load"),
    "no json": (lambda f: (f / "config.json").write_text("{"), "config.json: is damaged"),
    "a list": (lambda f: (f / "config.json").write_text("[]"), "describes no network of seg-scse"),
    "foreign": (lambda f: changed(f, library_name="transformers"), "Load it with the library that wrote it"),
    "newer": (lambda f: changed(f, format=2), "format 2 is newer than 1. Upgrade seg-scse"),
    "no format": (lambda f: changed(f, format=None), "is damaged .format None."),
    "format 0": (lambda f: changed(f, format=0), "is damaged .format 0."),
    "nested without end": (lambda f: (f / "config.json").write_text("[" * 100_000), "config.json: is damaged"),
    "a place of files": (
        lambda f: changed(f, data={**facts_of(f)["data"], "root": "/etc", "images": "x"}),
        "is damaged .data: images, root.",
    ),
    "an unknown network": (
        lambda f: changed(f, model={"architecture": "unett"}),
        "cannot be built here: `model.architecture` = 'unett'",
    ),
    "no number for a mean": (lambda f: changed(f, mean=[0.1, 0.1, float("nan")]), "must be finite, std above 0"),
    "a deviation of 0": (lambda f: changed(f, std=[0.1, 0.0, 0.1]), "must be finite, std above 0"),
    "another key": (lambda f: changed(f, model={"kind": "x"}), "differs from what this version .* reads in model.kind"),
    "a missing key": (lambda f: changed(f, std=None), "is damaged"),
    "too few means": (lambda f: changed(f, mean=[0.1], std=[0.1]), "3 bands, but 1 means"),
    "text for means": (lambda f: changed(f, mean=["a", "b", "c"]), "is damaged"),
    "scale without bounds": (lambda f: changed(f, scale={"low": [0]}), "is damaged .'high'."),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors: cannot be read"),
    "damaged weights": (damage_weights, "its SHA-256 is .*, not the one in config.json: it is damaged"),
    "other weights": (other_weights, "made by another model: 1 tensors missing"),
    "other classes": (
        lambda f: changed(f, data={**facts_of(f)["data"], "classes": ["a", "b", "c"]}),
        "of another shape",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_folder_that_is_no_whole_network_is_refused_in_one_line(folder: Path, case: str) -> None:
    damage, text = REFUSED[case]
    damage(folder)
    with pytest.raises(CheckpointError, match=text) as found:
        from_pretrained(folder)
    assert "\n" not in str(found.value)
    assert str(folder) in str(found.value)


def test_weights_of_elsewhere_named_in_a_folder_are_not_read(folder: Path) -> None:
    expected = from_pretrained(folder).model.state_dict()
    changed(folder, model=facts_of(folder)["model"] | {"weights": "/elsewhere/model.safetensors"})
    found = from_pretrained(folder).model.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_run_folder_is_told_from_a_network_to_load(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    with pytest.raises(CheckpointError, match=f"`seg-scse card {run}` makes one of a run"):
        from_pretrained(run)


@pytest.mark.parametrize(
    ("image", "text"),
    [
        (np.zeros((8, 8), np.uint8), r"an image of shape \(8, 8\), but the network sees \(H, W, 3\): red, green, blue"),
        (np.zeros((8, 8, 4), np.uint8), r"an image of shape \(8, 8, 4\)"),
        (np.zeros((8, 8, 3), np.int16), "pixels of type int16: give uint8, uint16"),
        (np.full((8, 8, 3), 2, np.float32), r"float32 pixels from 2 to 2: they must be in \[0, 1\]"),
        (np.full((8, 8, 3), np.nan, np.float32), "float32 pixels from nan to nan: they must be in"),
        (np.zeros((0, 8, 3), np.uint8), r"an image of shape \(0, 8, 3\) has no pixels"),
        ("nowhere.png", "nowhere.png: no such file"),
    ],
)
def test_an_image_that_training_never_saw_is_refused(folder: Path, image: Any, text: str) -> None:
    with pytest.raises(DataError, match=text):
        from_pretrained(folder).predict(image)


def test_pixels_without_their_file_are_refused_where_each_file_is_measured(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 1, bands=["x"], scale={"method": "percentile", "per": "file"})
    network = from_pretrained(save_pretrained(run, tmp_path / "net"))
    with pytest.raises(DataError, match="name the file instead of its pixels"):
        network.predict(pixels(1, dtype=np.uint16))
    np.save(tmp_path / "image.npy", pixels(1, dtype=np.uint16))
    assert network.predict(tmp_path / "image.npy").shape == (45, 70)


@pytest.fixture
def hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A Hub that has one repository and notes what it is asked for."""
    asked: list[dict[str, Any]] = []

    def snapshot_download(repo_id: str, **wanted: Any) -> str:
        asked.append({"repo_id": repo_id, "offline": huggingface_hub.constants.HF_HUB_OFFLINE, **wanted})
        if repo_id != "somebody/net":
            raise huggingface_hub.errors.LocalEntryNotFoundError("cannot find it\nlong text")
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(weights, "_hub_is_reachable", lambda: False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    return asked


def test_a_repository_of_the_hub_is_downloaded_at_its_revision(hub: list[dict[str, Any]]) -> None:
    assert from_pretrained("somebody/net", "v1").classes == ("background", "foreground")
    assert from_pretrained("somebody/net", local_files_only=True).facts["name"] == "drawn"
    names = ["config.json", "model.safetensors"]
    common = {"repo_id": "somebody/net", "allow_patterns": names}
    assert hub == [
        {**common, "offline": True, "revision": "v1", "local_files_only": False},  # no minute of vain attempts
        {**common, "offline": False, "revision": None, "local_files_only": True},
    ]


def test_without_a_network_the_cure_is_said_in_one_line(hub: list[dict[str, Any]]) -> None:
    with pytest.raises(
        CheckpointError, match=r"\(cannot find it\).*`hf download somebody/other --local-dir DIR`"
    ) as found:
        from_pretrained("somebody/other")
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("name", ["/no/where", "./nowhere", "nowhere", "a/b/c", "a b/c"])
def test_a_path_that_is_not_there_asks_no_hub(hub: list[dict[str, Any]], name: str) -> None:
    with pytest.raises(CheckpointError, match="no such folder, and no `owner/name`"):
        from_pretrained(name)
    assert hub == []
