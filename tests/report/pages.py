"""Pages with every kind of block, and texts that would break a page that does not escape them."""

import numpy as np

from rdl_cli.report.charts import Row, Series, Value, draw_curves, draw_rows
from rdl_cli.report.maps import Path, draw_map
from rdl_cli.report.page import (
    Cell,
    Charts,
    Commands,
    Page,
    RdmFigure,
    Rdms,
    Section,
    StimulusSet,
    Table,
    Text,
)

EVIL = "</script><script>alert(1)</script>\"'&<b>"
N = 6


def make_stimuli(images: bool = True) -> StimulusSet:
    pixels = np.random.default_rng(0).integers(0, 255, (N, 3, 10, 8), dtype=np.uint8)
    names = (*tuple(f"face {k}" for k in range(N - 1)), EVIL)
    return StimulusSet(names, ("animal",) * 4 + ("tool",) * 2, pixels if images else None)


def make_page(stimuli: StimulusSet | None = None) -> Page:
    """Return a page whose table has the rows b 10, a 9, c 100, and an RDM of 6 stimuli."""
    stimuli = stimuli or make_stimuli()
    values = np.arange(1.0, 1 + N * (N - 1) / 2)
    values[3] = np.nan
    table = Table(
        ["name", "errors"],
        [
            ["b", Cell("10", 10, tip=f"b has ten {EVIL}")],
            ["a", Cell("9", 9)],
            ["c", Cell("1e2", 100)],
        ],
        "Errors of three",
    )
    rows = [
        Row(EVIL, Value(3.0, "first: 3", 2, 4)),
        Row("second", Value(5.0, "second: 5", 4, 6, 1)),
    ]
    x = np.arange(1, 4)
    curve = Series("rdl", x, 1.0 / x, 0.5 / x, 2.0 / x, 0)
    points = np.random.default_rng(1).normal(size=(N, 2))
    tips = [f"stimulus {k}" for k in range(N)]
    paths = [Path((), points, 0, tips, range(N) if stimuli.images is not None else ())]
    charts = [
        draw_rows("rows", rows, "error (%)"),
        draw_rows("bars", rows, "similarity", bars=True, band=(4.0, 5.0)),
        draw_curves("curves", [curve], "epoch", "error (%)", logarithmic=True),
        draw_map("map", paths, stimuli, connect=False),
    ]
    return Page(
        f"A page {EVIL}",
        f"Its lead {EVIL}",
        [
            Section("Numbers", [table, Text([EVIL]), Text(["one", "two"], is_list=True)]),
            Section("Charts", [Charts(charts, {"rdl": 0}, "caption")]),
            Section("RDMs", [Rdms([RdmFigure("IT", values, stimuli)], "caption")]),
            Section("Provenance", [Commands(["rdl compare a b", EVIL])]),
        ],
    )
