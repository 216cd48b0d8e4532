"""`load`: whatever a network lies in, images of any size become label maps in one line."""

import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import rasterio
import torch
from PIL import Image

from seg_scse import checkpoint, from_pretrained, load, save_pretrained
from seg_scse.cli import main
from seg_scse.errors import CheckpointError, ConfigError, DataError
from seg_scse.evaluation.loaded import build_predictor, load_run

from .test_hub import KINDS, folder, hub, pixels, write_run

__all__ = ["folder", "hub"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run")


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_predicts_as_in_its_evaluation(tmp_path: Path, kind: str) -> None:
    run = write_run(tmp_path / "run", **KINDS[kind])
    model, image = load(run), pixels()
    predictor = build_predictor(load_run(run, "best"), torch.device("cpu"))
    expected = predictor.probabilities(image)
    labels, probabilities = model.predict(image), model.predict_probabilities(image)
    assert labels.dtype == np.uint8
    assert np.array_equal(labels, predictor.labels(expected))
    assert probabilities.dtype == np.float32
    assert np.array_equal(probabilities, expected.numpy())
    assert len(model.planes) == len(probabilities)
    assert model.classes == load_run(run, "best").config.data.classes


def test_each_plane_of_probabilities_has_a_name(tmp_path: Path) -> None:
    named = {kind: load(write_run(tmp_path / kind, **KINDS[kind])).planes for kind in KINDS}
    assert named == {
        "two classes": ("foreground",),
        "three classes": ("background", "round", "long"),
        "labels": ("lung", "heart"),
    }


def test_run_checkpoint_shared_folder_and_hub_are_one_network(run: Path, tmp_path: Path, hub: Any) -> None:
    shutil.copy(run / checkpoint.BEST, tmp_path / "alone.ckpt")
    folder, image = save_pretrained(run, tmp_path / "net"), pixels()
    expected = load(run).predict_probabilities(image)
    for source in (str(run), tmp_path / "alone.ckpt", run / checkpoint.BEST, folder, "somebody/net"):
        assert np.array_equal(load(source).predict_probabilities(image), expected), source
    assert np.array_equal(from_pretrained(folder).predict(image), load(run).predict(image))
    assert [asked["repo_id"] for asked in hub] == ["somebody/net"]


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (31, 31), (32, 32), (33, 90), (45, 70)])
def test_any_size_comes_back_as_it_was(run: Path, size: tuple[int, int]) -> None:
    model = load(run)
    assert model.predict(pixels(size=size)).shape == size
    assert model.predict_probabilities(pixels(size=size)).shape == (1, *size)


def test_files_and_other_forms_of_an_array_give_the_same(run: Path, tmp_path: Path) -> None:
    model, image = load(run), pixels()
    Image.fromarray(image).save(tmp_path / "image.png")
    np.save(tmp_path / "image.npy", image)
    mapped = np.load(tmp_path / "image.npy", mmap_mode="r")
    mirrored = np.ascontiguousarray(image[:, ::-1])[:, ::-1]
    forms = [tmp_path / "image.png", tmp_path / "image.npy", mapped, mirrored, Image.fromarray(image)]
    expected = model.predict(image)
    assert all(np.array_equal(model.predict(form), expected) for form in forms)


def test_bands_come_in_the_units_of_the_files(tmp_path: Path) -> None:
    scale = {"low": [100.0, 200.0], "high": [2000.0, 3000.0]}
    run = write_run(tmp_path / "run", 2, scale, bands=["nir", "swir"], scale={"method": "percentile"})
    image = pixels(2, dtype=np.uint16)
    scaled = np.clip((image.astype(np.float32) - [100, 200]) / np.float32([1900, 2800]), 0, 1).astype(np.float32)
    predictor, model = build_predictor(load_run(run, "best"), torch.device("cpu")), load(run)
    assert np.allclose(model.predict_probabilities(image), predictor.probabilities(scaled).numpy(), atol=1e-6)
    assert model.bands == ("nir", "swir")
    shared = load(save_pretrained(run, tmp_path / "net"))
    assert np.array_equal(shared.predict_probabilities(image), model.predict_probabilities(image))
    np.save(tmp_path / "image.npy", image)
    assert np.array_equal(model.predict(tmp_path / "image.npy"), model.predict(image))
    with pytest.raises(DataError, match="the pixels hold NaN or infinity: fill them first"):
        model.predict(np.full((8, 8, 2), np.inf, np.float32))
    with pytest.raises(DataError, match="pixels of type complex128: give integers or floats"):
        model.predict(np.ones((8, 8, 2), complex))


