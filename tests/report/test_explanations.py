import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from seg_scse.errors import DataError
from seg_scse.report import interventions, overlays
from seg_scse.report.explained import read_arrays, read_explanation
from seg_scse.report.explanations import (
    evaluation_folder,
    explained_folder,
    explanation_folder,
    explanation_table,
    write_explanation,
)
from seg_scse.report.profiles import draw_profiles, group_colour

MULTI = ("background", "axon", "myelin")
EVIL = "<img src=x onerror=alert(1)>.png"


class Page(HTMLParser):
    """Tags, cells and texts of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self.inside = False
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag in ("td", "th") or (self.inside and tag in ("span", "small"))
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag):
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data):
        self.text += data
        if self.inside:
            self.cells[-1] += data


def page_of(folder: Path) -> tuple[str, Page]:
    html = (folder / "explain.html").read_text(encoding="utf-8")
    return html, Page(html)


def content_of(folder: Path) -> dict:
    return json.loads((folder / "explain.json").read_text())


def change(folder: Path, **values) -> None:
    (folder / "explain.json").write_text(json.dumps(content_of(folder) | values))


def test_every_picture_and_the_page_are_written(make_explanation):
    folder = make_explanation(ids=("a", "b"))
    written = write_explanation(folder)
    assert [str(path.relative_to(folder)) for path in written] == [
        "pages/0.png", "pages/1.png", "profile.png", "explain.html",
    ]  # fmt: skip
    html, page = page_of(folder)
    sources = [attrs["src"] for tag, attrs in page.tags if tag == "img"]
    assert len(sources) == 3
    pictures = [base64.b64decode(source.removeprefix("data:image/png;base64,")) for source in sources]
    assert pictures[1:] == [(folder / "pages" / f"{number}.png").read_bytes() for number in range(2)]
    assert any(
        "default-src 'none'" in attrs["content"] for tag, attrs in page.tags if tag == "meta" and "content" in attrs
    )
    assert not re.search(r"@import|url\(|https?://", html)


def test_only_the_first_pictures_are_put_into_the_page(make_explanation, monkeypatch):
    monkeypatch.setattr("seg_scse.report.explanations.MOST_EMBEDDED", 1)
    folder = make_explanation(ids=("a", "b", "c"), gates=(("channel",),), study=False)
    write_explanation(folder)
    _, page = page_of(folder)
    assert "3 images, the first 1 shown here; all are in the folder" in " ".join(page.text.split())
    assert sum(tag == "img" for tag, _ in page.tags) == 1
    assert (folder / "pages" / "2.png").exists()


def test_table_of_the_page_holds_the_numbers_of_each_gate(make_explanation):
    folder = make_explanation(gates=(("channel", "spatial"), ()), flags=("saturated", "constant"))
    write_explanation(folder)
    cells = [cell.strip() for cell in page_of(folder)[1].cells]
    head = ["decoder.1", "scse", "8", "4"]
    flags = "saturated, constant"
    assert cells[12:24] == [*head, "channel", "0.512", "0.123", "0.037", "0.7 %", "", "0.222", flags]
    assert cells[24:36] == [*head, "spatial", "0.512", "0.123", "", "0.7 %", "0.875", "", flags]
    assert cells[36:] == ["decoder.2", "scse", "16", "8", "no separate gates: see the maps before and after it"]


def test_each_class_of_several_has_its_auroc_on_the_page(make_explanation):
    folder = make_explanation(classes=MULTI, gates=(("channel",), ("spatial",)))
    write_explanation(folder)
    cells = [cell.strip() for cell in page_of(folder)[1].cells]
    assert cells[-6:] == ["Stage", "axon", "myelin", "decoder.2", "0.875 n = 7", "0.875 n = 7"]


def test_flags_and_caveats_are_said_in_words(make_explanation):
    folder = make_explanation(gates=(("spatial",),), flags=("saturated", "constant"), same_data=False)
    write_explanation(folder)
    text = " ".join(page_of(folder)[1].text.split())
    assert "decoder.1, spatial gate: saturated. 0.4% of its values are in the lowest hundredth" in text
    assert (
        "decoder.1, spatial gate: constant. Its values spread by only 0.1230 (standard deviation) around 0.512" in text
    )
    assert "Tiles with only one of the two are left out (at most 1 at a stage)" in text
    assert "groups without any difference would give 0.14 on average" in text
    assert "only an intervention can tell" in text
    assert "not those that the network was trained with" in text


def test_spatial_gates_alone_have_no_profile(make_explanation):
    folder = make_explanation(gates=(("spatial",),))
    (folder / "profile.png").write_bytes(b"of an older explanation")
    assert "profile.png" not in [path.name for path in write_explanation(folder)]
    assert not (folder / "profile.png").exists()
    assert "Channel profiles" not in page_of(folder)[0]


def test_profile_draws_a_row_for_every_three_stages_with_channel_gates(make_explanation):
    folder = make_explanation(gates=(("channel",), ("channel",), ("spatial",), ("channel", "spatial"), ("channel",)))
    explanation, arrays = read_explanation(folder), read_arrays(folder / "profiles.npz")
    one = {name: values for name, values in arrays.items() if name.startswith("decoder.1.")}
    heights = [Image.open(io.BytesIO(draw_profiles(explanation, part) or b"")).size[1] for part in (one, arrays)]
    assert heights == [330, 615]
    assert draw_profiles(explanation, {}) is None


def test_groups_named_after_classes_have_their_colours(make_explanation):
    explanation = read_explanation(make_explanation(classes=MULTI))
    assert group_colour(explanation, "myelin", 0) == overlays.class_colour(2)
    assert group_colour(explanation, "no foreground", 1) == overlays.BACKGROUND
    binary = explanation.model_copy(update={"classes": MULTI[:2]})
    assert len({group_colour(binary, f"{name} foreground", index) for index, name in enumerate("abc")}) == 3


def test_interventions_of_other_weights_than_those_explained_are_recognised(make_explanation, monkeypatch):
    folder = make_explanation()
    study = folder.with_name("interventions-test")
    study.mkdir()
    (study / "interventions.json").write_text("{}")
    content = SimpleNamespace(model_dump=dict)
    monkeypatch.setattr(interventions, "read_interventions", lambda _place: content)
    monkeypatch.setattr(interventions, "interventions_table", lambda _found, shown: f"beside {shown}")
    monkeypatch.setattr(interventions, "plot", lambda _place: folder / "explain.json")
    write_explanation(folder)
    assert f"beside {content_of(folder)['checkpoint']['sha256']}" in page_of(folder)[1].text


def test_names_cannot_become_markup(make_explanation):
    folder = make_explanation(ids=(EVIL, "line\nbreak"), classes=("background", "</style><script>", "b&w"), name=EVIL)
    write_explanation(folder)
    _, page = page_of(folder)
    assert not [attrs for _, attrs in page.tags if "onerror" in attrs]
    assert "script" not in {tag for tag, _ in page.tags}
    assert EVIL in page.text
    assert "line\\nbreak" in page.text
    assert f"Gates, features and class activation of {EVIL}" in [attrs.get("alt") for _, attrs in page.tags]


def test_explanation_without_a_study_shows_pictures_only(make_explanation):
    folder = make_explanation(study=False)
    write_explanation(folder)
    html, page = page_of(folder)
    assert "No images of the split were studied" in page.text
    assert "<table>" not in html
    assert explanation_table(content_of(folder)).startswith("No images of the split were studied")


def test_table_for_the_terminal_is_narrow_and_complete(make_explanation):
    folder = make_explanation(gates=(("channel", "spatial"), ()), flags=("constant",))
    table = explanation_table(content_of(folder))
    lines = table.splitlines()
    assert max(map(len, lines)) <= 100
    rows = [" ".join(line.split()) for line in lines]
    assert "stage block gate C mean spread satur. AUROC eta2 flags" in rows
    assert "decoder.1 scse channel 8 0.512 0.123 0.7% 0.222 constant" in rows
    assert "decoder.1 scse spatial 8 0.512 0.123 0.7% 0.875 constant" in rows
    assert "decoder.2 scse - 16 no separate gates: see the maps before and after it" in rows
    assert "decoder.1, channel gate: constant." in table


def test_long_site_names_keep_their_end_in_the_terminal(make_explanation):
    content = content_of(make_explanation(gates=(("channel",),)))
    name = "encoder.layer3.0.some.deeply.nested.module.bn2"
    content["stages"][0]["site"] = name
    content["study"]["stages"] = {name: content["study"]["stages"]["decoder.1"]}
    content["pages"][0]["cells"] = {name: [8, 8]}
    lines = explanation_table(content).splitlines()
    assert max(map(len, lines)) <= 100
    assert any(line.startswith("…") and "nested.module.bn2  scse" in line for line in lines)


def test_folders_of_one_split_find_each_other(tmp_path):
    for kind in ("evaluation", "alone-evaluation"):
        scored = tmp_path / kind / "test-last"
        explained = explanation_folder(scored)
        assert explained == tmp_path / kind.replace("evaluation", "explain") / "test-last"
        assert evaluation_folder(explained) == scored
    assert explained_folder(tmp_path / "explain" / "interventions-test") == tmp_path / "explain" / "test"


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"format": 2}, "format: Input should be 1"),
        ({"stages": []}, "stages"),
        ({"pages": [{"id": "a"}]}, "pages.0.arrays: Field required"),
    ],
)
def test_damaged_content_is_refused_with_the_cure(make_explanation, values, problem):
    folder = make_explanation()
    change(folder, **values)
    with pytest.raises(DataError, match="`seg-scse explain RUN` writes this file") as info:
        read_explanation(folder)
    assert problem in str(info.value)


def test_arrays_outside_the_folder_are_not_read(make_explanation):
    content = content_of(make_explanation())
    content["pages"][0]["arrays"] = "../../secret.npz"
    with pytest.raises(ValidationError, match="String should match pattern"):
        explanation_table(content)


def test_sites_without_statistics_or_maps_are_refused(make_explanation):
    folder = make_explanation()
    content = content_of(folder)
    del content["study"]["stages"]["decoder.2"]
    with pytest.raises(ValidationError, match=r"study\.stages lacks the sites \['decoder\.2'\]"):
        explanation_table(content)


def test_missing_or_damaged_arrays_are_named(make_explanation):
    folder = make_explanation()
    path = folder / "pages" / "0.npz"
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(DataError, match="is not a readable npz file"):
        read_arrays(path)
    path.unlink()
    with pytest.raises(DataError, match=r"0\.npz: file not found\.\n`seg-scse explain RUN` writes this file"):
        write_explanation(folder)


def test_arrays_hold_no_objects(tmp_path):
    np.savez(tmp_path / "a.npz", evil=np.array([{}], dtype=object))
    with pytest.raises(DataError, match="is not a readable npz file"):
        read_arrays(tmp_path / "a.npz")
