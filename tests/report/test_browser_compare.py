"""The page of a comparison in a headless browser."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg_scse.evaluation.compare import Options, compare
from seg_scse.report.comparison import write_comparison

from ..evaluation.compared_runs import strip, strips, write_run
from .browser import NAMES, Browser, column, find_browser, text

pytestmark = pytest.mark.skipif(find_browser() is None, reason=f"needs one of {', '.join(NAMES)} on the PATH")

BEFORE, AFTER = [4, 5, 6, 7, 8, 6], [6, 7, 5, 9, 9, 8]
EVIL = "<img src=x onerror=alert(1)>.png"
SHOWN = "[...document.querySelectorAll('figure .stack')[0].children].map(e => getComputedStyle(e).display != 'none')"


def add_case(folder: Path, name: str) -> None:
    """Add the pictures of one image, as the comparison of networks draws them."""
    masks = {"truth": strip(10), "prediction_a": strip(5), "prediction_b": strip(8)}
    (folder / "cases").mkdir(exist_ok=True)
    for part, pixels in {"image": np.zeros((20, 20, 3), np.uint8), **masks}.items():
        Image.fromarray(pixels).save(folder / "cases" / f"{part}.png")
    files = {part: f"{part}.png" for part in ("image", *masks)}
    entry = {"id": name, "kind": "better", "a": 0.5, "b": 0.75, "difference": 0.25, "scale": 1.0, "remade": True}
    content = json.loads((folder / "compare.json").read_text())
    content["pairs"][0] |= {"cases": [entry | files], "no_cases": ""}
    (folder / "compare.json").write_text(json.dumps(content))


def page_of(root: Path, ids: tuple[str, ...] = (), names: tuple[str, str] = ("unet", "scse")) -> Path:
    """The page of two runs that are scored on the same six images."""
    runs = []
    for name, lengths in zip(names, (BEFORE, AFTER), strict=True):
        masks = list(strips(lengths).items())
        renamed = {(ids[k] if k < len(ids) else known): pair for k, (known, pair) in enumerate(masks)}
        runs.append(write_run(root / f"run{len(runs)}", renamed, name=name))
    folder, _ = compare(runs, Options(cases=0, out=root / "out"))
    add_case(folder, ids[0] if ids else "image 0")
    return write_comparison(folder)[0]


@pytest.fixture
def page(tmp_path) -> Path:
    return page_of(tmp_path)


@pytest.mark.parametrize("dark", [False, True])
def test_page_loads_without_a_word_in_the_console_and_asks_for_nothing(browser: Browser, page, dark):
    browser.open(page, dark=dark)
    assert browser.problems() == []
    assert browser.requests() == [page.resolve().as_uri()]


def test_names_of_runs_and_images_are_text_and_no_script_of_theirs_runs(browser: Browser, tmp_path):
    ids = (EVIL, "</script><script>alert(2)</script>", "a\"b'c&d")
    browser.open(page_of(tmp_path, ids, (EVIL, "</title></style><script>alert(3)</script>")))
    assert browser.problems() == []
    assert browser.evaluate("document.querySelectorAll('script').length") == 2
    assert browser.evaluate("document.querySelectorAll('[onerror], [src=x]').length") == 0
    assert set(ids) < set(column(browser, 0))
    assert text(browser, "h1") == f"</title></style><script>alert(3)</script> against {EVIL}"
    assert EVIL in text(browser, "figcaption .id")


def test_images_are_sorted_by_their_change_searched_and_filtered(browser: Browser, page):
    browser.open(page)
    changes = [float(value) for value in column(browser, 1)]
    assert column(browser, 0)[0] == "image 2"  # the only loss comes first
    assert changes == sorted(changes)
    browser.click(".images thead button", 1)
    assert [float(value) for value in column(browser, 1)] == changes[::-1]
    browser.type(".low", "0.1")
    assert [float(value) for value in column(browser, 1)] == [value for value in changes[::-1] if value >= 0.1]
    browser.click(".reset")
    browser.type(".search", "image 4")
    assert column(browser, 0) == ["image 4"]
    assert text(browser, ".status") == "1 found, of 6"


def test_both_predictions_and_the_change_are_chosen_and_enlarged(browser: Browser, page):
    browser.open(page)
    assert browser.evaluate(SHOWN) == [True, False, False, False, True]
    for place, name in enumerate(("truth", "prediction", "second", "errors"), start=1):
        browser.click(f".for-{name}")
        assert browser.evaluate(SHOWN) == [True, *(place == k for k in (1, 2, 3, 4))]
    sheet = "getComputedStyle(document.querySelector('figure .sheet')).position"
    browser.click(".for-zoom")
    assert browser.evaluate(sheet) == "fixed"
    browser.press("Escape", 27)
    assert browser.evaluate(sheet) != "fixed"


def test_a_phone_of_360_pixels_needs_no_sideways_scrolling(browser: Browser, tmp_path):
    browser.open(page_of(tmp_path, ("x" * 80,), ("u" * 60, "an unet with scse " * 3)), width=360, height=740)
    assert browser.evaluate("document.documentElement.scrollWidth") == 360
    assert browser.problems() == []
