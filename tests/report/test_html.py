"""Pages are whole, escaped, and equal for equal contents."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from pages import EVIL, N, make_page, make_stimuli

from rdl_cli.report.html import render_page, render_tables
from rdl_cli.report.page import Page, Section, Table

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Balanced(HTMLParser):
    """Fails on an element that is closed in the wrong order, and counts elements by name."""

    def __init__(self):
        super().__init__()
        self.open: list[str] = []
        self.counts: dict[str, int] = {}

    def handle_starttag(self, tag, attrs):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.counts[tag] = self.counts.get(tag, 0) + 1

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parse(html: str) -> Balanced:
    parser = Balanced()
    parser.feed(html)
    assert parser.open == []
    return parser


@pytest.mark.parametrize("images", [True, False])
def test_render_page_gives_balanced_elements_and_one_script_of_its_own(images):
    counts = parse(render_page(make_page(make_stimuli(images)))).counts
    assert counts["script"] == 2  # the stimuli as JSON, and the page's script
    assert counts["table"] == 1
    assert counts["symbol" if images else "svg"] >= N - 1


def test_render_page_escapes_every_text():
    html = render_page(make_page())
    assert EVIL not in html
    assert "<b>" not in html.replace("<body>", "")


def test_render_page_loads_nothing():
    html = render_page(make_page())
    addresses = re.findall(r"""(?:href|src)\s*=\s*["']([^"']*)""", html)
    assert addresses and all(a.startswith(("#", "data:")) for a in addresses)
    assert "@import" not in html and "url(" not in html
    assert set(re.findall(r"https?://[^\s\"']+", html)) == {"http://www.w3.org/2000/svg"}


def test_render_page_gives_equal_bytes_for_equal_pages():
    assert render_page(make_page()) == render_page(make_page())


def test_render_page_lists_the_stimuli_for_the_script():
    html = render_page(make_page())
    text = re.search(r'<script type="application/json" id="stimuli">(.*?)</script>', html, re.S)
    assert text
    (stimuli,) = json.loads(text[1])
    assert stimuli["names"][-1] == EVIL and stimuli["classes"][0] == "animal"


def test_render_page_of_200_photographs_and_20_rdms_is_below_5_mb():
    from rdl_cli.report.page import RdmFigure, Rdms, StimulusSet

    rng = np.random.default_rng(0)
    n = 200
    images = rng.integers(0, 255, (n, 3, 64, 64), dtype=np.uint8)  # noise: the worst for WebP
    stimuli = StimulusSet(tuple(map(str, range(n))), (), images)
    figures = [RdmFigure(str(k), rng.random(n * (n - 1) // 2), stimuli) for k in range(20)]
    page = Page("", "", [Section("RDMs", [Rdms(figures)])])
    assert len(render_page(page).encode()) < 5_000_000


def test_render_tables_is_a_fragment_with_escaped_cells():
    html = render_tables([Table(["a", "b"], [[EVIL, "2"]], "caption")])
    assert parse(html).counts["table"] == 1
    assert EVIL not in html and "<script" not in html
