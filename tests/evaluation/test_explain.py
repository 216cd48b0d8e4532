import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from seg_scse import checkpoint
from seg_scse.attention.functional import Gates
from seg_scse.attention.probe import gates_by_site
from seg_scse.config.schema import Config
from seg_scse.errors import ConfigError
from seg_scse.evaluation import explain as module
from seg_scse.evaluation.explain import explain
from seg_scse.evaluation.loaded import build_predictor
from seg_scse.models import build_model

BINARY = {"classes": ("background", "foreground"), "mask": {"encoding": "binary"}}
SITES = ["decoder.4", "decoder.5"]


def write_checkpoint(root: Path, folder: Path, kind: str = "scse", **data: Any) -> Path:
    """Write a run with an untrained network; half of the twelve discs are its test split."""
    config = Config.model_validate(
        {
            "name": "drawn",
            "data": {"root": str(root), "channels": "gray", **BINARY, **data},
            "model": {
                "encoder": "tu-mobilenetv3_small_050",
                "decoder_channels": (32, 16, 16, 8, 8),
                "attention": {"type": kind, "sites": SITES},
            },
            "trainer": {"crop": 32},
        }
    )
    torch.manual_seed(0)
    splits = {f"s{index:02}": "test" if index % 2 else "train" for index in range(12)}
    state = {
        "config": config.model_dump(mode="json"),
        "data_digest": "other",
        "mean": [0.4],
        "std": [0.2],
        "model": build_model(config.model, 1, len(config.data.classes)).state_dict(),
        "progress": {"epoch": 3, "step": 30},
        "splits": splits,
    }
    checkpoint.save(folder / checkpoint.BEST, state)
    return folder