def test_a_map_has_the_place_of_its_scene_and_no_data_where_that_has_none(tmp_path: Path) -> None:
    scene, transform = pixels(4, size=(80, 70)), rasterio.Affine(10, 0, 500_000, 0, -10, 9_000_000)
    scene[20:75, :] = 0
    scene[30:70, 30:33] = 9
    model = load(write_run(tmp_path / "run", 4, bands=("red", "green", "blue", "nir")))
    profile = {"driver": "GTiff", "height": 80, "width": 70, "count": 4, "dtype": "uint8", "nodata": 0}
    with rasterio.open(tmp_path / "scene.tif", "w", **profile, crs="EPSG:32750", transform=transform) as target:
        target.write(scene.transpose(2, 0, 1))
    assert model.predict_file(tmp_path / "scene.tif", str(tmp_path / "map.tif")) == tmp_path / "map.tif"
    model.predict_file(str(tmp_path / "scene.tif"), tmp_path / "map.png")
    command = ["predict", str(tmp_path / "run"), "--input", str(tmp_path / "scene.tif"), "--output"]
    assert main([*command, str(tmp_path / "commanded.tif")]) == 0
    assert (tmp_path / "commanded.tif").read_bytes() == (tmp_path / "map.tif").read_bytes()
    with rasterio.open(tmp_path / "map.tif") as found:
        assert (found.crs.to_epsg(), found.transform, found.nodata) == (32750, transform, 255)
        labels = found.read(1)
    valid = (scene != 0).any(-1)
    assert np.array_equal(labels[valid], model.predict(tmp_path / "scene.tif")[valid])
    assert (labels[~valid] == 255).all()
    assert np.array_equal(np.asarray(Image.open(tmp_path / "map.png")), labels)


