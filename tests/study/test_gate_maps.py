"""Pictures of the gates of a study: which runs and images they show, and that they belong to the weights."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import pytest
import torch

from seg_scse import checkpoint
from seg_scse.config.loading import load_config
from seg_scse.config.printing import to_yaml
from seg_scse.evaluation.evaluate import evaluate
from seg_scse.models import build_model
from seg_scse.report.study_gate_parts import GateFigure
from seg_scse.report.study_gates import read_gate_pictures
from seg_scse.study import gate_maps as module
from seg_scse.study.cells import Cell
from seg_scse.study.declaration import Declaration
from seg_scse.study.gate_choice import choose
from seg_scse.study.gate_maps import gate_maps
from seg_scse.study.variants import Variant

from .drawn_studies import NONE, cell_of, declared

SCSE = Variant("scse-max", "variant", ("model.attention.type=scse", "model.attention.merge=max"), "scse gates")
CBAM = Variant("cbam", "variant", ("model.attention.type=cbam",), "cbam gates")
ECA = Variant("eca", "variant", ("model.attention.type=eca",), "eca gates")
WIDER = Variant("wider", "control", NONE.overrides, "no gates", of="scse-max")
CONSTANT = Variant("constant", "control", ("model.attention.type=constant",), "gates that are learned", of="scse-max")
VARIANTS = (NONE, SCSE, CBAM, ECA, CONSTANT, WIDER)
DECLARED = replace(declared(*VARIANTS), treatment="scse-max")


def write_base(folder: Path, discs: Path) -> None:
    overrides = [
        "name=drawn", f"data.root={discs}", "data.channels=gray", "data.classes=[background, foreground]",
        "data.mask.encoding=binary", "model.encoder=tu-mobilenetv3_small_050", "model.encoder_weights=null",
        "model.decoder_channels=[32, 16, 16, 8, 8]", "trainer.crop=32", "trainer.device=cpu",
        "model.attention.sites=[decoder.4, decoder.5]", "model.attention.type=cse", "evaluation.surface=false",
        "evaluation.overlays=0", "evaluation.resamples=1000",
    ]  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(to_yaml(load_config(None, overrides)))


class Finish(Protocol):
    """Puts a finished run into a study."""

    def __call__(
        self, folder: Path, declaration: Declaration, name: str, seed: int = 0, fold: int | None = None
    ) -> Cell: ...


@pytest.fixture(scope="module")
def finish(tmp_path_factory: pytest.TempPathFactory) -> Finish:
    """Return a function that copies runs, each of which is scored once for all tests."""
    scored: dict[tuple[str, int], Path] = {}

    def put(folder: Path, declaration: Declaration, name: str, seed: int = 0, fold: int | None = None) -> Cell:
        if (name, seed) not in scored:
            place = tmp_path_factory.mktemp("scored")
            shutil.copy(folder / "config.yaml", place)
            scored[name, seed] = score(place, name, seed).folder
        cell = cell_of(folder, declaration, name, seed, fold)
        shutil.copytree(scored[name, seed], cell.folder)
        cell.note(status="done", error="", seconds=1.0)
        return cell

    return put


def score(folder: Path, name: str, seed: int) -> Cell:
    """Write and score a run whose network is untrained; half of the twelve discs are its test split."""
    declaration = DECLARED
    config = declaration.variant(name).config(load_config(folder / "config.yaml"))
    torch.manual_seed(seed)
    state: dict[str, Any] = {
        "config": config.model_dump(mode="json"),
        "data_digest": "other",
        "mean": [0.4],
        "std": [0.2],
    }
    state["model"] = build_model(config.model, 1, 2).state_dict()
    state["progress"] = {"epoch": 3, "step": 30}
    state["splits"] = {f"s{index:02}": "test" if index % 2 else "train" for index in range(12)}
    cell = cell_of(folder, declaration, name, seed, None)
    checkpoint.save(cell.folder / checkpoint.BEST, state)
    (cell.folder / "config.yaml").write_text(to_yaml(config))
    evaluate(cell.folder, "test", "best")
    return cell


@pytest.fixture(scope="module")
def study(discs: Path, finish: Finish, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study in which `eca` is not finished."""
    folder = tmp_path_factory.mktemp("gates") / "study"
    write_base(folder, discs)
    for variant in (NONE, SCSE, CBAM):
        finish(folder, DECLARED, variant.name)
    return folder


@dataclass(frozen=True)
class Drawn:
    """What one call drew: the files, the figures as they were before drawing, and the index."""

    written: list[Path]
    figures: list[GateFigure]
    index: dict[str, Any]


@pytest.fixture(scope="module")
def once(study: Path) -> Drawn:
    """Draw the study, once for all tests that only look."""
    figures: list[GateFigure] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "draw_gates", lambda figure: figures.append(figure) or b"drawn")
        written = gate_maps(study, DECLARED)
    return Drawn(written, figures, json.loads((study / "gates" / "index.json").read_text()))


@pytest.fixture
def drawn(study: Path, monkeypatch: pytest.MonkeyPatch) -> list[GateFigure]:
    """Collect the figures instead of drawing them."""
    figures: list[GateFigure] = []

    def draw(figure: GateFigure) -> bytes:
        figures.append(figure)
        return b"drawn"

    monkeypatch.setattr(module, "draw_gates", draw)
    return figures


