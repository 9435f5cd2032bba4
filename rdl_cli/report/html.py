"""Render a report as one HTML file that loads nothing: styles, script, images are inside."""

import base64
import io
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from rdl_cli.figures.style import CLASS_COLOURS
from rdl_cli.report.charts import group_ends
from rdl_cli.report.page import Charts, Page, RdmFigure, Rdms, StimulusSet, Table
from rdl_cli.report.rdm_image import encode_rdm, encode_values

THUMBNAIL = 48
"""Side of a thumbnail in pixels; 100 photographs take about 150 kB."""
MATRIX, MARGIN, EDGE = 180.0, 22.0, 13.0
"""Side of an RDM, its margin and a thumbnail in the margin, in pixels."""
STRIP = 4.0


def render_page(page: Page) -> str:
    """Return the page. Texts are escaped; the same page has the same bytes."""
    sets: dict[int, StimulusSet] = {id(s): s for s in _stimulus_sets(page)}
    numbers = {key: k for k, key in enumerate(sets)}
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            page=page,
            stimuli=[_stimulus_record(s) for s in sets.values()],
            sprites=[_sprite(s, k) for k, s in enumerate(sets.values()) if s.images is not None],
            set_number=lambda stimuli: numbers.get(id(stimuli), -1),
            rdm=lambda figure: _rdm_record(figure, numbers[id(figure.stimuli)]),
        )
    )


def render_tables(tables: Sequence[Table], note: str = "") -> str:
    """Return tables as a fragment of HTML for a notebook, without script."""
    return _environment().get_template("fragment.html.j2").render(tables=tables, note=note)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("rdl_cli.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _stimulus_sets(page: Page) -> Iterator[StimulusSet]:
    for section in page.sections:
        for block in section.blocks:
            if isinstance(block, Rdms):
                yield from (figure.stimuli for figure in block.figures)
            elif isinstance(block, Charts):
                for chart in block.charts:
                    if isinstance(chart.stimuli, StimulusSet):
                        yield chart.stimuli


def _stimulus_record(stimuli: StimulusSet) -> dict[str, Any]:
    return {
        "names": list(stimuli.names),
        "classes": list(stimuli.classes),
        "images": stimuli.images is not None,
    }


def _sprite(stimuli: StimulusSet, number: int) -> dict[str, Any]:
    """Return one image with the thumbnails of all stimuli in a row of ten."""
    assert stimuli.images is not None, "a sprite needs images"
    tiles = [_thumbnail(image) for image in stimuli.images]
    columns = 10
    sheet = Image.new("RGB", (columns * THUMBNAIL, -(-len(tiles) // columns) * THUMBNAIL))
    places = [(k % columns * THUMBNAIL, k // columns * THUMBNAIL) for k in range(len(tiles))]
    for tile, place in zip(tiles, places, strict=True):
        sheet.paste(tile, place)
    sheet.save(data := io.BytesIO(), format="WEBP", quality=80, method=4)
    return {
        "set": number,
        "data": base64.b64encode(data.getvalue()).decode("ascii"),
        "width": sheet.width,
        "height": sheet.height,
        "places": places,
        "side": THUMBNAIL,
    }


def _thumbnail(image: np.ndarray) -> Image.Image:
    """Return an image (c, h, w) within a square; small images keep sharp pixels."""
    pixels = np.moveaxis(image, 0, -1)
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
    factor = THUMBNAIL / max(picture.size)
    size = tuple(max(1, round(side * factor)) for side in picture.size)
    kind = Image.Resampling.NEAREST if factor > 1 else Image.Resampling.LANCZOS
    tile = Image.new("RGB", (THUMBNAIL, THUMBNAIL), "white")
    tile.paste(
        picture.resize(size, kind),  # type: ignore[arg-type]
        ((THUMBNAIL - size[0]) // 2, (THUMBNAIL - size[1]) // 2),
    )
    return tile


def _rdm_record(figure: RdmFigure, number: int) -> dict[str, Any]:
    """Return all that the template draws of an RDM: image, values, categories and thumbnails."""
    stimuli = figure.stimuli
    n = len(stimuli.names)
    groups = [
        {
            "name": name,
            "start": MARGIN + MATRIX * start / n,
            "length": MATRIX * (stop - start) / n,
            "colour": CLASS_COLOURS[k % len(CLASS_COLOURS)],
        }
        for k, (name, start, stop) in enumerate(group_ends(stimuli.classes))
    ]
    thumbnails = []
    if stimuli.images is not None:
        count = min(n, int(MATRIX // EDGE))
        rows = [int((k + 0.5) * n / count) for k in range(count)]
        thumbnails = [
            {"stimulus": row, "at": MARGIN + MATRIX * (k + 0.5) / count - EDGE / 2}
            for k, row in enumerate(rows)
        ]
    values, low, high = encode_values(figure.values)
    measured = figure.values[~np.isnan(figure.values)]
    return {
        "title": figure.title,
        "set": number,
        "n": n,
        "image": encode_rdm(figure.values),
        "values": values,
        "low": low,
        "high": high,
        "range": f"{measured.min():.3g} to {measured.max():.3g}" if measured.size else "none",
        "missing": len(figure.values) - measured.size,
        "groups": groups,
        "thumbnails": thumbnails,
        "matrix": MATRIX,
        "margin": MARGIN,
        "edge": EDGE,
        "strip": STRIP,
        "size": MARGIN + MATRIX + 2,
    }
