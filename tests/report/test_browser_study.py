"""The page of a study in a headless browser."""

import pytest

from seg_scse.report.study_figures import LEFT
from seg_scse.report.study_page import page
from seg_scse.report.study_reading import Study

from .browser import NAMES, Browser, find_browser, text
from .study_content import CONTROLS, study_content, study_row

pytestmark = pytest.mark.skipif(find_browser() is None, reason=f"needs one of {', '.join(NAMES)} on the PATH")

EVIL = "</title></style><script>alert(3)</script>"


def saved(folder, content):
    path = folder / "report.html"
    path.write_text(page(folder, Study.model_validate(content)))
    return path


def test_page_asks_for_nothing_and_shows_names_as_text(browser: Browser, tmp_path):
    path = saved(tmp_path, study_content({EVIL: study_row(0.004, 0.006, 0.3)}, name=EVIL))
    browser.open(path, dark=True)
    assert browser.problems() == []
    assert browser.requests() == [path.resolve().as_uri()]
    assert browser.evaluate("document.querySelectorAll('script').length") == 0
    assert text(browser, "h1") == EVIL


def test_long_names_need_no_sideways_scrolling_on_a_phone_and_do_not_reach_into_the_plots(browser: Browser, tmp_path):
    row = study_row(0.004, 0.006, 0.3)
    names = [f"scse-max@encoder+bottleneck+decoder+another-site-{number}" for number in range(12)]
    controls = dict.fromkeys(CONTROLS, row)
    browser.open(saved(tmp_path, study_content(dict.fromkeys(names, row), controls, controls)), 360, 740)
    assert browser.evaluate("document.documentElement.scrollWidth") == 360
    ends = "[...document.querySelectorAll('.drawing text[x=\"{}\"]')].map(t => t.getBBox().x + t.getBBox().width)"
    assert browser.evaluate(f"Math.max(...{ends.format(12)})") <= LEFT
    assert browser.evaluate(f"Math.max(...{ends.format(775)})") <= 1000
