import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seg_scse import checkpoint
from seg_scse.cli import main

ROOT = Path(__file__).parents[1]
Refused = Callable[[list[str], int], str]


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, seg_scse.cli as c\ntry: c.main(['train', '--help'])\nexcept SystemExit: pass\n"
    code += "print([m for m in ('torch', 'cv2', 'matplotlib', 'timm', 'albumentations') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "examples:" in result.stdout
    assert result.stdout.endswith("[]\n")


def test_evaluation_of_the_best_checkpoint_reproduces_the_logged_validation(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["evaluate", str(trained), "--split", "val", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    with (trained / "epochs.csv").open() as stream:
        logged = list(csv.DictReader(stream))[results["checkpoint"]["epoch"] - 1]
    for name in ("dice_per_image", "dice_pooled", "iou_per_image", "iou_pooled"):
        assert results["scores"][name]["foreground"] == pytest.approx(float(logged[name]), abs=1e-6)
    assert results["data"]["same_as_training"]


def test_evaluation_writes_table_report_and_every_file(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(trained)]) == 0
    printed = capsys.readouterr().out
    folder = trained / "evaluation" / "test"
    assert f"report: {folder / 'report.html'}" in printed
    assert "foreground" in printed
    assert {path.name for path in folder.iterdir()} == {
        "results.json", "counts.csv", "groups.csv", "surfaces.csv", "probabilities.json", "probabilities.npz",
        "per_image.csv", "report.html", "report.md", "table.csv", "table.tex", "cases",
    }  # fmt: skip
    results = json.loads((folder / "results.json").read_text())
    assert results["images"] == 3
    assert f"{results['scores']['dice_per_image']['foreground']:.4f}" in printed
    with (folder / "per_image.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {(row["height"], row["width"]) for row in rows} == {("48", "56")}, "scored at the original resolution"
    mean = np.mean([float(row["dice_foreground"]) for row in rows])
    assert results["scores"]["dice_per_image"]["foreground"] == pytest.approx(mean)


def test_checkpoint_file_is_evaluated_by_itself(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["evaluate", str(trained / checkpoint.LAST), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["checkpoint"]["epoch"] == 3
    assert (trained / "evaluation" / "test-last" / "report.html").exists()


def test_cases_of_the_report_go_from_worst_to_best(trained: Path) -> None:
    assert main(["evaluate", str(trained)]) == 0
    entries = json.loads((trained / "evaluation" / "test" / "cases" / "index.json").read_text())
    assert [entry["kind"] for entry in entries] == ["worst", "median", "best"]
    assert [entry["score"] for entry in entries] == sorted(entry["score"] for entry in entries)


def test_curves_are_drawn_while_training(trained: Path) -> None:
    assert (trained / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_train_without_configuration_writes_its_choices_with_reasons(
    discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--images", str(discs / "images"), "--masks", str(discs / "masks"), "--out", str(tmp_path / "run")]
    small = ["trainer.max_steps=2", "trainer.batch_size=2", "trainer.repeats=1", "trainer.tensorboard=false"]
    assert main(["train", *arguments, *small]) == 0
    text = (tmp_path / "run" / "config.yaml").read_text()
    assert "encoding: binary" in text
    assert "# two values: 0 (" in text
    assert "channels: gray" in text
    assert "crop: 32" in text
    assert "type: scse" in text


def test_the_source_to_start_from_is_in_the_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text("")
    words = ["--config", str(tmp_path / "a.yaml"), "--from", "runs/nuclei", "finetune.freeze=[encoder]"]
    assert main(["train", "--print-config", *words]) == 0
    printed = capsys.readouterr().out
    assert "source: runs/nuclei" in printed
    assert "freeze: [encoder]" in printed


def test_the_end_of_a_run_names_the_next_commands(
    discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "a.yaml"
    config.write_text(f"data: {{root: {discs}, mask: {{encoding: binary}}}}\nmodel: {{architecture: classic_unet}}\n")
    small = ["model.width=4", "model.depth=2", "trainer.crop=32", "trainer.max_steps=1", "trainer.tensorboard=false"]
    assert main(["train", "--config", str(config), "--out", str(tmp_path / "run"), *small]) == 0
    printed = capsys.readouterr().out
    assert "checkpoints of 0 MiB" in printed, "the room they take is said before training"
    assert "best:    epoch 1" in printed
    assert f"  python evaluate.py {tmp_path / 'run'} --split test" in printed


def test_print_config_prints_and_trains_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "my config.yaml"
    config.write_text("trainer: {crop: 64}\n")
    assert main(["train", "--config", str(config), "--print-config", "trainer.batch_size=3"]) == 0
    printed = capsys.readouterr().out
    assert "name: my_config" in printed
    assert "batch_size: 3" in printed
    assert main(["config", "check", str(config)]) == 0
    assert main(["config", "schema"]) == 0


def test_config_typo_exits_2(trained: Path, refused: Refused) -> None:
    message = refused(["train", "--config", str(trained / "config.yaml"), "model.atention.type=scse"], 2)
    assert "unknown key `model.atention`; did you mean `attention`?" in message


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("loss.class_weights=[1.0, 2.0]", "loss.class_weights has 2 numbers for 3 classes"),
        ("model.encoder=resnet81", "`model.encoder` = 'resnet81' is not known"),
        ("model.attention.sites=[decoders]", "`decoders` is not available"),
        ("data.card=dsb2081", "dsb2018"),
    ],
)
def test_config_check_looks_at_card_loss_and_network(
    override: str, part: str, refused: Refused, capsys: pytest.CaptureFixture[str]
) -> None:
    quickstart = str(ROOT / "configs" / "quickstart.yaml")
    assert part in refused(["config", "check", quickstart, override], 2)
    assert main(["config", "check", quickstart]) == 0
    assert "classes: [background, round, elongated]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["train"], "nothing to train on"),
        (["train", "--images", "x"], "--images and --masks go together"),
        (["train", "--resume", "x", "--print-config"], "--resume continues a run as it was started"),
        (["train", "--resume", "x", "--from", "y"], "--resume continues a run as it was started"),
        (["train", "--config", "x.yaml", "--allow-change"], "--allow-change goes with --resume"),
        (
            ["train", "--config", "x.yaml", "--from", "y", "finetune.source=z"],
            "--from and finetune.source say the same",
        ),
        (["train", "--resume", "x", "seed=1"], "x: no run with a checkpoint to resume"),
        (["config", "schema", "seed=1"], "the schema takes no overrides"),
        (["train", "--resume", "nowhere"], "no run with a checkpoint to resume"),
        (["train", "--resume", "train.py"], "train.py: is a file, and a run is continued by its folder"),
        (["train", "--config", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
    ],
)
def test_wrong_usage_exits_2(arguments: list[str], part: str, refused: Refused) -> None:
    assert part in refused(arguments, 2)


def test_unknown_argument_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["train", "--confg", "x"])
    assert caught.value.code == 2
    assert "unknown argument `--confg`" in capsys.readouterr().err


def test_missing_folder_exits_3(tmp_path: Path, refused: Refused) -> None:
    arguments = ["train", "--images", str(tmp_path / "images"), "--masks", str(tmp_path / "masks")]
    assert "does not exist" in refused(arguments, 3)


def test_files_that_do_not_pair_exit_3(discs: Path, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "masks").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "masks" / "other.png")
    message = refused(["train", "--images", str(discs / "images"), "--masks", str(tmp_path / "masks")], 3)
    assert "images and masks do not pair" in message


def test_undeclared_mask_value_exits_3_with_the_line_to_write(
    discs: Path, tmp_path: Path, tiny: list[str], refused: Refused
) -> None:
    config = tmp_path / "a.yaml"
    config.write_text("seed: 0\n")
    arguments = [text for text in tiny if "encoding" not in text]
    message = refused(["train", "--config", str(config), "--out", str(tmp_path / "run"), *arguments], 3)
    assert "undeclared mask value 255" in message
    assert "`data.mask.values: {0: 0, 255: 1}`" in message
    assert not (tmp_path / "run").exists()


def test_checkpoint_of_another_model_exits_6(trained: Path, tmp_path: Path, refused: Refused) -> None:
    state, _ = checkpoint.load(trained / checkpoint.BEST)
    state["config"]["model"]["attention"]["type"] = "none"
    file = tmp_path / "other.ckpt"
    checkpoint.save(file, state)
    message = refused(["evaluate", str(file)], 6)
    assert "made by another model" in message


def test_damaged_checkpoint_exits_6(trained: Path, tmp_path: Path, refused: Refused) -> None:
    file = tmp_path / "cut.ckpt"
    file.write_bytes((trained / checkpoint.BEST).read_bytes()[:1000])
    assert "cut short" in refused(["evaluate", str(file)], 6)
    (tmp_path / "checkpoints").mkdir()
    assert "no checkpoints/best.ckpt" in refused(["evaluate", str(tmp_path)], 6)


def test_evaluation_refuses_to_change_the_network(trained: Path, refused: Refused) -> None:
    message = refused(["evaluate", str(trained), "trainer.crop=64"], 2)
    assert "It would describe another network or other truth" in message


def test_evaluation_on_other_data_says_so(
    trained: Path, discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(discs, tmp_path / "data")
    (tmp_path / "data" / "masks" / "s03.png").write_bytes((discs / "masks" / "s04.png").read_bytes())
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    assert main(["evaluate", str(run), f"data.root={tmp_path / 'data'}"]) == 0
    assert "warning: the images or masks are not those that the network was trained with" in capsys.readouterr().out
    page = (run / "evaluation" / "test" / "report.html").read_text()
    assert "not those that the network was trained with" in page


def test_evaluation_keeps_the_splits_of_the_run(trained: Path, discs: Path, tmp_path: Path) -> None:
    shutil.copytree(discs, tmp_path / "data")
    for folder in ("images", "masks"):
        (tmp_path / "data" / folder / "new.png").write_bytes((discs / folder / "s00.png").read_bytes())
    file = tmp_path / "alone.ckpt"
    file.write_bytes((trained / checkpoint.BEST).read_bytes())
    assert main(["evaluate", str(file), f"data.root={tmp_path / 'data'}"]) == 0
    with (tmp_path / "alone-evaluation" / "test" / "per_image.csv").open() as stream:
        found = {row["id"] for row in csv.DictReader(stream)}
    with (trained / "splits.csv").open() as stream:
        assert found == {row["id"] for row in csv.DictReader(stream) if row["split"] == "test"}


def test_evaluation_may_change_its_own_settings(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["evaluate", str(trained), "--json", "evaluation.empty=one", "evaluation.threshold=0.4"]) == 0
    protocol = json.loads(capsys.readouterr().out)["protocol"]
    assert (protocol["empty"], protocol["threshold"]) == ("one", 0.4)


def test_internal_error_exits_1_without_a_traceback(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("wires")

    monkeypatch.setattr(checkpoint, "load", broken)
    assert main(["evaluate", str(trained)]) == 1
    message = capsys.readouterr().err
    assert message.startswith("internal error: RuntimeError: wires")
    assert "Traceback" not in message


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError(), MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")],
    ids=["GPU", "Python", "machine"],
)
def test_out_of_memory_names_the_cure(
    error: Exception, trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(checkpoint, "load", full)
    assert main(["evaluate", str(trained)]) == 1
    assert "Halve trainer.batch_size or trainer.crop" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_train_together_and_count_each_image_once(tiny: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "train.py"]
    config = tmp_path / "a.yaml"
    config.write_text("")
    arguments = ["--config", str(config), "--out", str(folder), "--evaluate", "val", *tiny, "trainer.max_epochs=2"]
    result = subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    with (folder / "epochs.csv").open() as stream:
        logged = [float(row["dice_per_image"]) for row in csv.DictReader(stream)]
    both = json.loads((folder / "evaluation" / "val" / "results.json").read_text())
    assert both["images"] == 3
    assert main(["evaluate", str(folder), "--split", "val"]) == 0
    alone = json.loads((folder / "evaluation" / "val" / "results.json").read_text())
    assert alone["confusion"] == both["confusion"]
    assert alone["scores"]["dice_per_image"]["foreground"] == pytest.approx(max(logged), abs=1e-6)
