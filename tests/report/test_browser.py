"""Reports in a real browser: tables, sorting, tips, keyboard, light and dark, print, two widths."""

import os
import shutil
from pathlib import Path

import pytest
from pages import EVIL, make_page

from rdl_cli.report.html import render_page

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright is missing: pip install '.[browser]'"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="chromium is missing: apt-get install chromium"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, tmp_path):
    """Return a function that opens a page offline; messages, errors or requests fail the test."""
    contexts, problems = [], []

    def open_page(path: Path | None = None, **options):
        if path is None:
            path = tmp_path / "page.html"
            path.write_text(render_page(make_page()), encoding="utf-8")
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(f"dialog {dialog.message}"))
        page.on(
            "request",
            lambda request: (
                request.url.startswith(("data:", path.as_uri())) or problems.append(request.url)
            ),
        )
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def first_column(page) -> list[str]:
    return page.locator("table.sortable").first.locator("tbody th").all_inner_texts()


def background(page) -> str:
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def test_page_shows_texts_as_they_are(open_page):
    page = open_page()
    assert page.title() == f"A page {EVIL}"
    assert EVIL in page.locator(".lead").inner_text()


def test_table_sorts_by_number_then_backwards_then_by_name(open_page):
    page = open_page()
    assert first_column(page) == ["b", "a", "c"]
    errors = page.get_by_role("button", name="errors")
    errors.click()
    assert first_column(page) == ["a", "b", "c"]
    assert page.locator("th[aria-sort=ascending]").inner_text().startswith("errors")
    errors.press("Enter")
    assert first_column(page) == ["c", "b", "a"]
    page.get_by_role("button", name="name").click()
    assert first_column(page) == ["a", "b", "c"]
    assert page.locator("th[aria-sort=descending]").count() == 0


def test_hovering_a_cell_shows_its_tip(open_page):
    page = open_page()
    page.locator("td[data-tip]").first.hover()
    assert page.locator("#tip").inner_text() == f"b has ten {EVIL}"
    page.locator("h1").hover()
    assert page.locator("#tip").is_hidden()


def test_hovering_an_rdm_shows_two_stimuli_and_their_distance(open_page):
    page = open_page()
    rdm = page.locator("svg.rdm")
    rdm.scroll_into_view_if_needed()
    box = rdm.bounding_box()
    scale = box["width"] / 204
    at = [22 + 180 * (k + 0.5) / 6 for k in (0, 2)]  # row 0, column 2: the second distance
    page.mouse.move(box["x"] + at[1] * scale, box["y"] + at[0] * scale)
    tip = page.locator("#tip")
    assert tip.inner_text().strip() == "face 0 (animal) × face 2 (animal): 2.000"
    assert tip.locator("svg use").count() == 2
    assert page.locator("#tip svg use").first.get_attribute("href") == "#t0-0"


def test_arrow_keys_walk_through_rdm_and_chart(open_page):
    page = open_page()
    tip = page.locator("#tip")
    page.locator("svg.rdm").focus()
    page.keyboard.press("ArrowRight")
    assert tip.inner_text().strip() == "face 0 (animal) × face 2 (animal): 2.000"
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    assert tip.inner_text().strip().endswith("not measured")
    page.locator("svg.plot").first.focus()
    page.keyboard.press("ArrowRight")
    assert tip.inner_text() == "first: 3"
    page.keyboard.press("ArrowRight")
    assert tip.inner_text() == "second: 5"
    page.keyboard.press("Escape")
    assert tip.is_hidden()


def test_page_follows_the_system_and_then_the_button(open_page):
    light, dark = "rgb(255, 255, 255)", "rgb(22, 24, 27)"
    page = open_page(color_scheme="dark")
    assert background(page) == dark
    page.locator("#theme").click()
    assert background(page) == light
    page.locator("#theme").click()
    assert background(page) == dark
    assert page.locator("#theme").get_attribute("aria-pressed") == "true"
    assert background(open_page(color_scheme="light")) == light


def test_page_prints_light_and_whole(open_page, tmp_path):
    page = open_page(color_scheme="dark")
    page.emulate_media(media="print")
    assert background(page) == "rgb(255, 255, 255)"
    assert page.locator("#theme").is_hidden()
    page.pdf(path=tmp_path / "page.pdf", format="A4")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_the_window(open_page, tmp_path, width, scheme):
    page = open_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert (tmp_path / "page.png").stat().st_size > 10_000


def test_page_has_names_for_a_screen_reader(open_page):
    page = open_page()
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("h1").count() == 1
    assert page.get_by_role("table", name="Errors of three").count() == 1
    assert page.get_by_role("region", name="RDMs").count() == 1
    unnamed = page.locator("svg[role=img]:not([aria-label])")
    assert unnamed.count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_the_contrast_of_wcag_aa(open_page, scheme):
    page = open_page(color_scheme=scheme)
    colours = page.evaluate(
        """["--paper", "--ink", "--muted", "--link", ...[..."01234567"].map((k) => "--s" + k)].map(
            (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim())"""
    )
    from rdl_cli.figures.style import luminance

    paper, *others = map(luminance, colours)
    for colour, other in zip(colours[1:], others, strict=True):
        low, high = sorted((paper, other))
        ratio = (high + 0.05) / (low + 0.05)
        assert ratio >= (4.5 if colour in colours[1:4] else 3.0), (colour, ratio)


@pytest.mark.skipif("RDL_REPORT" not in os.environ, reason="RDL_REPORT names no report to open")
@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_report_of_an_experiment(open_page, width, scheme, tmp_path):
    report = Path(os.environ["RDL_REPORT"]).resolve()
    assert report.stat().st_size < 5_000_000
    page = open_page(report, viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    anchors = page.locator("nav a").evaluate_all("a => a.map((link) => link.hash.slice(1))")
    assert {"question", "errors", "learning-curves", "rdms", "provenance"} <= set(anchors)
    names = first_column(page)
    page.locator("table.sortable").first.locator("thead button").last.click()
    assert sorted(first_column(page)) == sorted(names)
    page.locator("svg.rdm").first.focus()
    page.keyboard.press("ArrowRight")
    assert "×" in page.locator("#tip").inner_text()
    page.pdf(path=tmp_path / "report.pdf", format="A4")
    page.screenshot(path=tmp_path / "report.png", full_page=True)
