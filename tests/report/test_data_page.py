import base64
import dataclasses
import io
import json
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seg_scse.config.schema import DataConfig
from seg_scse.data.checking.check import CheckResult, check_data
from seg_scse.data.checking.finding import Finding
from seg_scse.data.listing.splits import read_splits
from seg_scse.errors import WriteError
from seg_scse.report.data_page import check_text, write_check

from ..data.checking.unlabelled import draw_bands, draw_pictures
from .test_page import EVIL, Page


def check(root: Path, **data: Any) -> CheckResult:
    return check_data(DataConfig.model_validate({"root": str(root), "mask": {"encoding": "binary"}, **data}))


def page_of(result: CheckResult, folder: Path) -> tuple[str, Page]:
    html = write_check(result, folder).read_text(encoding="utf-8")
    return html, Page(html)


@pytest.fixture
def broken(tmp_path: Path) -> CheckResult:
    """Thirty samples: one cannot be read, one mask is too large, two images are equal."""
    root = draw_pictures(tmp_path / "data", 30)
    (root / "images" / "p00.png").write_bytes(b"")
    Image.new("L", (41, 32), 255).save(root / "masks" / "p01.png")
    (root / "images" / "p04.png").write_bytes((root / "images" / "p05.png").read_bytes())
    return check(root)


def test_the_page_is_one_balanced_file_that_loads_nothing(broken: CheckResult, tmp_path: Path) -> None:
    html, page = page_of(broken, tmp_path / "out")
    assert html.startswith("<!DOCTYPE html>")
    assert {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "base"} == set()
    assert all(source and source.startswith("data:image/jpeg;base64,") for source in page.attributes("src"))
    assert page.attributes("href") == []
    assert not re.search(r"@import|url\(|https?://", html)
    assert any("default-src 'none'" in content for content in page.attributes("content"))
    for query in ("prefers-color-scheme: dark", "max-width: 40rem", "@media print"):
        assert query in html


def test_findings_are_grouped_by_level_with_their_text(broken: CheckResult, tmp_path: Path) -> None:
    html, page = page_of(broken, tmp_path / "out")
    assert html.index('id="error"') < html.index('id="note"')
    for finding in broken.findings:
        assert finding.text in page.text
    assert broken.summary in page.text
    assert "Errors: training refuses the data" in page.text


def test_the_numbers_are_those_of_the_data(tmp_path: Path) -> None:
    result = check(draw_pictures(tmp_path / "data", 30))
    _, page = page_of(result, tmp_path / "out")
    assert "50.00 % 21 images" in page.cells
    assert "smallest 40 × 32, median 40 × 32, largest 40 × 32" in page.text
    red = result.tally.bands[0]
    assert f"{red.mean:.5g}" in page.cells
    assert f"{red.sd:.5g}" in page.cells


def test_the_contact_sheet_holds_small_pictures_of_usable_and_broken_samples(
    broken: CheckResult, tmp_path: Path
) -> None:
    _, page = page_of(broken, tmp_path / "out")
    names = page.attributes("alt")
    assert names[0] == "p01"
    assert len(names) == 1 + 28
    assert "p00" not in names
    pictures = [Image.open(io.BytesIO(base64.b64decode(str(uri).partition(",")[2]))) for uri in page.attributes("src")]
    assert {picture.size for picture in pictures} == {(40, 32)}


def test_masks_are_drawn_over_the_images(tmp_path: Path) -> None:
    root = draw_pictures(tmp_path / "data", 6)
    for path in (root / "images").iterdir():
        Image.new("RGB", (40, 32), (90, 90, int(path.stem[1:]))).save(path)
    _, page = page_of(check(root), tmp_path / "out")
    (uri, *_) = page.attributes("src")
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(str(uri).partition(",")[2])))).astype(int)
    assert abs(pixels[16, 5, 0] - 90) < 8
    assert pixels[16, 30, 1] - pixels[16, 30, 0] > 30, "class 1 is green"


def test_json_and_splits_are_written_beside(broken: CheckResult, tmp_path: Path) -> None:
    path = write_check(broken, tmp_path / "a" / "out")
    assert path == tmp_path / "a" / "out" / "check.html"
    content = json.loads((path.parent / "check.json").read_text())
    assert content == json.loads(json.dumps(broken.as_dict()))
    assert read_splits(path.parent / "splits.csv") == {sample.id: sample.split for sample in broken.samples}


def test_samples_that_were_not_divided_have_no_table_of_splits(tmp_path: Path) -> None:
    path = write_check(check(draw_pictures(tmp_path / "data", 1)), tmp_path / "out")
    assert not (path.parent / "splits.csv").exists()
    assert "undivided" in path.read_text()


def test_data_of_which_nothing_can_be_used_have_a_page_too(tmp_path: Path) -> None:
    _, page = page_of(check(tmp_path / "nowhere"), tmp_path / "out")
    assert "0 of 0 samples can be used" in page.text
    assert page.attributes("src") == []


def test_names_cannot_become_markup(tmp_path: Path) -> None:
    root = tmp_path / "<img src=x onerror=alert(1)>"
    draw_pictures(root, 6)
    evil = "a<script>alert(2)<_script>\"b'&\n"
    for kind in ("images", "masks"):
        (root / kind / "p00.png").rename(root / kind / f"{evil}.png")
    result = check(root, classes=["<b>", "</style>"])
    html, page = page_of(result, tmp_path / "out")
    assert page.attributes("onerror") == []
    assert "script" not in {tag for tag, _ in page.tags}
    assert "<script" not in html
    assert evil.replace("\n", "\\n") in page.attributes("alt")
    assert "</style>" in page.text


