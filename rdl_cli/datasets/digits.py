"""scikit-learn's handwritten digits, which need no download."""

from pathlib import Path

import torch

from rdl_cli.datasets.base import DATASETS, Split, Splits
from rdl_cli.datasets.subsets import split_rows


@DATASETS.register("digits")
def digits(root: Path, download: bool) -> Splits:
    """1,797 handwritten digits of 8 × 8 pixels: 1,000 train, 297 validation, 500 test.

    Pixels are counts from 0 to 16, scaled so that 16 becomes 255. ids are rows of the one file.
    """
    from sklearn.datasets import load_digits

    dataset = load_digits()
    images = torch.from_numpy(dataset.images).mul(255 / 16).round().to(torch.uint8)[:, None]
    whole = Split(
        images,
        torch.from_numpy(dataset.target).long(),
        torch.arange(len(images)),
        tuple("0123456789"),
    )
    keys = [f"digits {row}" for row in range(len(whole))]
    return Splits(*map(whole.at, split_rows(keys, whole.labels, validation=297, test=500)))
