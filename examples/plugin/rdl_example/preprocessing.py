"""Preprocessing: uint8 images to the network's float32 input."""

from rdl_cli.datasets.base import Split
from rdl_cli.datasets.preprocessing import Preprocess


def gamma(train: Split, *, exponent: float = 0.5) -> Preprocess:
    """Return pixels from 0 to 1, to a power.

    `spec` must hold all that is needed to make the function again: runs and stores record it.
    """
    return Preprocess(
        f"rdl_example.preprocessing:gamma:exponent={exponent}",
        lambda images: images.float().div_(255).pow_(exponent),
    )
