import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from seg_scse.errors import DataError
from seg_scse.report import interventions, write_report

EVIL = [
    "<img src=x onerror=alert(1)>.png",
    "</script><script>alert(2)</script>",
    "a\"b'c&d",
    "line\nbreak",
    "</style>",
    "<!-- -->",
]
VOID = {"meta", "img", "input", "br", "link", "hr"}
MULTI = ["background", "axon", "myelin"]


class Page(HTMLParser):
    """Tags, attributes and texts of a page, those of scripts apart; refuses unbalanced tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self.scripts: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("td", "dd", "dt", "th"):
            self.cells.append("")
        if tag == "script":
            self.scripts.append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
            return
        self.text += data
        if {"td", "dd", "dt", "th"} & set(self.open):
            self.cells[-1] += data

    def attributes(self, name: str) -> list[str | None]:
        return [attrs[name] for _, attrs in self.tags if name in attrs]


def render(folder: Path) -> tuple[str, Page]:
    html = write_report(folder).read_text(encoding="utf-8")
    return html, Page(html)


def change(path: Path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def decode(uri: str) -> bytes:
    return base64.b64decode(uri.removeprefix("data:image/png;base64,"))


@pytest.mark.parametrize("classes", [None, MULTI, ["background", *(f"class {i}" for i in range(1, 12))]])
def test_page_is_one_balanced_file_that_loads_nothing(make_run, make_epochs, classes):
    folder = make_run(classes=classes)
    make_epochs(folder.parents[1], ["1,10,1e-3,0.9,0.8,0.5,0.5,0.4,0.4,3"])
    html, page = render(folder)
    assert html.startswith("<!DOCTYPE html>")
    assert {tag for tag, _ in page.tags} & {"link", "iframe", "object", "base", "form"} == set()
    assert all(source.startswith("data:image/png;base64,") for source in page.attributes("src"))
    assert all(address.startswith("#") for address in page.attributes("href"))
    assert {address[1:] for address in page.attributes("href")} <= set(page.attributes("id"))
    assert not re.search(r"@import|url\(|https?://", html)


def test_only_the_scripts_of_the_package_may_run(make_run):
    _, page = render(make_run())
    types = [attrs.get("type") for tag, attrs in page.tags if tag == "script"]
    assert types == ["application/json", None]
    (policy,) = [attrs["content"] for _, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def test_page_has_dark_narrow_and_print_styles(make_run):
    html, _ = render(make_run())
    for query in ("prefers-color-scheme: dark", "max-width: 40rem", "@media print"):
        assert query in html
    assert 'name="viewport"' in html


@pytest.mark.parametrize("classes", [None, MULTI])
def test_numbers_on_the_page_are_those_of_the_results(make_run, classes):
    folder = make_run(classes=classes)
    results = json.loads((folder / "results.json").read_text())
    html, page = render(folder)
    scores = results["scores"]
    for key in ("dice_per_image", "dice_pooled", "iou_per_image", "iou_pooled"):
        low, high = results["intervals"][key]["foreground"]
        assert f'<b id="{key}">{scores[key]["foreground"]:.4f}</b><small>{low:.4f} to {high:.4f}</small>' in html
    assert f'<b id="hd95_per_image">{scores["hd95_per_image"]["foreground"]:.2f}</b>' in html
    cells = [cell.strip() for cell in page.cells]
    for name in results["classes"]:
        counts = results["cases"][name]
        row = [name, *(cell_of(results, key, name) for key in OVERLAP), str(counts["scored"]), str(counts["empty"])]
        start = next(i for i in range(len(cells)) if cells[i] == name and cells[i + 1] == row[1])
        assert cells[start : start + len(row)] == row
    for truth_row in results["confusion"]:
        for pixels in truth_row:
            cell = f"{100 * pixels / sum(truth_row):.2f} %" + f"{pixels:,}".replace(",", "\u202f")
            assert cell in cells


OVERLAP = [f"{m}_{a}" for a in ("per_image", "pooled") for m in ("dice", "iou", "precision", "recall")]


def cell_of(results: dict, key: str, name: str) -> str:
    low, high = results["intervals"][key][name]
    return f"{results['scores'][key][name]:.4f}{low:.3f}–{high:.3f}"


def test_absent_classes_are_na(make_run):
    folder = make_run(classes=["background", "seen", "never"], ids=["only"])  # image 0 has no last class
    results = json.loads((folder / "results.json").read_text())
    assert results["scores"]["dice_per_image"]["never"] is None
    _, page = render(folder)
    cells = [cell.strip() for cell in page.cells]
    place = cells.index("never")
    assert cells[place : place + 11] == ["never", *["n/a"] * 8, "0", "1"]
    assert "n/a: no image scores this class" in page.text
    assert "None" not in page.text
    assert not re.search(r"\bnan\b", page.text)


def test_names_cannot_become_markup(make_run):
    evil = EVIL[0] + EVIL[1] + EVIL[2]
    folder = make_run(
        classes=["background", evil],
        ids=EVIL,
        name=evil,
        config={"data": {"root": evil}},
        versions={evil: evil},
        device=evil,
        split=evil,
    )
    _, page = render(folder)
    assert page.attributes("onerror") == []
    assert len(page.scripts) == 2
    assert [tag for tag, attrs in page.tags if attrs.get("src") == "x"] == []
    assert not re.search(r"[<>&\u2028]", page.scripts[0])
    ids = json.loads(page.scripts[0])["texts"][0]["values"]
    for name in EVIL:
        shown = name.replace("\n", "\\n")
        assert shown in page.text
        assert shown in page.attributes("alt")
        assert shown in ids


def test_a_name_of_undecodable_bytes_is_shown_escaped(make_run):
    folder = make_run()
    index = folder / "cases" / "index.json"
    entries = json.loads(index.read_text())
    index.write_text(json.dumps([{**entries[0], "id": "caf\udce9\u202egnp"}]))
    change(folder / "results.json", config={"root": "caf\udce9"})
    assert "caf\\udce9\\u202egnp" in render(folder)[1].text


def test_images_are_embedded_without_loss_beside_their_layers(make_run):
    folder = make_run(ids=["only"])
    _, page = render(folder)
    image, truth, prediction, errors = (decode(source) for source in page.attributes("src"))
    assert image == (folder / "cases" / "0.image.png").read_bytes()
    drawn = [np.asarray(Image.open(io.BytesIO(layer)).convert("RGBA")) for layer in (truth, prediction, errors)]
    assert [layer.shape for layer in drawn] == [(48, 48, 4)] * 3
    assert drawn[0][0, 0].tolist() == drawn[2][0, 0].tolist() == [128, 128, 128, 77]  # ignored corner
    assert drawn[1][0, 0, 3] == 0
    assert drawn[2][8:, 8:, 3].max() == 0  # sample 0 is predicted without error


def test_every_toggle_has_its_label_and_errors_are_shown_first(make_run):
    _, page = render(make_run())
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    inputs = [attrs["id"] for tag, attrs in page.tags if tag == "input" and "id" in attrs]
    assert len([name for name in inputs if not name.startswith("group-")]) == 6 * 5
    assert sorted(inputs) == sorted(page.attributes("for"))
    checked = [attrs["id"] for tag, attrs in page.tags if "checked" in attrs]
    assert checked == ["group-1", *(f"errors-{number}" for number in range(6))]


def test_worst_images_come_first(make_run):
    text = render(make_run())[1].text
    text = text[: text.rindex("All images\n")]
    places = [text.index(f"\n{kind}\n") for kind in ("Worst", "Median", "Best")]
    assert places == sorted(places)
    assert text.index("\nWorst\n") < text.index("image_5") < text.index("\nBest\n") < text.index("image_0")


def test_scale_of_a_reduced_drawing_is_stated(make_run):
    folder = make_run(ids=["only"])
    index = folder / "cases" / "index.json"
    index.write_text(json.dumps([json.loads(index.read_text())[0] | {"scale": 0.25}]))
    assert "drawn at 25.0 % of its size" in render(folder)[1].text


def test_report_without_drawn_images_says_so(make_run):
    folder = make_run()
    (folder / "cases" / "index.json").write_text("[]")
    assert "No images were drawn" in render(folder)[1].text


def test_curves_are_shown_only_where_the_run_has_epochs(make_run, make_epochs):
    folder = make_run()
    assert "curves" not in [attrs.get("class") for _, attrs in render(folder)[1].tags]
    make_epochs(folder.parents[1], ["1,10,1e-3,0.9,0.8,0.5,0.5,0.4,0.4,3"])
    _, page = render(folder)
    (source,) = [attrs["src"] for _, attrs in page.tags if attrs.get("class") == "curves"]
    assert Image.open(io.BytesIO(decode(source))).format == "PNG"


def test_validation_split_carries_a_caution(make_run):
    folder = make_run(split="val")
    assert "The checkpoint was selected on this split" in render(folder)[1].text
    change(folder / "results.json", split="test")
    assert "was selected" not in render(folder)[1].text


GATED = {"name": "drawn", "model": {"attention": {"type": "scse"}}}


def test_network_without_gates_has_no_section_on_attention(make_run, make_explanation):
    make_explanation()
    folder = make_run(config={"model": {"attention": {"type": "none"}}})
    assert "Attention" not in render(folder)[1].text


def test_network_with_gates_hints_at_the_command_that_explains_them(make_run):
    folder = make_run(config=GATED)
    html, page = render(folder)
    assert "Attention" in page.text
    assert "<code>seg-scse explain RUN --split test</code>" in html
    last = folder.with_name("test-last")
    folder.rename(last)
    assert "<code>seg-scse explain RUN --split test --checkpoint last</code>" in render(last)[0]


def test_explanation_of_the_same_split_is_shown_with_table_and_profile(make_run, make_explanation):
    folder = make_run(config=GATED)
    change(folder / "results.json", checkpoint=CHECKPOINT)
    explained = make_explanation(gates=(("channel", "spatial"), ()), flags=("constant",))
    (explained / "profile.png").write_bytes((folder / "cases" / "0.image.png").read_bytes())
    _, page = render(folder)
    cells = [cell.strip() for cell in page.cells]
    place = cells.index("decoder.1")
    assert cells[place : place + 5] == ["decoder.1", "scse", "8", "4", "channel"]
    assert "no separate gates" in page.text
    assert "decoder.1, channel gate: constant" in page.text
    assert "Mean and spread of each channel gate by group of tiles" in page.attributes("alt")
    assert "seg-scse explain" not in page.text


CHECKPOINT = {"file": "checkpoints/best.ckpt", "epoch": 12, "step": 800, "sha256": hashlib.sha256(b"w").hexdigest()}


def test_explanation_of_other_weights_carries_a_caution(make_run, make_explanation):
    folder = make_run(config=GATED)
    change(folder / "results.json", checkpoint=CHECKPOINT | {"sha256": "0" * 64})
    make_explanation()
    assert "explained with other weights than those scored here (epoch 12)" in " ".join(render(folder)[1].text.split())


def test_interventions_are_shown_with_and_without_an_explanation(make_run, make_explanation, monkeypatch):
    folder = make_run(config=GATED)
    change(folder / "results.json", checkpoint=CHECKPOINT | {"sha256": "0" * 64})
    results = folder.parents[1] / "explain" / "interventions-test"
    results.mkdir(parents=True)
    (results / "interventions.json").write_text("{}")
    picture = folder / "cases" / "0.image.png"
    content = SimpleNamespace(model_dump=lambda: {"a": 1})
    monkeypatch.setattr(interventions, "read_interventions", lambda place: content if place == results else None)
    monkeypatch.setattr(interventions, "interventions_table", lambda found, shown: f"decoder.1 <b> {found} {shown}")
    monkeypatch.setattr(interventions, "plot", lambda _place: picture)
    for explained in (False, True):
        if explained:
            make_explanation()
        _, page = render(folder)
        assert f"decoder.1 <b> {{'a': 1}} {'0' * 64}" in page.text, "compared with the weights that were scored"
        assert (
            page.attributes("src").count(f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}")
            == 2
        )


def test_damaged_explanation_is_named_with_its_cure(make_run, make_explanation):
    folder = make_run(config=GATED)
    (make_explanation() / "explain.json").write_text("{")
    with pytest.raises(DataError, match=r"explain\.json: is not JSON .*\n`seg-scse explain RUN` writes this file"):
        write_report(folder)
