"""An RDM as a small PNG, and as text from which the script of a report reads single values."""

import base64
import io

import matplotlib
import numpy as np
from PIL import Image
from scipy.spatial.distance import squareform

from rdl_cli.figures.rdm_heatmap import LEVELS, to_shades
from rdl_cli.figures.style import MISSING

SCALE = 65534
MISSING_VALUE = 65535


def encode_rdm(values: np.ndarray) -> str:
    """Return ranks of distances (p,) as a PNG in base64: dark is near, grey was not measured."""
    square = squareform(to_shades(values), checks=False)
    indices = np.where(np.isnan(square), LEVELS, np.nan_to_num(square) * (LEVELS - 1)).round()
    picture = Image.fromarray(indices.astype(np.uint8), mode="P")
    shades = matplotlib.colormaps["viridis"].resampled(LEVELS)(np.arange(LEVELS), bytes=True)
    grey = [int(MISSING[k : k + 2], 16) for k in (1, 3, 5)]
    picture.putpalette(shades[:, :3].astype(np.uint8).tobytes() + bytes(grey))
    picture.save(data := io.BytesIO(), format="png", optimize=True)
    return base64.b64encode(data.getvalue()).decode("ascii")


def encode_values(values: np.ndarray) -> tuple[str, float, float]:
    """Return distances (p,) as 16-bit steps in base64, and the bounds of the steps.

    A step is below 2e-5 of the range, finer than the printed digits.
    """
    measured = values[~np.isnan(values)]
    low, high = (float(measured.min()), float(measured.max())) if measured.size else (0.0, 0.0)
    steps = (np.nan_to_num(values, nan=low) - low) / ((high - low) or 1.0) * SCALE
    steps = np.where(np.isnan(values), MISSING_VALUE, steps.round()).astype("<u2")
    return base64.b64encode(steps.tobytes()).decode("ascii"), low, high
