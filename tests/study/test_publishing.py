"""Publishing studies: what is kept, what is cut, what is refused, and that the table can be computed again."""

import getpass
import gzip
import json
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from seg_scse.config.loading import load_config
from seg_scse.config.printing import to_yaml
from seg_scse.errors import ConfigError, DataError
from seg_scse.report.study_page import study_grid, study_table, write_study
from seg_scse.study import privacy
from seg_scse.study.answer import answer
from seg_scse.study.declaration import Declaration
from seg_scse.study.published_readme import command_of
from seg_scse.study.publishing import publish, recompute, thinned
from seg_scse.study.variants import chosen

from .drawn_studies import CSE, FROZEN, NONE, SCSE, declared, draw_study

SCORES: Mapping[str, list[list[int] | None]] = {
    "none": [[5, 6, 7, 8, 4, 9], [5, 7, 7, 8, 5, 9]],
    "scse-add": [[6, 6, 8, 9, 6, 9], [6, 8, 8, 8, 6, 9]],
    "cse": [[5, 6, 8, 8, 4, 9], None],
    "frozen": [[5, 6, 7, 9, 5, 9], [6, 7, 7, 8, 5, 9]],
}
HEADER = "variant,seed,fold,level,epoch,step,loss,score,val_loss,val_score\n"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reported study of public data that lie in a folder of their own."""
    place = tmp_path_factory.mktemp("somewhere")
    folder = draw_study(place / "study", declared(NONE, SCSE, CSE, FROZEN), SCORES)
    config = ["evaluation.resamples=1000", "name=drawn", "data.card=dsb2018", f"data.root={place / 'sets'}"]
    own = [f"data.cache={place / 'cache'}", "model.weights=/mnt/disk/networks/start.ckpt"]
    text = to_yaml(load_config(None, [*config, *own]), header=f"Again: train.py --config {folder / 'config.yaml'}")
    (folder / "config.yaml").write_text(text)
    (folder / "curves.csv").write_text(HEADER + "none,0,,batch,0,0,1.5,,,\n")
    (folder / "curves.png").write_bytes(b"drawn")
    (folder / "gates").mkdir()
    (folder / "gates" / "image-1.png").write_bytes(b"an image of somebody")
    answer(folder)
    write_study(folder)
    return folder


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "study"))


@pytest.fixture(autouse=True)
def nameless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no name of the machine that runs the tests decide about them."""
    monkeypatch.setattr("seg_scse.study.publishing.machine_names", list)


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_tables_settings_and_plots_are_published_and_images_are_not(finished: Path, tmp_path: Path) -> None:
    written = publish(finished, tmp_path / "public")
    assert {path.name for path in written} == {path.name for path in (tmp_path / "public").iterdir()}
    assert {path.name for path in written} == {
        "study.yaml", "config.yaml", "scores.csv", "study.json", "table.csv", "report.md", "forest.png", "curves.png",
        "versions.json", "curves.csv", "README.md",
    }  # fmt: skip
    assert written[-1].name == "README.md"
    assert (tmp_path / "public" / "scores.csv").read_bytes() == (finished / "scores.csv").read_bytes()
    assert not any(b"somebody" in path.read_bytes() for path in written)


def test_no_path_of_the_machine_is_left_in_any_file(finished: Path, tmp_path: Path) -> None:
    written = publish(finished, tmp_path / "public")
    texts = {path.name: path.read_text() for path in written if path.suffix != ".png"}
    for text in texts.values():
        assert str(finished.parent) not in text
        assert "/mnt" not in text
    config = yaml.safe_load(texts["config.yaml"])
    assert config["data"]["root"] == "drawn"  # as the data are called
    assert config["data"]["cache"] == "cache"
    assert config["model"]["weights"] == "start.ckpt"
    assert texts["config.yaml"].splitlines()[0] == "# Again: train.py --config config.yaml"
    assert json.loads(texts["study.json"])["config"]["data"]["root"] == "drawn"


def test_error_of_a_failed_run_is_published_with_paths_that_begin_at_the_study(study: Path, tmp_path: Path) -> None:
    content = json.loads((study / "study.json").read_text())
    said = f"{study}/runs/cse/seed1/epochs.csv: cannot be read, see /usr/lib/python3/csv.py"
    content["failures"] = [{"variant": "cse", "seed": 1, "fold": None, "error": said}]
    (study / "study.json").write_text(json.dumps(content))
    publish(study, tmp_path / "public")
    published = json.loads((tmp_path / "public" / "study.json").read_text())
    assert published["failures"][0]["error"] == "runs/cse/seed1/epochs.csv: cannot be read, see csv.py"