def test_each_image_is_one_picture_with_a_row_for_each_variant_that_has_gates(once: Drawn) -> None:
    assert [path.name for path in once.written] == ["image-1.png", "image-2.png"]
    assert [[row.variant for row in figure.rows] for figure in once.figures] == [["scse-max", "cbam"]] * 2
    assert len({figure.id for figure in once.figures}) == 2
    assert [path.read_bytes() for path in once.written] == [b"drawn"] * 2


def test_images_are_chosen_by_the_rank_of_the_baseline_alone(study: Path, once: Drawn) -> None:
    rows = [line.split(",") for line in (study / "runs/none/seed0/evaluation/test/per_image.csv").read_text().split()]
    column = rows[0].index("dice_foreground")
    ranking = [name for _, name in sorted((float(row[column]), row[0]) for row in rows[1:])]
    assert [figure.id for figure in once.figures] == [ranking[1], ranking[4]]
    assert "number 2 of 6 from the worst to the best of none seed 0" in once.index["images"][0]["caption"]
    choice = choose(study, DECLARED, 1)
    assert choice is not None
    assert [(rank, name) for rank, _, name in choice.images] == [(4, ranking[3])]


def test_all_variants_see_the_same_tile_around_the_largest_true_object(once: Drawn) -> None:
    for figure in once.figures:
        assert figure.truth.shape == (32, 32)
        assert "A tile of 32 × 32 px around its largest true object" in figure.place
        assert figure.truth.mean() > 0.1
        assert {row.prediction.shape for row in figure.rows} == {(32, 32)}


def test_gates_that_cannot_be_separated_are_named_and_the_features_are_shown(once: Drawn) -> None:
    scse, cbam = once.figures[0].rows
    assert [stage.site for stage in scse.stages] == ["decoder.4", "decoder.5"]
    assert all(stage.channel is not None and stage.spatial is not None for stage in scse.stages)
    assert all(stage.channel is None and stage.spatial is None for stage in cbam.stages)
    assert cbam.inseparable == ("cbam",)
    caption = once.index["images"][0]["caption"]
    assert "The gates of cbam (cbam) cannot be separated" in caption
    assert "The gates of scse-max" not in caption


def test_variants_that_are_not_shown_are_named(once: Drawn) -> None:
    assert once.index["notes"] == [
        "eca is not shown: none of its runs is finished.",
        "constant is not shown: its gates are the same for every image and place.",
    ]


def test_pictures_are_kept_where_they_fit_the_weights(study: Path, drawn: list[GateFigure]) -> None:
    first = gate_maps(study, DECLARED, again=True)
    drawn.clear()
    assert gate_maps(study, DECLARED) == first
    assert drawn == []
    first[0].unlink()
    assert gate_maps(study, DECLARED) == first
    assert len(drawn) == 2
    assert first[0].exists()


def test_other_weights_and_later_variants_are_drawn_anew(
    discs: Path, finish: Finish, tmp_path: Path, drawn: list[GateFigure]
) -> None:
    write_base(tmp_path / "study", discs)
    finish(tmp_path / "study", DECLARED, "scse-max", seed=1)
    gate_maps(tmp_path / "study", DECLARED, count=1)
    finish(tmp_path / "study", DECLARED, "scse-max", seed=0)
    gate_maps(tmp_path / "study", DECLARED, count=1)
    assert [[row.lines[1] for row in figure.rows] for figure in drawn] == [["seed 1, epoch 3"], ["seed 0, epoch 3"]]


def test_run_that_failed_or_has_other_weights_than_those_scored_is_not_shown(
    discs: Path, finish: Finish, tmp_path: Path
) -> None:
    write_base(tmp_path / "study", discs)
    cell = finish(tmp_path / "study", DECLARED, "scse-max")
    assert choose(tmp_path / "study", DECLARED, 1) is not None
    cell.note(status="failed", error="the disk is full", seconds=1.0)
    assert gate_maps(tmp_path / "study", DECLARED) == []
    cell.note(status="done", error="", seconds=1.0)
    checkpoint.hash_file(cell.folder / checkpoint.BEST).write_text(f"{'0' * 64}\n")
    assert gate_maps(tmp_path / "study", DECLARED) == []
    assert not (tmp_path / "study" / "gates").exists()


def test_run_of_another_fold_is_not_shown_because_it_may_know_the_images(
    discs: Path, finish: Finish, tmp_path: Path
) -> None:
    declaration = replace(DECLARED, folds=2)
    write_base(tmp_path / "study", discs)
    finish(tmp_path / "study", declaration, "none", fold=1)
    finish(tmp_path / "study", declaration, "scse-max", fold=0)
    finish(tmp_path / "study", declaration, "eca", fold=1)
    choice = choose(tmp_path / "study", declaration, 1)
    assert choice is not None
    assert list(choice.runs) == ["eca"]
    assert "scse-max is not shown: none of its runs of fold 1 is finished." in choice.notes


def test_study_without_a_finished_run_has_no_pictures(discs: Path, finish: Finish, tmp_path: Path) -> None:
    write_base(tmp_path / "study", discs)
    assert gate_maps(tmp_path / "study", DECLARED) == []


def test_report_finds_pictures_and_captions(study: Path, once: Drawn) -> None:
    pictures = read_gate_pictures(study)
    assert [picture.path for picture in pictures] == once.written
    assert all("chosen by this rank alone" in picture.caption for picture in pictures)
