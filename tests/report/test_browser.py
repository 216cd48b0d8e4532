"""The report in a headless browser: what the parser of a test cannot see."""

from pathlib import Path

import pytest

from seg_scse.report import write_report

from .browser import NAMES, column, find_browser, text
from .drawn_evaluation import build_run
from .large_evaluation import build_large

pytestmark = pytest.mark.skipif(find_browser() is None, reason=f"needs one of {', '.join(NAMES)} on the PATH")

EVIL = ["<img src=x onerror=alert(1)>.png", "</script><script>alert(2)</script>", "a\"b'c&d", "<!-- \u2028"]
MOST_BYTES = 10_000_000


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    """A thousand images, five classes, 18 cases of 768 x 768 pixels."""
    return write_report(build_large(tmp_path_factory.mktemp("large")))


@pytest.fixture
def page(tmp_path) -> Path:
    return write_report(build_run(tmp_path, classes=["background", "axon", "myelin"]))


def test_a_thousand_images_of_five_classes_stay_below_ten_megabytes(large):
    assert 1_000_000 < large.stat().st_size < MOST_BYTES


def test_sixty_noisy_cases_stay_below_ten_megabytes(tmp_path):
    assert write_report(build_large(tmp_path, cases=60)).stat().st_size < MOST_BYTES  # evaluation.overlays: 20


@pytest.mark.parametrize("dark", [False, True])
def test_page_loads_without_a_word_in_the_console_and_asks_for_nothing(browser, page, dark):
    browser.open(page, dark=dark)
    assert browser.problems() == []
    assert browser.requests() == [page.resolve().as_uri()]


def test_names_are_text_and_no_script_of_theirs_runs(browser, tmp_path):
    evil = EVIL[0] + EVIL[1]
    folder = build_run(tmp_path, classes=["background", evil, "b"], ids=EVIL, name=evil, split=evil, device=evil)
    browser.open(write_report(folder))
    assert browser.problems() == []
    assert browser.evaluate("document.querySelectorAll('script').length") == 2
    assert browser.evaluate("document.querySelectorAll('[onerror], [src=x]').length") == 0
    assert sorted(column(browser, 0)) == sorted([*EVIL[:3], "<!-- \\u2028"])
    assert text(browser, "h1") == evil


def test_a_heading_sorts_up_and_down_by_mouse_and_by_key(browser, page):
    browser.open(page)
    assert column(browser, 0) == [f"image_{i}" for i in (5, 4, 3, 2, 1, 0)]  # worst first
    sorts = "[...document.querySelectorAll('.images th[aria-sort]')].map(h => h.getAttribute('aria-sort'))"
    assert browser.evaluate(sorts)[:3] == ["none", "none", "ascending"]
    browser.click(".images thead button", 2)
    assert column(browser, 2) == sorted(column(browser, 2), reverse=True)
    assert browser.evaluate(sorts)[2] == "descending"
    browser.evaluate("document.querySelector('.images thead button').focus()")
    browser.press("Enter", 13, "\r")
    assert column(browser, 0) == [f"image_{i}" for i in range(6)]
    browser.press(" ", 32, " ")
    assert column(browser, 0) == [f"image_{i}" for i in (5, 4, 3, 2, 1, 0)]
    assert browser.evaluate(sorts)[:3] == ["descending", "none", "none"]


def test_unscored_images_come_last_in_either_direction(browser, page):
    browser.open(page)
    browser.evaluate("const v = document.querySelector('.view'); v.value = '2'; v.dispatchEvent(new Event('change'))")
    for _ in range(2):
        assert column(browser, 2)[-1] == "n/a"  # image 0 has no myelin
        assert column(browser, 0)[-1] == "image_0"
        browser.click(".images thead button", 2)


def test_rows_are_found_by_name_and_by_a_range_of_a_score(browser, page):
    browser.open(page)
    browser.type(".search", "IMAGE_4")
    assert column(browser, 0) == ["image_4"]
    assert text(browser, ".status") == "1 found, of 6"
    browser.click(".reset")
    assert len(column(browser, 0)) == 6
    values = [float(value) for value in column(browser, 2)]
    browser.type(".low", str(values[1]))
    browser.type(".high", str(values[3]))
    assert [float(value) for value in column(browser, 2)] == values[1:4]
    browser.type(".search", "no such name")
    assert text(browser, ".status") == "0 found, of 6"
    assert browser.problems() == []