def test_names_of_undecodable_bytes_are_shown_escaped(tmp_path: Path) -> None:
    root = draw_pictures(tmp_path / "data", 6)
    for kind in ("images", "masks"):
        (root / kind / "p00.png").rename(root / kind / os.fsdecode(b"caf\xe9.png"))
    _, page = page_of(check(root), tmp_path / "out")
    assert "caf\\udce9" in page.attributes("alt")


def test_the_suggestion_is_on_the_page(tmp_path: Path) -> None:
    result = check(draw_bands(tmp_path / "data", "uint16", 5, 900))
    _, page = page_of(result, tmp_path / "out")
    assert "bands: [band1, band2, band3, band4, band5]" in page.text
    assert result.suggestion in page.text


def test_a_folder_that_cannot_be_written_is_named(broken: CheckResult, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="file"):
        write_check(broken, tmp_path / "file" / "out")


def test_the_text_has_a_line_for_each_finding(broken: CheckResult) -> None:
    lines = check_text(broken).splitlines()
    assert lines[0] == broken.summary
    assert len(lines) == 1 + len(broken.findings)
    assert any(line.startswith("error (unreadable): ") for line in lines)


def test_ids_follow_a_text_that_names_none() -> None:
    ids = tuple(f"s{i}" for i in range(8))
    result = SimpleNamespace(
        summary="x", findings=(Finding("note", "a", "none of them", ids), Finding("note", "b", "s0 and others", ids))
    )
    assert check_text(result).splitlines()[1:] == [  # type: ignore[arg-type]
        "note (a): none of them [s0, s1, s2, s3, s4 and 3 more]",
        "note (b): s0 and others",
    ]


def test_every_evil_name_is_text(tmp_path: Path, broken: CheckResult) -> None:
    findings = tuple(Finding("warning", "x", name, (name,)) for name in EVIL)
    _, page = page_of(dataclasses.replace(broken, findings=findings), tmp_path / "out")
    for name in EVIL:
        assert name.replace("\n", "\\n") in page.text
    assert page.attributes("onerror") == []


def test_places_are_one_line_for_each_reference_system(tmp_path: Path) -> None:
    result = check(draw_bands(tmp_path / "data", "uint8", 4, 255), bands=["a", "b", "c", "d"])
    _, page = page_of(result, tmp_path / "out")
    assert "EPSG:32750: 4 images, pixels of 10 × 10 m" in page.cells
    tally = dataclasses.replace(
        result.tally, places={("EPSG:1", 1.0, 2.0, "m"): 3, ("EPSG:1", 1.5, 2.0, "m"): 1, ("none", 1.0, 1.0, "mm"): 1}
    )
    _, page = page_of(dataclasses.replace(result, tally=dataclasses.replace(tally, unplaced=7)), tmp_path / "out")
    assert "EPSG:1: 4 images, pixels of 1 to 1.5 × 2 m" in page.text
    assert "none: 1 image, pixels of 1 × 1 mm" in page.text
    assert "without georeference or pixel size: 7 images" in page.text


def test_a_unit_that_no_file_states_is_called_so(tmp_path: Path) -> None:
    result = check(draw_pictures(tmp_path / "data", 6))
    tally = dataclasses.replace(result.tally, places={("none", 2.0, 2.0, "unknown"): 6})
    _, page = page_of(dataclasses.replace(result, tally=tally), tmp_path / "out")
    assert "none: 6 images, pixels of 2 × 2, unit not stated" in page.text


def test_grey_that_is_repeated_in_rgb_is_one_band(tmp_path: Path) -> None:
    root = draw_pictures(tmp_path / "data", 6)
    result = check(root)
    assert len(bands_of(result, tmp_path / "colour")) == 3
    for path in (root / "images").iterdir():
        Image.open(path).convert("L").save(path)
    result = check(root)
    assert result.config.channels == "rgb"
    assert bands_of(result, tmp_path / "grey") == ["gray"]


def bands_of(result: CheckResult, folder: Path) -> list[str]:
    html, _ = page_of(result, folder)
    drawn = re.findall(r'<div class="label"><b>(\w+)</b>', html)
    (table,) = re.findall(r'<table class="bands">.*?</table>', html, re.DOTALL)
    assert re.findall(r'<th scope="row">(\w+)</th>', table) == drawn
    return drawn


DOCUMENT = Path(__file__).parents[2] / "docs" / "check.md"


def test_every_kind_of_finding_is_documented() -> None:
    sources = "\n".join(
        path.read_text() for path in (DOCUMENT.parents[1] / "seg_scse" / "data" / "checking").glob("*.py")
    )
    rows = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `") and ".html" not in line]
    documented = {kind for row in rows for kind in re.findall(r"`([a-z-]+)`", row.split("|")[1])}
    assert len(documented) > 25
    assert {kind for kind in documented if f'"{kind}"' not in sources} == set()
    raised = set(re.findall(r'Finding\("(?:error|warning|note)", "([a-z-]+)"', sources))
    assert raised - documented == set()


def test_the_documented_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    draw_pictures(tmp_path / "my_data", 30, values=(0, 1))
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "check.md", "exec"), {})
    assert capsys.readouterr().out.startswith("30 of 30 samples can be used")
    assert (tmp_path / "data-check" / "check.html").exists()
