"""Write figures: formats, equal bytes for equal figures, small SVG files."""

import base64
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font_names
from PIL import Image

from rdl_cli.commands.console import log
from rdl_cli.commands.drawing_settings import DrawingSettings
from rdl_cli.commands.style_settings import StyleSettings
from rdl_cli.core.errors import UserError, first_line, unknown_name
from rdl_cli.core.files import atomic_write
from rdl_cli.figures.style import FigureStyle
from rdl_cli.rsa.distances import DISTANCES

FORMATS: dict[str, dict[str, Any]] = {
    ".svg": {"Date": None},
    ".png": {},
    ".pdf": {"CreationDate": None},
}
"""Formats of figures, with metadata without a date, so that a rerun writes equal bytes."""

EMBEDDED = re.compile(r"(data:image/png;base64,\s*)([A-Za-z0-9+/=\s]+)")


MM_PER_INCH = 25.4
TEXT_SETTINGS: dict[Any, Any] = {"svg.hashsalt": "rdl", "svg.fonttype": "none", "pdf.fonttype": 42}
"""Text stays text: TrueType in PDF, as journals demand, and characters in SVG."""
SIMILAR_FONTS = {"DejaVu Sans": "'DejaVu Sans', Verdana, sans-serif"}
"""Fonts of nearly the same widths, for machines without the first: SVG has no fonts inside."""


def read_style(settings: StyleSettings) -> FigureStyle:
    """Return the width, font and style file of the settings.

    Raises:
        UserError: the font is not installed, or the file is missing or not matplotlib's.
    """
    settings.check_style()
    own: dict[str, Any] = {}
    if settings.style:
        try:
            own |= _read_rc(settings.style)
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"--style {settings.style}: {first_line(error)}") from error
    if settings.font:
        try:
            findfont(settings.font, fallback_to_default=False)
        except ValueError as error:
            raise UserError(
                f"the font {settings.font!r} is not installed",
                hint="install it, or use one of: " + ", ".join(sorted(get_font_names())[:8]),
            ) from error
        own["font.family"] = [settings.font]
    width = settings.width / MM_PER_INCH if settings.width else None
    return FigureStyle(width, own)


def _read_rc(path: str) -> Any:
    return matplotlib.rc_params_from_file(path, fail_on_error=True, use_default_template=False)


def check_output(out: Sequence[Path], settings: DrawingSettings | None = None) -> None:
    """Raise UserError if a figure could not be written or made, before anything is read."""
    for path in out:
        if path.suffix.lower() not in FORMATS:
            raise unknown_name("figure format", path.suffix or path.name, FORMATS)
        if not path.parent.is_dir():
            raise UserError(
                f"there is no folder {path.parent}",
                hint="make it, or choose another folder",
            )
    if settings:
        DISTANCES.find(settings.distance)
        settings.check()


def save_figure(figure: Figure, out: Sequence[Path]) -> Figure:
    """Write the figure to every path and return it; the same figure has the same bytes."""
    with matplotlib.rc_context(TEXT_SETTINGS):
        for path in out:
            kind = path.suffix.lower()
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind[1:], dpi=300, metadata=FORMATS[kind])
            data = buffer.getvalue()
            if kind == ".svg":
                text = EMBEDDED.sub(reduce_palette, data.decode("utf-8"))
                for font, similar in SIMILAR_FONTS.items():
                    text = text.replace(f"'{font}'", similar)
                data = text.encode("utf-8")
            atomic_write(path, data)
            log(f"{path}: written")
    return figure


def reduce_palette(match: re.Match[str]) -> str:
    """Return an image within an SVG with a palette if it has at most 256 colours.

    The same pixels take a quarter of matplotlib's bytes.
    """
    with Image.open(io.BytesIO(base64.b64decode(match[2]))) as picture:
        colours, indices = np.unique(
            np.asarray(picture.convert("RGBA")).reshape(-1, 4), axis=0, return_inverse=True
        )
        if len(colours) > 256 or (colours[:, 3] < 255).any():
            return match[0]
        indices = indices.reshape(picture.height, picture.width).astype(np.uint8)
        smaller = Image.fromarray(indices, mode="P")
    smaller.putpalette(colours[:, :3].tobytes())
    smaller.save(written := io.BytesIO(), format="png", optimize=True)
    return match[1] + base64.b64encode(written.getvalue()).decode("ascii")
