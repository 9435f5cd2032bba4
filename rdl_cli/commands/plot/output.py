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
from PIL import Image

from rdl_cli.commands.console import log
from rdl_cli.commands.settings import DrawingSettings
from rdl_cli.core.errors import UserError, unknown_name
from rdl_cli.core.files import atomic_write
from rdl_cli.rsa.distances import DISTANCES

FORMATS: dict[str, dict[str, Any]] = {
    ".svg": {"Date": None},
    ".png": {},
    ".pdf": {"CreationDate": None},
}
"""Formats of figures, with metadata without a date, so that a rerun writes equal bytes."""

EMBEDDED = re.compile(r"(data:image/png;base64,\s*)([A-Za-z0-9+/=\s]+)")


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
    with matplotlib.rc_context({"svg.hashsalt": "rdl"}):
        for path in out:
            kind = path.suffix.lower()
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind[1:], dpi=300, metadata=FORMATS[kind])
            data = buffer.getvalue()
            if kind == ".svg":
                data = EMBEDDED.sub(reduce_palette, data.decode("utf-8")).encode("utf-8")
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
