import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from seg_scse import checkpoint, distributed
from seg_scse.cli import main

Refused = Callable[[list[str], int], str]


def test_explain_draws_a_page_per_image_and_the_report_shows_the_gates(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    assert main(["evaluate", str(run)]) == 0
    report = run / "evaluation" / "test" / "report.html"
    assert "after <code>seg-scse explain RUN --split test</code>" in report.read_text()
    capsys.readouterr()
    assert main(["explain", str(run), "--count", "3"]) == 0
    printed = capsys.readouterr().out
    folder = run / "explain" / "test"
    files = ["pages/0.png", "pages/1.png", "pages/2.png", "profile.png", "explain.html"]
    assert [line.removeprefix("written: ") for line in printed.splitlines() if line.startswith("written: ")] == [
        *(str(folder / name) for name in files), str(report),
    ]  # fmt: skip
    assert all((folder / name).exists() for name in files)
    content = json.loads((folder / "explain.json").read_text())
    assert [page["kind"] for page in content["pages"]] == ["worst", "median", "best"]
    assert "decoder.5  scse      spatial      8" in printed
    assert "decoder.5" in report.read_text()
    assert "other weights" not in report.read_text()


def test_explain_takes_ids_files_and_overrides_in_any_order(
    trained: Path, discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "odd <b>$\\x$.png"
    shutil.copy(discs / "images" / "s00.png", file)
    capsys.readouterr()
    named = ["--images", "s01", str(file), "trainer.device=cpu"]
    assert main(["explain", str(trained), "--out", str(tmp_path / "out"), "--limit", "0", "--json", *named]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [page["id"] for page in result["pages"]] == ["s01", str(file)]
    assert result["study"] is None
    assert "odd &lt;b&gt;$" in (tmp_path / "out" / "explain.html").read_text()
    assert result["written"][-1] == str(tmp_path / "out" / "explain.html")


def test_explain_draws_the_slice_of_a_volume_that_is_numbered(
    trained: Path, discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], refused: Refused
) -> None:
    slices = [np.asarray(Image.open(discs / "images" / f"s{number:02}.png")) for number in range(3)]
    nibabel.Nifti1Image(np.stack([part[::-1].T for part in slices], 2), np.eye(4)).to_filename(tmp_path / "v.nii.gz")
    command = ["explain", str(trained), "--limit", "0", "--out", str(tmp_path / "out"), "--json", "--images"]
    capsys.readouterr()
    assert main([*command, f"{tmp_path}/v.nii.gz:1", f"data.root={tmp_path / 'nowhere'}"]) == 0  # needs no data set
    (page,) = json.loads(capsys.readouterr().out)["pages"]
    assert page["id"] == f"{tmp_path}/v.nii.gz:1"
    rows, columns = (slice(page["window"][at], page["window"][at] + 32) for at in "yx")
    with np.load(tmp_path / "out" / "pages" / "0.npz") as arrays:
        assert np.array_equal(arrays["image"][..., 0], slices[1][rows, columns])
    message = refused([*command, f"{tmp_path}/v.nii.gz"], 3)
    assert "is a volume of 3 axial slices, not one image. Name one of them by its number from 0" in message
    assert "such as v.nii.gz:1." in message
    assert "v.nii.gz: has 3 axial slices; there is no slice 3" in refused([*command, f"{tmp_path}/v.nii.gz:3"], 3)
    assert "neither a sample id of the run nor an image file" in refused([*command, f"{tmp_path}/w.nii.gz:1"], 2)


def test_explain_refuses_what_it_cannot_do(trained: Path, tmp_path: Path, refused: Refused) -> None:
    message = refused(["explain", str(trained), "--images", "s01.png"], 2)
    assert "neither a sample id of the run nor an image file; did you mean `s01`?" in message
    message = refused(["explain", str(trained), "--intervene", "--count", "2"], 2)
    assert "--intervene scores the images of a split: leave out --images, --count and --out." in message
    message = refused(["explain", str(trained), "--images", "s01", "--count", "2"], 2)
    assert "--count chooses images where --images names none: leave one of the two out." in message
    message = refused(["explain", str(trained), "--sites", "decoder.1"], 2)
    assert "--sites chooses the gates that --intervene replaces" in message
    message = refused(["explain", str(trained), "--intervene", "--sites", "decoder.9", "trainer.device=cpu"], 2)
    assert "decoder.9" in message
    message = refused(["explain", str(trained / checkpoint.BEST), "--checkpoint", "last"], 2)
    assert "--checkpoint chooses one of a run folder" in message
    assert "no checkpoints/best.ckpt" in refused(["explain", str(tmp_path)], 6)
    (tmp_path / "a.png").write_bytes(b"no image")
    arguments = ["explain", str(trained), "--images", str(tmp_path / "a.png"), "--limit", "0"]
    assert "a.png" in refused([*arguments, "--out", str(tmp_path / "out")], 3)


def test_explain_without_interventions_refuses_several_processes(
    trained: Path, tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    message = refused(["explain", str(trained), "--out", str(tmp_path / "out")], 2)
    assert "explain without --intervene works in one process, not in 2: start it without torchrun." in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("option", "value"), [("--count", "0"), ("--limit", "-1"), ("--limit", "x")])
def test_explain_refuses_numbers_without_a_meaning(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["explain", "run", option, value])
    assert caught.value.code == 2
    assert option in capsys.readouterr().err


def test_explain_of_a_run_without_gates_exits_2(trained: Path, tmp_path: Path, refused: Refused) -> None:
    state, _ = checkpoint.load(trained / checkpoint.BEST)
    state["config"]["model"]["attention"]["type"] = "none"
    state["model"] = {key: value for key, value in state["model"].items() if not key.startswith("gates.")}
    checkpoint.save(tmp_path / "plain.ckpt", state)
    assert "has no gates to explain" in refused(["explain", str(tmp_path / "plain.ckpt")], 2)


def test_interventions_are_printed_drawn_and_put_into_both_pages(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    assert main(["evaluate", str(run)]) == 0
    assert main(["explain", str(run), "--images", "s00", "--limit", "0"]) == 0
    capsys.readouterr()
    assert main(["explain", str(run), "--intervene", "--limit", "2"]) == 0
    printed = capsys.readouterr().out
    folder = run / "explain" / "interventions-test"
    pages = [run / "explain" / "test" / "explain.html", run / "evaluation" / "test" / "report.html"]
    assert [line for line in printed.splitlines() if line.startswith("written: ")] == [
        f"written: {path}" for path in (folder / "interventions.png", *pages)
    ]
    assert "decoder.1" in printed
    for page in pages:
        assert "Interventions" in page.read_text()
        assert "Change of the score when gates are replaced" in page.read_text()
