import csv
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from seg_scse.cli import main
from seg_scse.data.listing.splits import read_splits
from seg_scse.data.sets.cards import known_cards

from .data.checking.test_layout import coco
from .data.checking.unlabelled import draw_bands, draw_pictures
from .data.sets.web_server import running_server, send, serve

ROOT = Path(__file__).parents[1]
Refused = Callable[[list[str], int], str]
Captured = pytest.CaptureFixture[str]


def printed(capsys: Captured, arguments: list[str], code: int = 0) -> str:
    """Run a command and return what it printed on stdout."""
    capsys.readouterr()
    assert main(arguments) == code
    return capsys.readouterr().out


@pytest.fixture(scope="module")
def archive(discs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The twelve drawn pairs as a zip file."""
    path = tmp_path_factory.mktemp("archive") / "discs.zip"
    with zipfile.ZipFile(path, "w") as made:
        for file in sorted(discs.rglob("*.png")):
            made.write(file, file.relative_to(discs))
    return path


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """A card for the drawn pairs, without an address."""
    return write_card(tmp_path / "discs" / "card.yaml", None)


def write_card(path: Path, url: str | None) -> Path:
    content = {
        "title": "Discs", "source": "https://example.org/discs", "licence": "CC0", "citation": "none", "images": 12,
        "checked": "drawn", "layout": "pairs", "marker": "images/*.png",
        "archives": [{"file": "discs.zip", "url": url}],
        "data": {"mask": {"encoding": "binary"}, "channels": "gray"},
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def broken(discs: Path, tmp_path: Path) -> Path:
    """The drawn pairs with a cut image, an empty mask file and a mask without image."""
    shutil.copytree(discs, tmp_path / "broken")
    folder = tmp_path / "broken"
    (folder / "images" / "s01.png").write_bytes((discs / "images" / "s01.png").read_bytes()[:500])
    (folder / "masks" / "s02.png").write_bytes(b"")
    shutil.copy(discs / "masks" / "s03.png", folder / "masks" / "alone.png")
    return folder


@pytest.mark.parametrize("action", [[], ["list"], ["prepare"], ["check"], ["split"]])
def test_each_help_has_examples_and_imports_nothing_heavy(action: list[str]) -> None:
    code = f"import sys, seg_scse.cli as c\ntry: c.main(['data', *{action}, '--help'])\nexcept SystemExit: pass\n"
    code += "print([m for m in ('torch', 'cv2', 'numpy', 'PIL', 'rasterio', 'urllib.request') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert f"seg-scse data {' '.join(action)}" in result.stdout.partition("examples:")[2]
    assert result.stdout.endswith("[]\n")


def test_list_names_every_card_with_its_facts(capsys: Captured) -> None:
    lines = printed(capsys, ["data", "list"]).splitlines()
    assert lines[0].split() == ["name", "images", "classes", "bands", "task", "licence", "get"]
    rows = {line.split()[0]: line.split() for line in lines[1 : lines.index("")]}
    assert set(rows) == set(known_cards())
    assert rows["synthetic_cells"][1:5] == ["92", "3", "3", "multiclass"]
    assert rows["synthetic_cells"][-1] == "drawn"


def test_list_says_what_is_there(capsys: Captured, tmp_path: Path) -> None:
    (tmp_path / "amazon_forest" / "training" / "images").mkdir(parents=True)
    (tmp_path / "stage1_train.zip").touch()
    cards = json.loads(printed(capsys, ["data", "list", "--root", str(tmp_path), "--json"]))["cards"]
    states = {row["name"]: row["state"] for row in cards}
    names = ("amazon_forest", "dsb2018", "kvasir_seg", "synthetic_cells")
    assert [states[name] for name in names] == ["ready", "archive there", "missing", "ready"]


def test_prepared_data_can_be_checked_with_the_printed_line(
    capsys: Captured, tmp_path: Path, card: Path, archive: Path
):
    out = printed(capsys, ["data", "prepare", str(card), "--root", str(tmp_path / "data"), "--archive", str(archive)])
    assert f"{card}: unpacked; 8 train, 2 val, 2 test" in out
    assert yaml.safe_load(out[out.index("  data:") : out.index("check:")])["data"] == {
        "card": str(card), "root": str(tmp_path / "data" / "discs"),
    }  # fmt: skip
    (line,) = [line for line in out.splitlines() if line.startswith("check:")]
    arguments = line.removeprefix("check:  seg-scse ").split()
    assert "12 of 12 samples can be used" in printed(capsys, [*arguments, "--out", str(tmp_path / "page")])
    again = json.loads(printed(capsys, ["data", "prepare", str(card), "--root", str(tmp_path / "data"), "--json"]))
    assert (again["how"], again["splits"]) == ("there", {"train": 8, "val": 2, "test": 2})


def test_prepare_downloads_what_is_cut_and_goes_on(
    capsys: Captured, tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("seg_scse.data.sets.download.time.sleep", lambda _: None)
    root, data = str(tmp_path / "data"), archive.read_bytes()
    with running_server() as server:
        card = str(write_card(tmp_path / "discs" / "card.yaml", server.url("discs.zip")))
        server.answers = [serve(data, cut=1000), send(404)]
        assert main(["data", "prepare", card, "--root", root]) == 3
        message = capsys.readouterr().err
        assert "discs.zip: cut off after 1000 of" in message
        assert "\nerror: http://127.0.0.1" in message
        assert "the server answers 404" in message
        assert "Get discs.zip from https://example.org/discs" in message
        server.answers = [serve(data)]
        server.requests.clear()
        assert "downloaded; 8 train" in printed(capsys, ["data", "prepare", card, "--root", root])
        assert server.ranges == ["bytes=1000-"]


def test_prepare_without_files_says_what_to_do_by_hand(tmp_path: Path, card: Path, refused: Refused) -> None:
    message = refused(["data", "prepare", str(card), "--root", str(tmp_path / "data"), "--no-download"], 3)
    assert "1. Get discs.zip from https://example.org/discs. Licence: CC0." in message
    assert f"2. Save it as {tmp_path / 'data' / 'discs.zip'}" in message
    assert f"3. Repeat: seg-scse data prepare {card} --root {tmp_path / 'data'}" in message


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["prepare", "dsb2081", "--root", "x"], "no card `dsb2081`; did you mean `dsb2018`? Known: amazon_forest"),
        (["prepare", "dsb2018"], "--root DIR is missing"),
        (["prepare", "dsb2018", "--root", "x", "seed=1"], "`seed=1`: `data prepare` takes no overrides"),
        (["list", "seed=1"], "`data list` takes no overrides"),
        (["check"], "no data: give --config FILE, or --images DIR --masks DIR, or overrides such as data.card=NAME"),
        (["check", "--images", "x"], "--images and --masks go together"),
        (["check", "--images", "x", "--masks", "x", "--config", "x"], "--config and --images exclude each other"),
        (["check", "data.card=dsb2081"], "data.card=dsb2081: no such card"),
        (["check", "data.mask.encodign=binary"], "unknown key `data.mask.encodign`; did you mean `encoding`?"),
        (["split"], "no data: give --config FILE, or overrides"),
        (["split", "data.images=x", "data.split.train=0.9"], "the shares must sum to 1"),
    ],
)
def test_wrong_usage_exits_2(arguments: list[str], part: str, refused: Refused) -> None:
    assert part in refused(["data", *arguments], 2)


def test_a_root_that_cannot_be_written_exits_5(tmp_path: Path, card: Path, archive: Path, refused: Refused) -> None:
    (tmp_path / "file").touch()
    arguments = ["data", "prepare", str(card), "--root", str(tmp_path / "file" / "data"), "--archive", str(archive)]
    assert "cannot be written" in refused(arguments, 5)


def test_check_of_good_folders_exits_0_and_writes_the_page(capsys: Captured, discs: Path, tmp_path: Path) -> None:
    folders = ["--images", str(discs / "images"), "--masks", str(discs / "masks")]
    out = printed(capsys, ["data", "check", *folders, "--out", str(tmp_path / "page")])
    assert out.startswith("12 of 12 samples can be used")
    assert f"page: {tmp_path / 'page' / 'check.html'}" in out
    assert (tmp_path / "page" / "check.html").read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("way", ["folders", "overrides", "config"])
def test_check_names_every_problem_and_exits_3(capsys: Captured, broken: Path, tmp_path: Path, way: str) -> None:
    (tmp_path / "my.yaml").write_text(f"data: {{root: {broken}, mask: {{encoding: binary}}}}\n")
    arguments = {
        "folders": ["--images", str(broken / "images"), "--masks", str(broken / "masks"), "data.mask.encoding=binary"],
        "overrides": [f"data.root={broken}", "data.mask.encoding=binary"],
        "config": ["--config", str(tmp_path / "my.yaml")],
    }[way]
    assert main(["data", "check", *arguments, "--out", str(tmp_path / "page")]) == 3
    out, message = capsys.readouterr()
    errors = [line for line in out.splitlines() if line.startswith("error")]
    assert all(any(name in line for line in errors) for name in ("s01", "s02", "alone")), out
    assert message.startswith("error: training would refuse these data.")
    assert (tmp_path / "page" / "check.html").exists()


def test_overrides_reach_the_look_at_folders(capsys: Captured, discs: Path, tmp_path: Path, refused: Refused) -> None:
    shutil.copytree(discs, tmp_path / "data")
    images, masks = tmp_path / "data" / "images", tmp_path / "data" / "masks"
    for path in images.iterdir():
        path.rename(path.with_name(f"{path.stem}_0000.png"))
    folders = ["--images", str(images), "--masks", str(masks)]
    assert "_0000" in refused(["train", *folders, "--print-config"], 3)
    out = printed(capsys, ["train", *folders, "--print-config", "data.image_suffix=_0000"])
    chosen = yaml.safe_load(out)
    assert (chosen["data"]["image_suffix"], chosen["data"]["mask"]["encoding"]) == ("_0000", "binary")
    arguments = ["data", "check", *folders, "--out", str(tmp_path / "page"), "data.image_suffix=_0000"]
    assert printed(capsys, arguments).startswith("12 of 12 samples can be used")


def test_a_broken_file_does_not_hide_what_the_others_call_for(capsys: Captured, tmp_path: Path) -> None:
    root = draw_bands(tmp_path, "uint16", 4, 4000)
    (root / "images" / "t0.tif").write_bytes(b"")
    folders = ["--images", str(root / "images"), "--masks", str(root / "masks"), "--out", str(tmp_path / "page")]
    result = json.loads(printed(capsys, ["data", "check", *folders, "--json"], code=3))
    assert [finding["kind"] for finding in result["findings"] if finding["level"] == "error"] == ["unreadable"]
    section = yaml.safe_load(result["suggestion"])["data"]
    assert section["scale"] == {"method": "percentile"}
    assert section["mask"] == {"encoding": "binary"}


def test_what_was_guessed_from_folders_is_noted_with_its_reason(capsys: Captured, tmp_path: Path) -> None:
    root = draw_bands(tmp_path, "uint8", 4, 255)
    for path in (root / "masks").iterdir():
        mask = np.zeros((32, 40), np.uint8)
        mask[:8], mask[-1] = 1, 255
        Image.fromarray(mask).save(path)
    folders = ["--images", str(root / "images"), "--masks", str(root / "masks"), "--out", str(tmp_path / "page")]
    result = json.loads(printed(capsys, ["data", "check", *folders, "--json"]))
    notes = [finding["text"] for finding in result["findings"] if finding["kind"] == "assumed"]
    assert any(note.startswith("data.bands: 4 bands, named as they usually come: check it") for note in notes)
    assert any("255 is taken as pixels to ignore" in note for note in notes)
    assert any(note.startswith("data.classes: ") and "the first is the background" in note for note in notes)
    assert "# 4 bands, named as they usually come" in result["suggestion"]


def test_an_annotation_file_is_no_missing_folder(capsys: Captured, tmp_path: Path) -> None:
    images = draw_pictures(tmp_path, 6) / "images"
    table = coco(tmp_path / "coco.json", 6, "car", "person")
    arguments = ["--images", str(images), "--masks", str(table), "--out", str(tmp_path / "page")]
    out = printed(capsys, ["data", "check", *arguments])
    assert "note (assumed): data.mask: coco.json is read as mask.encoding=polygons" in out
    page = (tmp_path / "page" / "check.html").read_text()
    assert "mask: {encoding: polygons}" in page
    assert "classes: [background, car, person]" in page


def test_check_as_json_is_one_object_with_the_exit_code(capsys: Captured, broken: Path, tmp_path: Path) -> None:
    arguments = [f"data.root={broken}", "data.mask.encoding=binary", "--json", "--out", str(tmp_path / "page")]
    result = json.loads(printed(capsys, ["data", "check", *arguments], code=3))
    assert result["exit_code"] == 3
    assert result["page"] == str(tmp_path / "page" / "check.html")
    named = {id_ for finding in result["findings"] if finding["level"] == "error" for id_ in finding["ids"]}
    assert {"s01", "s02"} <= named


def test_split_prints_counts_and_writes_a_table_that_serves_again(capsys: Captured, discs: Path, tmp_path: Path):
    data = [f"data.root={discs}", "data.mask.encoding=binary"]
    out = printed(capsys, ["data", "split", *data, "--out", str(tmp_path / "splits.csv"), "data.split.seed=7"])
    table = [line.split() for line in out.splitlines() if line.startswith(("train", "val", "test"))]
    assert table == [["train", "8", "8", "8", "8"], ["val", "2", "2", "2", "2"], ["test", "2", "2", "2", "2"]]
    with (tmp_path / "splits.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 12
    assert list(rows[0]) == ["id", "split", "group"]
    again = [*data, f"data.split.file={tmp_path / 'splits.csv'}", "--json"]
    result = json.loads(printed(capsys, ["data", "split", *again]))
    assert {name: row["samples"] for name, row in result["splits"].items()} == {"train": 8, "val": 2, "test": 2}
    assert result["splits"]["val"]["classes"] == {"background": 2, "foreground": 2}


def test_split_divides_groups_and_folds(capsys: Captured, discs: Path, tmp_path: Path) -> None:
    data = [f"data.root={discs}", "data.mask.encoding=binary", r"data.split.group=^(s\d)"]
    arguments = [*data, "data.split.train=0.5", "data.split.val=0.0", "data.split.test=0.5", "--json"]
    result = json.loads(printed(capsys, ["data", "split", *arguments]))
    assert {row["groups"] for row in result["splits"].values()} == {0, 1}
    folds = [*data[:2], "data.split.folds=3", "--json", "--out", str(tmp_path / "s.csv")]
    result = json.loads(printed(capsys, ["data", "split", *folds]))
    assert [fold["splits"]["test"]["samples"] for fold in result["folds"]] == [4, 4, 4]
    tables = [read_splits(tmp_path / f"s-fold{fold}.csv") for fold in range(3)]
    tests = [{id_ for id_, split in table.items() if split == "test"} for table in tables]
    assert len(set.union(*tests)) == 12


def test_split_of_files_that_cannot_be_read_exits_3(broken: Path, refused: Refused) -> None:
    arguments = ["data", "split", f"data.root={broken}", "data.mask.encoding=binary"]
    assert "alone" in refused(arguments, 3)
    (broken / "masks" / "alone.png").unlink()
    message = refused(arguments, 3)
    assert "2 of 12 samples cannot be used" in message
    assert "s01" in message
    assert "s02" in message
