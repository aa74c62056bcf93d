"""Reports in headless Chromium: pictures are drawn, tables sort and filter, they print, and no network is asked."""

import re
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from results.frames import load
from results.page.build import report
from results.report import write

sys.path.insert(0, str(Path(__file__).parent))
from recorded import new_store, search, trial

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.slow
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = "</script><script>window.hurt = 1</script><img src=x onerror='window.hurt = 2'>"


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed; on Debian: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, chromium_sandbox=False)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Reports of a search with rungs and trees and hostile words, and of a comparison."""
    folder = tmp_path_factory.mktemp("reports")
    began = datetime(2026, 1, 1, tzinfo=UTC)
    with new_store(folder) as store:
        one = store.create_search(
            "toy", f"Which is best? {HOSTILE}", {"grid": None, "seeds": [0], "rungs": [1, 2], "scheduler": "asha"}, {},
            notes=HOSTILE,
        )  # fmt: skip
        for depth in range(1, 9):
            of = trial(
                store, one, [0.3, 0.4 + depth / 20], ffn="fff", lr=depth / 1000,
                **{"ffn.fff.depth": depth, "ffn.fff.note": HOSTILE if depth > 1 else "none"},
            )  # fmt: skip
            store.update_trial(of, started=began, ended=began + timedelta(seconds=60 * depth), gpu_seconds=60.0 * depth)
        for hidden in (8, 16, 32):
            trial(store, one, [0.75], status="stopped", hidden=hidden)
        trial(store, one, [0.1], status="diverged", hidden=64)
        two = search(store, grid=True, seeds=(0, 1, 2))
        for ratio in (0.5, 0.7, 1.0):
            for seed in range(3):
                trial(
                    store, two, [0.3, 0.5 + ratio / 10 + seed / 100], seed=seed, ffn="fff", test_acc=0.5,
                    **{"ffn.fff.level_lr_ratio": ratio},
                )  # fmt: skip
        found = {}
        for name in (one, two):
            write(report(load(store.url), name, store.url), folder / f"{name}.html")
            found[name] = folder / f"{name}.html"
    return found


class Seen:
    """A page that was opened, and all that it said or asked for."""

    def __init__(self, browser, path, **options):
        self.said, self.asked = [], []
        self.page = browser.new_page(**options)
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-drawn]", state="attached")

    def column(self, place):
        cells = f"#variants tbody tr:not([hidden]) td:nth-child({place})"
        return [text.strip() for text in self.page.locator(cells).all_inner_texts()]

    def shown(self):
        return self.page.locator("#variants tbody tr:not([hidden])").count()

    @property
    def overflow(self):
        return self.page.evaluate("document.documentElement.scrollWidth - innerWidth")


@pytest.mark.parametrize("name", ["toy-1", "toy-2"])
def test_every_picture_is_drawn_in_silence_and_without_the_network(browser, files, name):
    seen = Seen(browser, files[name])
    pictures = seen.page.locator(".chart")
    assert pictures.count() >= 3
    for place in range(pictures.count()):
        drawn = pictures.nth(place).locator(
            "svg g.mark-symbol path, svg g.mark-line path, svg g.mark-rect path, svg g.mark-rule line"
        )
        assert drawn.count() > 0, pictures.nth(place).get_attribute("data-name")
    assert seen.said == []
    assert seen.asked == [files[name].as_uri()]
    assert seen.page.evaluate("window.hurt") is None
    seen.page.close()


def test_a_head_sorts_by_number_and_what_is_missing_comes_last(browser, files):
    seen = Seen(browser, files["toy-1"])
    heads = seen.page.locator("#variants thead th").all_inner_texts()
    place = next(n for n, head in enumerate(heads, start=1) if head.startswith("params"))
    button = seen.page.locator(f"#variants thead th:nth-child({place}) button")
    for direction, falling in (("descending", True), ("ascending", False)):
        button.click()
        numbers = [int(text.replace(",", "")) for text in seen.column(place)]
        assert numbers == sorted(numbers, reverse=falling)
        assert len(set(numbers)) > 2
        assert seen.page.locator("th[aria-sort]").get_attribute("aria-sort") == direction
    accuracy = next(n for n, head in enumerate(heads, start=1) if head.startswith("val %"))
    for _ in range(2):  # falling and rising: what was stopped has its accuracy at another epoch
        seen.page.locator(f"#variants thead th:nth-child({accuracy}) button").click()
        early = [text.startswith("(") for text in seen.column(accuracy)]
        assert early == [False] * 8 + [True] * 4
    seen.page.locator("#variants thead th:nth-child(1) button").click()
    ranks = seen.column(1)
    assert [int(rank) for rank in ranks[:8]] == list(range(1, 9))
    assert set(ranks[8:]) == {""}
    seen.page.close()


def test_filters_leave_the_rows_that_fit_all_of_them(browser, files):
    seen = Seen(browser, files["toy-1"])
    assert seen.shown() == 12
    seen.page.select_option("#filter-kind", "mlp")
    assert seen.shown() == 4
    seen.page.select_option("#filter-status", "stopped")
    assert seen.shown() == 3
    seen.page.fill("#filter-text", "hidden=16")
    assert seen.shown() == 1
    assert seen.page.inner_text("#filter-count") == "1 of 12 rows"
    seen.page.fill("#filter-text", "no such word")
    assert seen.shown() == 0
    seen.page.close()


def test_a_command_is_copied_by_its_button(browser, files):
    seen = Seen(browser, files["toy-1"])
    button = seen.page.locator("#trials button.copy").first
    assert re.fullmatch(r"python -m trainer\.replay toy-1\.1 --storage sqlite:\S+", button.get_attribute("data-copy"))
    button.click()
    seen.page.wait_for_function("document.querySelector('#trials button.copy').textContent === 'copied'")
    seen.page.close()


def test_on_a_phone_and_in_the_dark_nothing_is_cut_off_and_text_can_be_read(browser, files):
    seen = Seen(browser, files["toy-1"], viewport={"width": 390, "height": 844}, color_scheme="dark")
    assert seen.overflow <= 0
    widths = seen.page.evaluate(
        "[...document.querySelectorAll('.chart svg')].map(e => e.getBoundingClientRect().right)"
    )
    assert max(widths) <= 390
    page, text, axis = seen.page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color,"
        " getComputedStyle(document.querySelector('.chart svg text')).fill]"
    )
    assert text == axis
    light, dark = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (text, page))
    assert light > 600
    assert dark < 150
    seen.page.close()


def test_it_prints_with_every_picture_on_the_paper(browser, files):
    seen = Seen(browser, files["toy-1"])
    paper = seen.page.pdf(format="A4")
    assert paper.startswith(b"%PDF")
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", paper)) <= 20
    seen.page.emulate_media(media="print")
    seen.page.set_viewport_size({"width": 688, "height": 1000})  # 182 mm, what A4 leaves between the margins
    assert seen.overflow <= 0
    rights = seen.page.evaluate(
        "[...document.querySelectorAll('.chart svg')].map(e => e.getBoundingClientRect().right)"
    )
    assert max(rights) <= 688
    assert not seen.page.locator(".filters").is_visible()
    seen.page.close()
