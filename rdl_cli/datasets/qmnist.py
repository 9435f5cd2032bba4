"""QMNIST (Yadav & Bottou 2019): MNIST's test file with the 50,000 digits that it left out.

The first 10,000 images of QMNIST's test file are those of MNIST, reconstructed. The others were
never published with MNIST, so that no method was chosen by them.
"""

from pathlib import Path

import torch

from rdl_cli.datasets.base import DATASETS, Split, Splits
from rdl_cli.datasets.mnist import INTEGERS, damaged_file, download_files, mnist, read_idx

IMAGES, LABELS = "qmnist-test-images-idx3-ubyte", "qmnist-test-labels-idx2-int"
COUNT, COLUMNS = 60_000, 8
EXTRA_FROM = 10_000
"""First row that is not in MNIST's test file."""


@DATASETS.register("qmnist")
def qmnist(root: Path, download: bool) -> Splits:
    """MNIST for training and validation, tested on QMNIST's 50,000 extra digits of 28 × 28 pixels.

    ids of the test split are rows of QMNIST's test file, from 10,000 on. Its labels are the first
    of eight columns; the others describe writer and form.
    """
    official = mnist(root, download)
    if download:
        download_files("QMNIST", "qmnist", root, what="test")
    folder = root / "QMNIST" / "raw"
    images = read_idx(folder / IMAGES, "qmnist", (COUNT, 28, 28))
    labels = _read_labels(folder / LABELS)
    rows = torch.arange(EXTRA_FROM, COUNT)
    test = Split(images[rows][:, None], labels[rows], rows, official.train.classes)
    return Splits(official.train, official.validation, test)


def _read_labels(path: Path) -> torch.Tensor:
    """Return the class of every digit, int64 (60,000,). UserError if the file is damaged."""
    table = read_idx(path, "qmnist", (COUNT, COLUMNS), INTEGERS)
    labels = table[:, 0].long()
    if not 0 <= int(labels.min()) <= int(labels.max()) <= 9:
        raise damaged_file(path, "qmnist", "it holds labels that are no digits")
    return labels