def test_what_cannot_become_one_map_is_refused_and_writes_nothing(run: Path, tmp_path: Path) -> None:
    model = load(run)
    Image.fromarray(pixels()).save(tmp_path / "image.png")
    nibabel.save(nibabel.Nifti1Image(np.zeros((8, 8, 3), np.uint8), np.eye(4)), tmp_path / "volume.nii.gz")
    with pytest.raises(DataError, match="no such file"):
        model.predict_file(tmp_path / "other.png", tmp_path / "map.png")
    with pytest.raises(DataError, match=r"volume\.nii\.gz: is a volume, no image: `seg-scse predict`"):
        model.predict_file(tmp_path / "volume.nii.gz", tmp_path / "map.png")
    with pytest.raises(ConfigError, match=r"label maps are written as \.png, \.tif, \.tiff"):
        model.predict_file(tmp_path / "image.png", tmp_path / "map.jpg")
    with pytest.raises(ConfigError, match=r"image\.png: is the image itself, which would be overwritten"):
        model.predict_file(tmp_path / "image.png", tmp_path / "image.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "image.png")), pixels())
    assert [path.name for path in tmp_path.glob("map*")] == []


def test_an_array_is_scaled_by_rows_of_tiles_and_never_whole(tmp_path: Path) -> None:
    scale = {"low": [100.0, 200.0], "high": [2000.0, 3000.0]}
    run = write_run(tmp_path / "run", 2, scale, bands=["nir", "swir"], scale={"method": "percentile"})
    model, image = load(run, overlap=0.0, margin=0), pixels(2, (3000, 32), np.uint16)
    model.predict(image[:64])
    tracemalloc.start()
    labels = model.predict(image)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert labels.nbytes < peak < 3 * labels.nbytes, "scaled as a whole, the image alone takes 8 times the labels"


def test_several_networks_give_their_mean(run: Path, tmp_path: Path) -> None:
    other = save_pretrained(write_run(tmp_path / "other", seed=1), tmp_path / "net")
    image = pixels()
    single = [load(one).predict_probabilities(image) for one in (run, other)]
    assert not np.allclose(*single, atol=1e-3)
    both = load(run, other)
    assert np.allclose(both.predict_probabilities(image), np.mean(single, 0), atol=1e-6)
    assert "run + net: 2 networks, classes background, foreground" in repr(both)


def test_each_network_of_several_sees_a_file_in_its_own_scale(tmp_path: Path) -> None:
    own = {"bands": ["x"], "scale": {"method": "percentile"}}
    runs = [
        write_run(tmp_path / str(high), 1, {"low": [0.0], "high": [float(high)]}, seed=high, **own)
        for high in (2000, 4000)
    ]
    image = pixels(1, dtype=np.uint16)
    np.save(tmp_path / "image.npy", image)
    expected = np.mean([load(run).predict_probabilities(image) for run in runs], 0)
    for form in (image, tmp_path / "image.npy"):
        assert np.allclose(load(*runs).predict_probabilities(form), expected, atol=1e-6)


def test_a_cross_validation_stands_for_its_folds(tmp_path: Path) -> None:
    folds = [write_run(tmp_path / "crossed" / f"fold{number}", seed=number) for number in range(2)]
    (tmp_path / "crossed" / "config.yaml").write_text("data: {split: {folds: 2}}")
    image = pixels()
    expected = load(*folds).predict_probabilities(image)
    assert np.array_equal(load(tmp_path / "crossed").predict_probabilities(image), expected)


def test_settings_of_the_evaluation_can_be_others(run: Path, tmp_path: Path) -> None:
    folder = save_pretrained(run, tmp_path / "net")
    chosen: dict[str, Any] = {"tta": "flips", "scales": (1.0, 1.5), "threshold": 0.7, "overlap": 0.25, "batch_size": 2}
    for source in (run, folder):
        (kept,) = load(source).network.members
        assert (kept.tta, kept.threshold, kept.overlap, kept.blend, kept.margin) == ("none", 0.4, 0.5, "gaussian", 4)
        (member,) = load(source, precision="bf16", blend="linear", margin=0, **chosen).network.members
        assert {name: getattr(member, name) for name in chosen} == chosen
        assert (member.precision, member.blend, member.margin) == ("bf16", "linear", 0)
    changed = load(run, tta="d4").predict_probabilities(pixels())
    assert not np.array_equal(changed, load(run).predict_probabilities(pixels()))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"trehshold": 0.3}, "unknown key `evaluation.trehshold`; did you mean `threshold`?"),
        ({"threshold": 2.0}, "evaluation.threshold = 2.0: "),
        ({"tta": "flip"}, "evaluation.tta = 'flip': must be 'none', 'flips' or 'd4'; did you mean `flips`?"),
        ({"device": "gpu"}, "device='gpu' is none of torch's. Use auto, cpu, cuda, or cuda:1"),
        ({"device": "cuda:99"}, "device='cuda:99', but torch sees "),
        ({"precision": "fp16", "device": "cpu"}, "needs a GPU"),
        ({"checkpoint": "first"}, "`checkpoint`='first' is not known. Known: best, last"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(run: Path, settings: Any, text: str) -> None:
    with pytest.raises(ConfigError) as found:
        load(run, **settings)
    assert text in str(found.value)


def test_networks_that_do_not_belong_together_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="are one checkpoint: name each run once"):
        load(run, save_pretrained(run, tmp_path / "net"))
    three = write_run(tmp_path / "three", seed=1, classes=("background", "round", "long"))
    with pytest.raises(ConfigError, match="these do not belong together"):
        load(run, three)


def test_a_misspelt_path_asks_no_hub(run: Path, hub: list[Any]) -> None:
    with pytest.raises(CheckpointError, match=r"rum: no such run, checkpoint or network; did you mean `run`\?"):
        load(run.with_name("rum"))
    with pytest.raises(CheckpointError, match="no such folder, and no `owner/name`"):
        load("nowhere")
    with pytest.raises(CheckpointError, match=r"no checkpoints/last\.ckpt\. Train first"):
        load(run, checkpoint="last")
    assert hub == []


def test_loading_leaves_the_threads_of_the_process_alone(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    state, _ = checkpoint.load(run / checkpoint.BEST)
    state["config"]["trainer"]["threads"] = torch.get_num_threads() + 1
    checkpoint.save(run / checkpoint.BEST, state)
    before = torch.get_num_threads()
    load(run)
    assert torch.get_num_threads() == before
