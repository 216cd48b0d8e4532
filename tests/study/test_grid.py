"""What a study declares and writes before its first run, and what it refuses."""

from pathlib import Path

import pytest
import yaml

from seg_scse.config.loading import load_config, override
from seg_scse.config.schema import Config
from seg_scse.errors import ConfigError
from seg_scse.study import grid
from seg_scse.study.declaration import Declaration
from seg_scse.study.grid import Wish, begin, config_of, declare, go_on

SMALL = [
    *("data.mask.encoding=binary", "name=small", "model.architecture=classic_unet", "model.width=4", "model.depth=2"),
    *("data.root=/nowhere", "model.attention.type=scse", "model.attention.merge=max"),
]


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(None, SMALL)


def wish(*names: str, **others: object) -> Wish:
    return Wish(**{"names": names or ("none", "scse-add"), "seeds": 2, **others})  # type: ignore[arg-type]


def written(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_each_variant_is_written_out_whatever_gates_the_configuration_has(config: Config, tmp_path: Path) -> None:
    study, _ = begin(config, wish("none", "cse", "sse", "scse-add", "scse-max"), tmp_path / "s")
    found = {path.parent.name: load_config(path).model.attention for path in tmp_path.glob("s/runs/*/seed1.yaml")}
    assert {name: (one.type, one.merge) for name, one in found.items()} == {
        "none": ("none", "max"),  # as configured: no gate reads it
        "cse": ("cse", "add"),
        "sse": ("sse", "add"),
        "scse-add": ("scse", "add"),
        "scse-max": ("scse", "max"),
    }
    assert [cell.label for cell in study.cells()][:6] == [
        *("none seed 0", "cse seed 0", "sse seed 0", "scse-add seed 0", "scse-max seed 0", "none seed 1")
    ]
    run = load_config(tmp_path / "s" / "runs" / "cse" / "seed1.yaml")
    assert (run.seed, run.name) == (1, "cse-seed1")
    assert study.declaration.comparisons() == [(one, "none") for one in ("cse", "sse", "scse-add", "scse-max")]


def test_a_preset_of_the_configuration_is_no_part_of_a_variant(tmp_path: Path) -> None:
    config = load_config(None, [*SMALL[:5], "data.root=/nowhere", "model.attention.preset=smp", "model.width=16"])
    study, _ = begin(config, wish("none", "cse"), tmp_path / "s")
    assert [config_of(study, cell).model.attention.type for cell in study.cells()[:2]] == ["none", "cse"]


def test_sites_multiply_the_gated_variants(config: Config) -> None:
    declaration, _ = declare(config, wish(sites=[["decoder"], ["encoder", "decoder"]]))
    assert [one.name for one in declaration.variants] == ["none", "scse-add@decoder", "scse-add@encoder+decoder"]
    sites = [one.config(config).model.attention.sites for one in declaration.variants[1:]]
    assert [list(one) for one in sites] == [["decoder"], ["encoder", "decoder"]]


def test_names_of_runs_hold_only_what_names_may(config: Config, tmp_path: Path) -> None:
    study, _ = begin(config, wish(sites=[["decoder"], ["encoder", "decoder"]], folds=2), tmp_path / "s")
    last = study.cells()[-1]
    assert last.label == "scse-add@encoder+decoder seed 1 fold 1"
    assert config_of(study, last).name == "scse-add-at-encoder-decoder-seed1-fold1"


def test_each_fold_of_each_seed_is_a_run(config: Config, tmp_path: Path) -> None:
    study, _ = begin(config, wish(folds=2), tmp_path / "s")
    assert len(study.cells()) == 2 * 2 * 2
    split = load_config(tmp_path / "s" / "runs" / "none" / "seed1-fold1.yaml").data.split
    assert (split.folds, split.fold) == (2, 1)


def test_controls_that_cannot_be_made_are_left_out_with_the_reason(config: Config, tmp_path: Path) -> None:
    study, lines = begin(config, wish("none", "cse", "scse-max", "scse-add", controls=True), tmp_path / "s")
    controls = [one for one in study.declaration.variants if one.kind == "control"]
    assert study.declaration.treatment == "scse-add"
    assert [one.name for one in controls] == ["constant", "identity", "frozen"]
    assert [one.trained for one in controls] == [True, True, False]
    (line,) = lines
    assert line.startswith("control left out: wider: ")
    assert study.declaration.comparisons()[3:] == [("scse-add", one.name) for one in controls]


def test_nothing_to_control_for_is_refused(config: Config) -> None:
    with pytest.raises(ConfigError, match="--controls: no variant has gates"):
        declare(
            override(config, ["model.attention.type=none", "model.attention.merge=add"]),
            wish("none", additions=["slow: optimizer.lr=1e-5"], controls=True),
        )


def test_more_seeds_are_added_and_said_in_the_history(config: Config, tmp_path: Path) -> None:
    study, _ = begin(config, wish(), tmp_path / "s")
    cell = study.cells()[0]
    (cell.folder / "checkpoints").mkdir(parents=True)
    (cell.folder / "checkpoints" / "best.ckpt").touch()
    cell.note(status="done", error="", exit_code=0, seconds=1.0)
    before = cell.beside(".yaml").stat().st_mtime_ns
    more, lines = go_on(tmp_path / "s", 3, [])
    assert more.declaration.seeds == (0, 1, 2)
    assert more.declaration == Declaration.read(tmp_path / "s")
    assert lines == [more.declaration.history[1]]
    assert lines[0].endswith("added seeds 2 after 1 finished runs")
    assert len(list(tmp_path.glob("s/runs/*/seed2.yaml"))) == 2
    assert cell.beside(".yaml").stat().st_mtime_ns == before
    fewer, lines = go_on(tmp_path / "s", 1, [])
    assert fewer.declaration.seeds == (0, 1, 2)
    assert lines == ["the study has 3 seeds, more than the 1 of this call: all are kept"]


def test_variants_are_added_by_the_command_that_names_them(config: Config, tmp_path: Path) -> None:
    begin(config, wish(), tmp_path / "s")
    study, lines = begin(config, wish("none", "scse-max", controls=True), tmp_path / "s")
    assert [one.name for one in study.declaration.variants[:3]] == ["none", "scse-add", "scse-max"]
    assert study.declaration.treatment == "scse-max"
    assert "added variants scse-max, constant" in lines[-1]


def test_where_the_data_are_may_change_and_reaches_the_runs_that_go_on(config: Config, tmp_path: Path) -> None:
    begin(config, wish(), tmp_path / "s")
    study, _ = go_on(tmp_path / "s", None, ["data.root=/elsewhere"])
    assert study.moved == ("data.root=/elsewhere",)
    assert load_config(tmp_path / "s" / "config.yaml").data.root == "/elsewhere"


def test_another_configuration_is_refused_with_both_values(config: Config, tmp_path: Path) -> None:
    begin(config, wish(), tmp_path / "s")
    before = written(tmp_path / "s")
    with pytest.raises(ConfigError) as refused:
        begin(override(config, ["trainer.max_epochs=7"]), wish(), tmp_path / "s")
    assert f"trainer.max_epochs: {config.trainer.max_epochs} -> 7" in str(refused.value)
    with pytest.raises(ConfigError, match="metric = dice, not iou"):
        begin(config, wish(metric="iou"), tmp_path / "s")
    with pytest.raises(ConfigError, match="folds = None, not 2"):
        begin(config, wish(folds=2), tmp_path / "s")
    assert written(tmp_path / "s") == before


def test_another_meaning_of_a_name_is_refused_with_both(config: Config, tmp_path: Path) -> None:
    begin(config, wish("none", additions=["slow: optimizer.lr=1e-5"]), tmp_path / "s")
    with pytest.raises(
        ConfigError, match=r"variant slow of the study is \['optimizer.lr=1e-5'\], not \['opt.*=1e-6'\]"
    ):
        begin(config, wish("none", additions=["slow: optimizer.lr=1e-6"]), tmp_path / "s")


def test_variants_that_cannot_be_built_are_refused_together_before_anything_is_written(
    config: Config, tmp_path: Path
) -> None:
    additions = ["many: model.attention.reduction=1000000", "typo: model.widht=8", "fine: optimizer.lr=1e-3"]
    with pytest.raises(ConfigError) as refused:
        begin(config, wish(additions=additions), tmp_path / "s")
    message = str(refused.value)
    assert "typo: " in message
    assert "did you mean" in message
    assert "many: " in message
    assert "fine" not in message
    assert message.count("typo") == 1
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": ("none", "scse-ad")}, "`scse-ad` is no variant; did you mean `scse-add`?"),
        ({"names": ("none", "scse")}, "`scse` is no variant"),
        ({"names": ("none", "none")}, "none is named twice"),
        ({"names": ("none",)}, "a study compares at least two"),
        ({"additions": ["slow optimizer.lr=1"]}, "write NAME: section.key=value"),
        ({"metric": "dize"}, "`dize` is no score; did you mean `dice`?"),
        ({"metric": "volume_bias"}, "`volume_bias` is no score"),
        ({"metric": "cldice"}, "--metric cldice: is not measured. Set evaluation.centerline=true"),
        ({"folds": 2, "split": "val"}, "--split val with --folds"),
        ({"folds": 1}, "greater than or equal to 2"),
        ({"names": ("none", "constant", "scse-add"), "controls": True}, "constant and constant: each variant"),
        (
            {"additions": ["Scse-Add: optimizer.lr=1e-3"]},
            "scse-add and Scse-Add: each variant and control has a folder",
        ),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, dict) else None,
)
def test_what_makes_no_study_is_refused(
    config: Config, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        begin(config, wish(**changes), tmp_path / "s")
    assert message in str(refused.value)
    assert not (tmp_path / "s" / "study.yaml").exists()


def test_a_folder_of_other_files_is_left_alone(config: Config, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ConfigError, match="holds other files and no study"):
        begin(config, wish(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("file", "what"), [("run/checkpoints/last.ckpt", "which is a run"), ("run/study.yaml", "which is a study")]
)
def test_a_study_has_a_place_of_its_own(config: Config, tmp_path: Path, file: str, what: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).touch()
    with pytest.raises(ConfigError, match=f"lies in {tmp_path}/run, {what}"):
        begin(config, wish(), tmp_path / "run" / "studies" / "s")
    with pytest.raises(ConfigError, match="is a file"):
        begin(config, wish(), tmp_path / file)
    assert not (tmp_path / "run" / "studies").exists()


def test_folds_of_the_configuration_are_refused(config: Config, tmp_path: Path) -> None:
    divided = override(config, ["data.split.folds=3", "data.split.fold=1"])
    with pytest.raises(ConfigError, match=r"data\.split\.folds=3 of the configuration: .* --folds K"):
        begin(divided, wish(), tmp_path / "s")


def test_the_command_that_goes_on_can_be_typed(config: Config, tmp_path: Path) -> None:
    study, _ = begin(config, wish(), tmp_path / "my study")
    assert study.command == f"seg-scse ablate --resume '{tmp_path}/my study'"


def test_a_plan_writes_nothing(config: Config, tmp_path: Path) -> None:
    study, _ = begin(config, wish(), tmp_path / "s", write=False)
    assert len(study.cells()) == 4
    assert list(tmp_path.iterdir()) == []
    begin(config, wish(), tmp_path / "s")
    before = written(tmp_path / "s")
    assert len(go_on(tmp_path / "s", 4, [], write=False)[0].cells()) == 8
    assert written(tmp_path / "s") == before


def test_processes_that_begin_a_study_together_write_it_once(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = begin(config, wish(), tmp_path / "s")
    (tmp_path / "s" / "study.yaml").rename(tmp_path / "later")  # the other one has begun, and holds the folder
    with grid._alone(tmp_path / "s", write=True):
        monkeypatch.setattr(grid, "_PATIENCE", 0.0)
        with pytest.raises(ConfigError, match="another process has been writing here"):
            begin(config, wish(), tmp_path / "s")
        (tmp_path / "later").rename(tmp_path / "s" / "study.yaml")
    assert begin(config, wish(), tmp_path / "s")[0].declaration == first.declaration


def test_a_damaged_declaration_is_refused(config: Config, tmp_path: Path) -> None:
    begin(config, wish(), tmp_path / "s")
    path = tmp_path / "s" / "study.yaml"
    values = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**values, "format": 9}))
    with pytest.raises(ConfigError, match="format 9, this version reads 1"):
        go_on(tmp_path / "s", None, [])
    path.write_text("variants: 3")
    with pytest.raises(ConfigError, match="cannot be read as a study"):
        go_on(tmp_path / "s", None, [])
    with pytest.raises(ConfigError, match="holds no study"):
        go_on(tmp_path, None, [])