def test_a_hundred_rows_at_a_time_are_shown(browser, large):
    browser.open(large)
    rows = "document.querySelectorAll('.images tbody tr').length"
    assert (browser.evaluate(rows), text(browser, ".status")) == (100, "First 100 of 1\u202f000 images")
    browser.click(".more")
    assert (browser.evaluate(rows), text(browser, ".more")) == (200, "Show 100 more")
    browser.type(".search", "region 3")
    assert browser.evaluate(rows) == 100
    assert text(browser, ".status") == "First 100 of 143 found, of 1\u202f000"
    browser.click(".more")
    assert browser.evaluate("document.querySelector('.more').hidden")
    took = browser.evaluate(
        "(() => { const t = performance.now(); document.querySelector('.reset').click();"
        " document.querySelector('.images thead button').click(); return performance.now() - t; })()"
    )
    assert took < 500, "milliseconds to sort a thousand rows twice"


def test_first_rows_can_be_read_without_the_script(browser, large):
    browser.open(large, script=False)
    with_script_only = "[...document.querySelectorAll('.controls, .more')].every(e => !e.offsetParent)"
    browser.send("Emulation.setScriptExecutionDisabled", value=False)
    assert len(column(browser, 0)) == 50
    assert browser.evaluate(with_script_only)
    assert text(browser, ".status") == "First 50 of 1\u202f000 images"


SHOWN = "[...document.querySelectorAll('figure .stack')[0].children].map(e => getComputedStyle(e).display != 'none')"


@pytest.mark.parametrize("script", [True, False])
def test_layers_are_chosen_and_pictures_enlarged_with_and_without_the_script(browser, page, script):
    browser.open(page, script=script)
    browser.send("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.evaluate(SHOWN) == [True, False, False, True]
    for place, name in enumerate(("truth", "prediction", "errors"), start=1):
        browser.click(f".for-{name}")
        assert browser.evaluate(SHOWN) == [True, *(place == k for k in (1, 2, 3))]
    browser.click(".for-image")
    assert browser.evaluate(SHOWN) == [True, False, False, False]
    browser.evaluate("document.querySelector('figure input').focus()")
    browser.press("ArrowRight", 39)
    assert browser.evaluate(SHOWN) == [True, True, False, False]
    sheet = "getComputedStyle(document.querySelector('figure .sheet')).position"
    browser.click(".for-zoom")
    assert browser.evaluate(sheet) == "fixed"
    assert browser.evaluate("document.querySelector('figure .stack').clientWidth >= innerWidth - 60")
    browser.click(".for-zoom")
    assert browser.evaluate(sheet) != "fixed"


def test_escape_closes_an_enlarged_picture(browser, page):
    browser.open(page)
    browser.click(".for-zoom")
    browser.press("Escape", 27)
    assert browser.evaluate("document.querySelectorAll('.pick-zoom:checked').length") == 0


def test_one_group_of_scores_is_shown_at_a_time(browser, page):
    browser.open(page)
    shown = "[...document.querySelectorAll('.panels > *')].map(e => getComputedStyle(e).display != 'none')"
    for place in range(3):
        browser.click(".switch > label", place)
        assert browser.evaluate(shown) == [k == place for k in range(3)]


def test_dark_setting_turns_page_and_charts_dark(browser, page):
    ground = "getComputedStyle(document.body).backgroundColor"
    stroke = "getComputedStyle(document.querySelector('.chart .line path')).stroke"
    found = []
    for dark in (False, True):
        browser.open(page, dark=dark)
        found.append((browser.evaluate(ground), browser.evaluate(stroke)))
    assert found[0][0] == "rgb(255, 255, 255)"
    assert found[1][0] == "rgb(20, 23, 26)"
    assert found[0][1] != found[1][1]


@pytest.mark.parametrize("kind", ["multiclass", "multilabel", "large"])
def test_a_phone_of_360_pixels_needs_no_sideways_scrolling(browser, tmp_path, large, kind):
    names = ["background", *(f"a rather long name of a class, number {k}" for k in range(1, 6))]
    path = (
        large if kind == "large" else write_report(build_run(tmp_path, classes=names, ids=["x" * 80, "b"], task=kind))
    )
    browser.open(path, width=360, height=740)
    assert browser.evaluate("document.documentElement.scrollWidth") == 360
    assert browser.problems() == []
