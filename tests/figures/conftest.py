"""The promise of every figure: no text is cut off or written over another."""

from itertools import combinations

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text


def texts(figure: Figure) -> list[Text]:
    """Return the visible texts, without the labels of ticks beyond the ends of an axis."""
    beyond = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            beyond |= {
                id(label)
                for tick in axis.get_major_ticks()
                if not low <= tick.get_loc() <= high
                for label in (tick.label1, tick.label2)
            }
    return [
        text
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip() and id(text) not in beyond
    ]


@pytest.fixture
def legible():
    def check(figure: Figure, apart: bool = True) -> list[str]:
        """Return the words on the figure; with `apart` no two may touch."""
        figure.draw_without_rendering()
        shown = texts(figure)
        boxes = [
            Text.get_window_extent(text) for text in shown
        ]  # an annotation's own would take in its arrow
        for text, box in zip(shown, boxes, strict=True):
            inside = (
                box.x0 >= 0
                and box.y0 >= 0
                and box.x1 <= figure.bbox.x1
                and box.y1 <= figure.bbox.y1
            )
            assert inside, f"`{text.get_text()}` leaves the figure: {box}"
            assert text.get_fontsize() >= 5, f"`{text.get_text()}` is too small to read"
        if apart:
            for (one, a), (other, b) in combinations(zip(shown, boxes, strict=True), 2):
                assert not a.overlaps(b), f"`{one.get_text()}` and `{other.get_text()}` overlap"
        return [text.get_text() for text in shown]

    return check
