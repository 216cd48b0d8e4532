import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from seg_scse.errors import DataError
from seg_scse.report.study_figures import LEFT, RIGHT, forest, seed_scores
from seg_scse.report.study_forest import forest_png
from seg_scse.report.study_markdown import markdown_text
from seg_scse.report.study_page import page, write_study
from seg_scse.report.study_reading import Study

from .study_content import run, study_content, study_row, usual, write_content

EVIL = "</script><img src=x onerror=alert(1)>"


def written(folder: Path, content) -> dict[str, str]:
    paths = write_study(write_content(folder, content))
    assert [path.name for path in paths] == ["report.html", "report.md", "table.csv", "forest.png"]
    return {path.name: path.read_text() for path in paths[:3]}


def page_of(folder: Path, content) -> str:
    return page(folder, Study.model_validate(content))


def texts_of(folder: Path, content) -> dict[str, str]:
    """What is written, but for the picture, which takes the time."""
    return {"report.html": page_of(folder, content), "report.md": markdown_text(Study.model_validate(content))}


def picture(path: Path, grey: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((20, 30, 3), grey, np.uint8)).save(path)
    return path


class Tags(HTMLParser):
    """Elements that are open, and what loads something."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in {"meta", "img", "input", "br", "path", "circle", "rect", "link"}:
            self.open.append(tag)
        self.loads += [value for key, value in attrs if key in {"src", "href"} and not value.startswith(("#", "data:"))]

    def handle_endtag(self, tag):
        if self.open and tag == self.open[-1]:
            self.open.pop()


def test_the_page_is_one_file_that_loads_nothing_and_closes_what_it_opens(tmp_path):
    tags = Tags()
    tags.feed(page_of(tmp_path, usual()))
    assert tags.open == []
    assert tags.loads == []


def test_the_answer_comes_first_on_page_and_in_markdown(tmp_path):
    texts = texts_of(tmp_path, usual())
    html = texts["report.html"].split("</style>")[1]
    summary = "Of 4 variants, scse-max is better than none; the others cannot be told from it."
    assert html.index(summary) < html.index("scse-add improves dice_per_image by 0.4 points") < html.index("<table")
    assert texts["report.md"].index(f"**{summary}") < texts["report.md"].index("| Variant |")
    assert '<li class="undecided">scse-add improves' in html
    assert '<li class="better">scse-max improves' in html
    assert '<li class="better against">scse-add against frozen' in html


def test_the_page_has_all_sections_and_leaves_out_what_is_not_there(tmp_path):
    html = page_of(tmp_path, usual())
    ids = re.findall(r'<section id="(\w+)">', html)
    assert ids == ["take", "table", "forest", "seeds", "selection", "runs", "made"]
    assert set(re.findall(r'<a href="#(\w+)">', html)) == set(ids)


def test_curves_and_gate_pictures_are_embedded(tmp_path):
    picture(tmp_path / "curves.png", 10)
    picture(tmp_path / "gates" / "image-1.png", 20)
    entry = {
        "file": "image-1.png",
        "variant": "",
        "seed": 0,
        "id": "image <7>",
        "caption": "Image <7>, of all variants.",
    }
    (tmp_path / "gates" / "index.json").write_text(
        json.dumps({"format": 1, "fingerprint": {}, "images": [entry], "notes": []})
    )
    html = page_of(tmp_path, usual())
    assert html.count('src="data:image/png;base64,') == 2
    assert html.count("<figcaption>Image &lt;7&gt;, of all variants.</figcaption>") == 1
    assert '<a href="#curves">' in html
    assert '<a href="#gates">' in html


def test_a_gate_picture_that_is_missing_is_named(tmp_path):
    entry = {"file": "image-2.png", "variant": "", "seed": 0, "id": "a", "caption": "b"}
    (tmp_path / "gates").mkdir()
    (tmp_path / "gates" / "index.json").write_text(
        json.dumps({"format": 1, "fingerprint": {}, "images": [entry], "notes": []})
    )
    again = "`seg-scse ablate` draws what is in this folder: remove the folder, and run it again on the study"
    with pytest.raises(DataError, match=rf"image-2\.png: cannot be read (.|\n)*{again}"):
        write_study(write_content(tmp_path, usual()))
    (tmp_path / "gates" / "image-2.png").write_bytes(b"x" * 100_000)
    with pytest.raises(DataError, match=rf"image-2\.png: is no picture (.|\n)*{again}"):
        write_study(tmp_path)


def test_hostile_names_stay_text(tmp_path):
    content = study_content({EVIL: study_row(0.004, 0.006, 0.31), "a|b_c": study_row(0.001, 0.006, 0.9)}, name=EVIL)
    content["runs"][1] = run(EVIL, 0, "failed", error=f"{EVIL} `rm`")
    content["declaration"]["variants"][1]["says"] = content["rows"][0]["says"] = EVIL
    content["config"] = {"name": EVIL}
    texts = texts_of(tmp_path, content)
    assert "<img" not in texts["report.html"]
    assert "<script" not in texts["report.html"]
    outside = "".join(texts["report.md"].split("```")[::2])
    assert not re.search(r"(?<!\\)<", outside)
    assert "a\\|b\\_c" in outside


def test_an_unfinished_study_says_so_at_the_top(tmp_path):
    content = usual()
    content["runs"][11:] = [run(one["variant"], one["seed"], "missing") for one in content["runs"][11:]]
    texts = texts_of(tmp_path, content)
    said = "This study is not finished: 11 of 45 runs are done."
    html = texts["report.html"]
    assert html.index(said) < html.index("Of 4 variants")
    assert texts["report.md"].index(f"> {said}") < texts["report.md"].index("Of 4 variants")


def test_a_study_of_one_seed_is_drawn_without_intervals_and_says_what_is_missing(tmp_path):
    content = study_content({"scse-add": study_row(0.004, None, seeds=1)}, seeds=1)
    html = page_of(tmp_path, content)
    assert "add seeds to this study" in html
    assert 'class="interval"' not in html
    assert 'class="band"' not in html
    assert html.count('class="mean-dot"') == 1


def test_failed_runs_are_shown_with_their_error(tmp_path):
    content = usual()
    content["runs"][3] = run("sse", 0, "failed", error="out of memory")
    texts = texts_of(tmp_path, content)
    assert '<tr class="failed"><th scope="row">sse</th><td>0</td><td>failed</td>' in texts["report.html"]
    assert "| sse | 0 | failed |  | n/a | n/a | n/a | n/a |  | out of memory |" in texts["report.md"]


def test_the_markdown_has_the_two_level_bootstrap_beside_the_interval():
    content, ends = usual(), {"bootstrap_low": -0.001, "bootstrap_high": 0.009}
    content["rows"][0]["metrics"]["dice"] |= ends
    content["against"][0]["row"] |= ends
    text = markdown_text(Study.model_validate(content))
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    place = table[0].index("Two-level bootstrap")
    found = {row[0]: row[place - 1 : place + 1] for row in table if len(row) == len(table[0])}
    assert found["scse-add"] == ["+0.4 (−0.2 to +1.0)", "−0.1 to +0.9"]
    assert found[f"scse-add - {content['against'][0]['control']}"][1] == "−0.1 to +0.9"


def test_the_markdown_draws_intervals_with_characters(tmp_path):
    text = markdown_text(Study.model_validate(usual()))
    line = next(line for line in text.splitlines() if line.startswith("  scse-max "))
    assert line.endswith("+1.2 (+0.7 to +1.7)")
    drawn = line[2 + len("scse-max") : -len("+1.2 (+0.7 to +1.7)")]
    assert drawn.index("|") < drawn.index("-") < drawn.index("o") < drawn.rindex("-")


def test_the_same_study_gives_the_same_files(tmp_path):
    first = written(tmp_path / "a", usual())
    assert first == written(tmp_path / "b", usual())
    assert (tmp_path / "a" / "forest.png").read_bytes() == (tmp_path / "b" / "forest.png").read_bytes()


def test_the_forest_places_zero_means_intervals_seeds_and_the_spread_of_the_baseline():
    drawing = forest(Study.model_validate(usual()))
    assert len(drawing.bars) == 4 + 4 + 4
    assert [text for _, text in drawing.headings] == [
        "Variants minus none", "Controls minus none (not tested)", "scse-add minus its controls"
    ]  # fmt: skip
    zero = drawing.ticks[2]
    assert zero == ((LEFT + RIGHT) / 2, "0")
    assert drawing.ticks[-1][1] == "+2"
    best = drawing.bars[3]
    per_point = (RIGHT - zero[0]) / 2
    assert best.mean == pytest.approx(zero[0] + 1.2 * per_point, abs=0.1)
    assert (best.low, best.high) == pytest.approx((zero[0] + 0.7 * per_point, zero[0] + 1.7 * per_point), abs=0.1)
    assert [dot.x for dot in best.dots] == pytest.approx(
        [zero[0] + value * per_point for value in (1, 1.1, 1.2, 1.3, 1.4)], abs=0.1
    )
    assert best.dots[0].title == "seed 0: +1.0"
    assert drawing.band == pytest.approx((zero[0] - 0.2 * per_point, 0.4 * per_point), abs=0.1)
    assert (best.finding, drawing.bars[4].finding, drawing.bars[-1].finding) == ("better", "untested", "better")


def test_a_wide_spread_of_seeds_and_baseline_stays_on_the_axis():
    row = study_row(0.001, 0.002, 0.5, by_seed=[{"seed": 0, "difference": -0.09}, {"seed": 1, "difference": 0.092}])
    content = study_content({"scse-add": row})
    drawing = forest(Study.model_validate(content))
    assert all(LEFT <= dot.x <= RIGHT for bar in drawing.bars for dot in bar.dots)
    content["baseline"]["metrics"]["dice"]["sd"] = 0.3
    start, width = forest(Study.model_validate(content)).band
    assert start >= LEFT
    assert start + width <= RIGHT


def test_seeds_are_joined_from_variant_to_variant_and_interrupted_where_one_is_missing():
    content = study_content(dict.fromkeys(["a", "b"], study_row(0.004, 0.006, 0.3, seeds=2)), seeds=2)
    content["runs"][1] = run("a", 0, "failed")
    drawing = seed_scores(Study.model_validate(content))
    assert [bar.title for bar in drawing.bars] == ["none", "a", "b"]
    assert [len(bar.dots) for bar in drawing.bars] == [2, 1, 2]
    paths = dict(drawing.paths)
    assert paths["seed 0"].count("M") == 2
    assert paths["seed 1"].count("M") == 1
    assert paths["seed 1"].count("L") == 2
    assert drawing.bars[0].text == "0.9125 ± 0.0007"
    assert all(LEFT <= dot.x <= RIGHT for bar in drawing.bars for dot in bar.dots)


def test_a_study_without_a_finished_run_has_no_chart_of_seeds():
    content = study_content({"a": study_row(0.004, 0.006, 0.3, by_seed=[])})
    content["runs"] = [run(one["variant"], one["seed"], "missing") for one in content["runs"]]
    assert seed_scores(Study.model_validate(content)) is None


def test_equal_scores_have_an_axis():
    content = study_content({"a": study_row(0.0, 0.0, 1.0, seeds=1)}, seeds=1)
    drawing = seed_scores(Study.model_validate(content))
    (place,) = {bar.mean for bar in drawing.bars}
    assert LEFT < place < RIGHT


def drawn_colours(*rows) -> set[tuple[int, int, int]]:
    study = Study.model_validate(study_content({str(number): row for number, row in enumerate(rows)}))
    return {colour for _, colour in Image.open(io.BytesIO(forest_png(study))).convert("RGB").getcolors(1 << 20)}


def test_the_picture_of_the_forest_is_coloured_by_what_was_found():
    blue, orange = (0, 114, 178), (213, 94, 0)
    undecided = study_row(0.004, 0.006, 0.31)
    better, worse = (
        drawn_colours(undecided, study_row(0.012, 0.005, 0.004)),
        drawn_colours(study_row(-0.012, 0.005, 0.004)),
    )
    assert blue in better
    assert orange not in better
    assert orange in worse
    assert blue not in worse


def test_names_of_any_length_stay_beside_the_plot(drawn_figures):
    names = [f"a-variant-with-a-name-that-does-not-end-{'x' * 60}-{number}" for number in range(12)]
    content = study_content(dict.fromkeys(names, study_row(0.004, 0.006, 0.31, seeds=20)), seeds=20)
    forest_png(Study.model_validate(content))
    (figure,) = drawn_figures
    renderer = FigureCanvasAgg(figure).get_renderer()
    plot = figure.axes[0].get_window_extent(renderer)
    for text in figure.texts:
        box = text.get_window_extent(renderer)
        assert box.x1 <= figure.bbox.x1, text.get_text()
        beside = plot.y0 < box.y0 and box.y1 < plot.y1
        assert not beside or box.x1 <= plot.x0 or box.x0 >= plot.x1, text.get_text()