@pytest.fixture(scope="module")
def run(discs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(discs, tmp_path_factory.mktemp("explain") / "run")


def arrays_of(folder: Path, page: int = 0) -> dict[str, np.ndarray]:
    with np.load(folder / "pages" / f"{page}.npz") as file:
        return dict(file)


def write_scores(run: Path, scores: dict[str, float | None]) -> None:
    table = run / "evaluation" / "test" / "per_image.csv"
    table.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{name},{'' if score is None else score}" for name, score in scores.items()]
    table.write_text("\n".join(["id,dice_foreground", *rows]) + "\n")


def test_explanation_is_written_with_every_array_of_a_page(run: Path, tmp_path: Path) -> None:
    folder, content = explain(run, "test", "best", count=1, limit=3, out=tmp_path / "out")
    assert folder == tmp_path / "out"
    assert json.loads((folder / "explain.json").read_text()) == content
    assert [stage["site"] for stage in content["stages"]] == SITES
    assert [stage["gain"] for stage in content["stages"]] == [1.0, 1.0]
    (page,) = content["pages"]
    assert page["id"] == "s01"
    assert page["size"] == [48, 56]
    arrays = arrays_of(folder)
    names = ("before", "after", "channel", "spatial", "activation")
    assert set(arrays) == {"image", "truth", "prediction", "overview", *(f"{n}.{s}" for n in names for s in SITES)}
    assert arrays["image"].shape == (32, 32, 1)
    assert arrays["channel.decoder.5"].shape == (8,)
    assert arrays["spatial.decoder.4"].shape == (16, 16)


def test_the_page_shows_the_tile_that_it_names(run: Path, discs: Path, tmp_path: Path) -> None:
    folder, content = explain(run, "test", "best", images=["s03"], limit=0, out=tmp_path)
    window = content["pages"][0]["window"]
    for name, part in (("images", "image"), ("masks", "truth")):
        whole = np.asarray(Image.open(discs / name / "s03.png"))
        cut = whole[window["y"] : window["y"] + 32, window["x"] : window["x"] + 32]
        assert np.array_equal(arrays_of(folder)[part].squeeze(), cut if part == "image" else cut > 0)


def test_worst_median_and_best_are_chosen_where_the_split_was_evaluated(run: Path, tmp_path: Path) -> None:
    write_scores(run, {"s01": 0.9, "s03": 0.1, "s05": 0.5, "s07": None, "s99": 0.2})  # s99: no longer in the data
    try:
        _, content = explain(run, "test", "best", count=3, limit=0, out=tmp_path)
    finally:
        (run / "evaluation" / "test" / "per_image.csv").unlink()
    assert [(page["id"], page["kind"]) for page in content["pages"]] == [
        ("s03", "worst"), ("s05", "median"), ("s01", "best"),
    ]  # fmt: skip


def test_first_images_are_chosen_without_an_evaluation(run: Path, tmp_path: Path) -> None:
    _, content = explain(run, "test", "best", count=2, limit=0, out=tmp_path)
    assert [(page["id"], page["kind"]) for page in content["pages"]] == [("s01", None), ("s03", None)]
    assert content["study"] is None


def test_images_of_another_split_can_be_named(run: Path, tmp_path: Path) -> None:
    _, content = explain(run, "test", "best", images=["s00"], limit=0, out=tmp_path)
    assert content["pages"][0]["id"] == "s00"


def test_unknown_image_is_refused_with_the_nearest_id(run: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="neither a sample id of the run nor an image file; did you mean `s01`"
    ) as info:
        explain(run, "test", "best", images=["s01.png"], out=tmp_path / "out")
    assert "The run has 12 samples: s00, s01" in str(info.value)
    assert not (tmp_path / "out").exists()


def test_file_without_truth_needs_no_data_set_where_nothing_is_studied(run: Path, discs: Path, tmp_path: Path) -> None:
    file = tmp_path / "a <b>.png"
    file.write_bytes((discs / "images" / "s00.png").read_bytes())
    moved = [f"data.root={tmp_path / 'nowhere'}"]
    folder, content = explain(run, "test", "best", moved, images=[str(file)], limit=0, out=tmp_path / "out")
    assert content["pages"][0]["id"] == str(file)
    assert content["same_data"] is None
    assert "truth" not in arrays_of(folder)
    assert np.array_equal(arrays_of(folder)["image"][..., 0], content_window(file, content))


def content_window(file: Path, content: dict[str, Any]) -> np.ndarray:
    window = content["pages"][0]["window"]
    pixels = np.asarray(Image.open(file))
    return pixels[window["y"] : window["y"] + window["height"], window["x"] : window["x"] + window["width"]]


def test_run_without_gates_is_refused(discs: Path, tmp_path: Path) -> None:
    run = write_checkpoint(discs, tmp_path / "run", "none")
    with pytest.raises(
        ConfigError, match=r"has no gates to explain: it was trained with model\.attention\.type = none"
    ):
        explain(run, "test", "best")


def test_a_failed_explanation_leaves_no_index_of_an_older_one(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    explain(run, "test", "best", images=["s00"], limit=0, out=tmp_path)

    def broken(*_: object) -> None:
        raise RuntimeError("wires")

    monkeypatch.setattr(module, "class_activation", broken)
    with pytest.raises(RuntimeError, match="wires"):
        explain(run, "test", "best", images=["s01"], limit=0, out=tmp_path)
    assert not (tmp_path / "explain.json").exists()


def test_pages_of_an_older_explanation_are_removed_and_other_files_kept(run: Path, tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "mine.txt").touch()
    explain(run, "test", "best", images=["s00", "s01"], limit=0, out=tmp_path)
    assert (tmp_path / "pages" / "mine.txt").exists()
    explain(run, "test", "best", images=["s00"], limit=0, out=tmp_path)
    assert [path.name for path in (tmp_path / "pages").iterdir()] == ["0.npz"]


def test_studied_images_are_spread_over_the_split(run: Path, tmp_path: Path) -> None:
    _, content = explain(run, "test", "best", count=1, limit=3, out=tmp_path)
    assert content["study"]["ids"] == ["s01", "s05", "s09"]
    assert content["study"]["images"] == 3
    assert content["study"]["eta_squared_by_chance"] == pytest.approx((len(content["study"]["groups"]) - 1) / 2)


class Chosen(nn.Module):
    """A block whose gates are given."""

    kind, channels, hidden = "chosen", 8, 0

    def __init__(self, channel: Tensor | None, spatial: Tensor | None) -> None:
        super().__init__()
        self.channel, self.spatial = channel, spatial

    def gates(self, x: Tensor) -> Gates:
        return Gates(self.channel, self.spatial)

    def apply_gates(self, x: Tensor, gates: Gates) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        return x * 1.0


class Plain(nn.Module):
    """A block without separable gates."""

    kind, channels, hidden = "plain", 8, 0

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


def use(monkeypatch: pytest.MonkeyPatch, block: nn.Module) -> None:
    """Put a block in place of the gate on decoder.5 of the networks that are explained."""

    def build(*arguments: Any) -> Any:
        predictor = build_predictor(*arguments)
        predictor.model.gates["decoder_5"] = block
        return predictor

    monkeypatch.setattr(module, "build_predictor", build)


def test_gate_that_equals_the_truth_scores_1_and_a_constant_channel_gate_is_flagged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = np.zeros((32, 32), np.uint8)
    truth[4:20, 10:18] = 255
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        for index in range(12):
            Image.fromarray(truth if folder == "masks" else truth // 2 + index).save(
                tmp_path / folder / f"s{index:02}.png"
            )
    gate = torch.from_numpy(truth / 255.0).float()[None, None]
    use(monkeypatch, Chosen(torch.full((1, 8, 1, 1), 0.5), gate))
    run = write_checkpoint(tmp_path, tmp_path / "run")
    folder, content = explain(run, "test", "best", count=1, limit=4)
    assert folder == run / "explain" / "test"
    found = content["study"]["stages"]["decoder.5"]
    assert found["auroc"]["foreground"] == {"mean": 1.0, "images": 4, "undefined": 0}
    assert found["gates"]["channel"]["flags"] == ["constant"]
    assert found["gates"]["channel"]["mean"] == pytest.approx(0.5)
    assert found["gates"]["spatial"]["flags"] == ["saturated"]
    assert found["eta_squared"] is None  # no channel varies
    assert found["between_images"] == pytest.approx(0, abs=1e-6)


def test_block_without_separable_gates_has_maps_but_no_statistics(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, Plain())
    folder, content = explain(run, "test", "best", count=1, limit=2, out=tmp_path)
    found = content["study"]["stages"]["decoder.5"]
    assert found == {"gates": {}, "between_images": None, "eta_squared": None, "auroc": {}}
    arrays = arrays_of(folder)
    assert arrays["after.decoder.5"] == pytest.approx(2 * arrays["before.decoder.5"])
    assert "spatial.decoder.5" not in arrays
    assert "channel.decoder.4" in arrays
    with np.load(folder / "profiles.npz") as profiles:
        assert set(profiles.files) == {"decoder.4.gates", "decoder.4.mean", "decoder.4.std"}


@pytest.mark.parametrize(("kind", "gates"), [("cse", {"channel"}), ("sse", {"spatial"})])
def test_half_a_block_has_the_statistics_of_its_gate(discs: Path, tmp_path: Path, kind: str, gates: set[str]) -> None:
    run = write_checkpoint(discs, tmp_path / "run", kind)
    _, content = explain(run, "test", "best", count=1, limit=3)
    found = content["study"]["stages"]["decoder.4"]
    assert set(found["gates"]) == gates
    assert bool(found["auroc"]) == ("spatial" in gates)
    assert (found["between_images"] is None) == ("channel" not in gates)


def test_several_classes_are_grouped_and_scored_each(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:48, :56]
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for index in range(12):
        labels = np.where(rows < 10 + 2 * index, np.where(columns < 28, 1, 0), np.where(columns < 28, 0, 2))
        Image.fromarray((90 * labels).astype(np.uint8)).save(tmp_path / "images" / f"s{index:02}.png")
        Image.fromarray(labels.astype(np.uint8)).save(tmp_path / "masks" / f"s{index:02}.png")
    classes = {"classes": ("background", "axon", "myelin"), "mask": {"encoding": "index"}}
    run = write_checkpoint(tmp_path, tmp_path / "run", **classes)
    _, content = explain(run, "test", "best", count=1, limit=6)
    assert set(content["study"]["stages"]["decoder.4"]["auroc"]) == {"foreground", "axon", "myelin"}
    assert {group["name"] for group in content["study"]["groups"]} <= {"no foreground", "axon", "myelin"}
    assert content["study"]["rule"] == "the foreground class with most pixels in the tile"
    assert content["pages"][0]["label"] in (1, 2)


def test_profiles_are_those_of_the_recorded_gates(run: Path, tmp_path: Path) -> None:
    folder, content = explain(run, "test", "best", count=1, limit=6, out=tmp_path)
    with np.load(folder / "profiles.npz") as file:
        gates, mean = file["decoder.5.gates"], file["decoder.5.mean"]
    assert gates.shape == (6, 8)
    assert gates[0] == pytest.approx(arrays_of(folder)["channel.decoder.5"])  # s01 is studied first and drawn first
    weights = [group["images"] for group in content["study"]["groups"]]
    assert np.average(mean, axis=0, weights=weights) == pytest.approx(gates.mean(0))


def test_gates_are_described_in_the_order_of_the_network(run: Path, tmp_path: Path) -> None:
    _, content = explain(run, "test", "best", images=["s00"], limit=0, out=tmp_path)
    loaded = module.load_run(run, "best")
    model = build_predictor(loaded, torch.device("cpu")).model
    assert [(stage["site"], stage["channels"]) for stage in content["stages"]] == [
        (site, gate.channels) for site, gate in gates_by_site(model).items()
    ]