def test_published_study_gives_the_same_table(finished: Path, tmp_path: Path) -> None:
    publish(finished, tmp_path / "public")
    stored = json.loads((finished / "study.json").read_text())
    again = recompute(tmp_path / "public")
    assert again["rows"] == stored["rows"]
    assert again["against"] == stored["against"]
    assert again["baseline"] == stored["baseline"]
    assert study_table(again) == study_table(stored)


def test_long_scores_are_published_compressed_and_give_the_same_table(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(finished, tmp_path / "public")
    monkeypatch.setattr("seg_scse.study.publishing.MOST_SCORES", 100)
    written = publish(finished, tmp_path / "public")
    names = {path.name for path in (tmp_path / "public").iterdir()}
    assert names == {path.name for path in written}
    assert "scores.csv.gz" in names
    assert "scores.csv" not in names
    packed = (tmp_path / "public" / "scores.csv.gz").read_bytes()
    assert gzip.decompress(packed) == (finished / "scores.csv").read_bytes()
    assert recompute(tmp_path / "public")["rows"] == json.loads((finished / "study.json").read_text())["rows"]
    assert "`scores.csv.gz`. No image" in (tmp_path / "public" / "README.md").read_text()
    (tmp_path / "public" / "scores.csv.gz").write_bytes(packed[:-20])
    with pytest.raises(DataError, match=r"scores\.csv\.gz: not the scores of a study"):
        recompute(tmp_path / "public")


def test_table_follows_from_scores_and_declaration_alone(finished: Path, tmp_path: Path) -> None:
    for name in ("study.yaml", "config.yaml", "scores.csv"):
        shutil.copy(finished / name, tmp_path / name)
    stored, again = json.loads((finished / "study.json").read_text()), recompute(tmp_path)
    assert again["against"] == stored["against"]
    assert [row["metrics"] for row in again["rows"]] == [row["metrics"] for row in stored["rows"]]
    assert "scse-add" in study_table(again)


def test_without_a_configuration_intervals_are_made_as_by_default(finished: Path, tmp_path: Path) -> None:
    for name in ("study.yaml", "scores.csv"):
        shutil.copy(finished / name, tmp_path / name)
    assert recompute(tmp_path)["bootstrap"]["resamples"] == 10_000
    assert recompute(finished)["bootstrap"]["resamples"] == 1000


def test_one_changed_score_is_found_and_named(study: Path, tmp_path: Path) -> None:
    change(study / "scores.csv", repr(12 / 16), "0.7501")
    with pytest.raises(DataError, match=r"scores\.csv gives other numbers than study\.json") as info:
        recompute(study)
    assert "but study.json says" in str(info.value)
    with pytest.raises(DataError, match="other numbers"):
        publish(study, tmp_path / "public")
    assert not (tmp_path / "public").exists()
    (study / "study.json").unlink()
    assert recompute(study)["rows"]


def test_name_of_the_computer_or_its_user_is_refused(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seg_scse.study.publishing.machine_names", lambda: ["Lovelace-7"])
    publish(study, tmp_path / "public")
    change(study / "report.md", "# drawn", "# drawn on lovelace-7")
    with pytest.raises(DataError, match=r"report\.md holds `Lovelace-7`, which names this machine or its user"):
        publish(study, tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["root", "dsb2018", "drawn", "dice"])
def test_computer_named_like_a_word_of_the_study_is_no_reason_to_refuse(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("seg_scse.study.publishing.machine_names", lambda: [name])
    assert publish(finished, tmp_path / "public")


def test_home_folder_in_a_file_that_is_copied_as_it_is_is_refused(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/people/ada")
    (study / "table.csv").write_text("variant\n/people/ada/x\n")
    with pytest.raises(DataError, match=r"table\.csv holds `/people/ada`"):
        publish(study, tmp_path / "public")


def test_readme_says_what_was_run_on_which_data_and_how_to_check_it(finished: Path, tmp_path: Path) -> None:
    publish(finished, tmp_path / "public")
    text = (tmp_path / "public" / "README.md").read_text()
    assert text.startswith("# drawn: none, scse-add, cse, frozen on ")
    assert "4 variants x 2 seeds: 7 of 8 runs finished." in text
    assert "tested in dice_per_image, declared before the first run" in text
    assert "Budget: 62 s of training and scoring in all" in text
    assert "seg-scse ablate --config config.yaml --variants none,scse-add,cse --seeds 2 --controls" in text
    assert "seg-scse ablate --from-scores FOLDER" in text
    assert "Licence: CC0 1.0" in text
    assert study_grid(json.loads((finished / "study.json").read_text())) in text
    assert text.count("cannot be told from") == 1  # sentences are not said twice
    told = "Settings of all runs that are not the defaults: `evaluation.resamples=1000`, `model.weights=start.ckpt`."
    assert told in text
    for name in (path.name for path in (tmp_path / "public").iterdir() if path.name != "README.md"):
        assert f"- `{name}`: " in text


def test_command_that_was_given_stands_in_the_readme(finished: Path, tmp_path: Path) -> None:
    publish(finished, tmp_path / "public", command="seg-scse ablate --config mine.yaml --budget 6h")
    assert "```\nseg-scse ablate --config mine.yaml --budget 6h\n```" in (tmp_path / "public" / "README.md").read_text()


def test_data_without_a_card_have_no_licence_to_quote(study: Path, tmp_path: Path) -> None:
    change(study / "study.json", '"card": "dsb2018"', '"card": null')
    publish(study, tmp_path / "public")
    assert "its licence is for its owner to say" in (tmp_path / "public" / "README.md").read_text()


def test_files_of_an_earlier_publication_do_not_stay(finished: Path, study: Path, tmp_path: Path) -> None:
    publish(finished, tmp_path / "public")
    (tmp_path / "public" / "own.txt").write_text("kept")
    for name in ("curves.csv", "curves.png"):
        (study / name).unlink()
    publish(study, tmp_path / "public")
    names = {path.name for path in (tmp_path / "public").iterdir()}
    assert not {"curves.csv", "curves.png"} & names
    assert "own.txt" in names


def test_publishing_into_the_study_itself_is_refused(finished: Path) -> None:
    with pytest.raises(ConfigError, match="is the study itself"):
        publish(finished, finished.parent / "x" / ".." / finished.name)


def test_study_without_an_answer_is_refused(tmp_path: Path) -> None:
    declared(NONE, SCSE).write(tmp_path / "study")
    with pytest.raises(DataError, match=r"scores\.csv"):
        publish(tmp_path / "study", tmp_path / "public")


def test_long_curves_are_thinned_and_the_name_says_so() -> None:
    batches = [f"none,0,,batch,{step // 100},{step},0.5,0.5,,\n" for step in range(1000)]
    epochs = [f"none,0,,epoch,{epoch},{100 * epoch + 100},0.5,,0.5,0.5\n" for epoch in range(10)]
    text = HEADER + "".join(batches + epochs)
    assert thinned(text) == ("curves.csv", text)
    name, short = thinned(text, most=3000)
    assert name == "curves-every-20th-batch.csv"
    assert len(short) <= 3000
    lines = short.splitlines()
    assert lines[:3] == [HEADER.strip(), batches[0].strip(), batches[20].strip()]
    assert sum(",epoch," in line for line in lines[1:]) == 10


def test_command_names_sites_and_variants_by_overrides() -> None:
    variants = chosen(["none", "scse-max"], [["decoder"], ["encoder", "decoder"]], ["slow: optimizer.lr=1e-4"])
    declaration = Declaration("s", "iou", "val", "none", None, (0, 1, 2), 3, tuple(variants))
    assert command_of(declaration) == (
        "seg-scse ablate --config config.yaml --variants none,scse-max --sites decoder,encoder+decoder --add "
        "'slow: optimizer.lr=1e-4' --seeds 3 --folds 3 --metric iou --split val --out studies/s data.root=DATA"
    )


def facts(**paths: Any) -> privacy.Cleaner:
    return privacy.Cleaner(Path("/work of/me/study"), paths or {"/sets/nuclei": "dsb2018"})


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("see /work of/me/study/runs/a.log", "see runs/a.log"),
        ("in /work of/me/study", "in ."),
        ("root: /sets/nuclei", "root: dsb2018"),
        ("'/sets/nuclei/images/a.png'", "'dsb2018/images/a.png'"),
        ("/sets/nuclei2/images/a.png", "a.png"),
        ("at C:\\Users\\ada\\x.yaml", "at x.yaml"),
        ("https://bbbc.org/a/b and a/b/c and 1/2", "https://bbbc.org/a/b and a/b/c and 1/2"),
        ("image_pattern: ^(.*)/images/raw/(.*)$", "image_pattern: ^(.*)/images/raw/(.*)$"),
        ("after / before, and/or", "after / before, and/or"),
    ],
)
def test_paths_are_cut_and_other_slashes_stay(text: str, clean: str) -> None:
    assert facts().text(text) == clean


def test_names_of_this_machine_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "node", lambda: "gpu01.example.org")
    monkeypatch.setattr(getpass, "getuser", lambda: "ada")
    assert privacy.machine_names() == ["gpu01.example.org", "gpu01", "ada"]
