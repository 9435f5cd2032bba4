"""CIFAR-10 and CIFAR-100 through torchvision's reader, which unpickles only files of known md5."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rdl_cli.datasets.base import DATASETS, Split, Splits
from rdl_cli.datasets.mnist import damaged_file, download_files, missing_file
from rdl_cli.datasets.subsets import split_rows

VALIDATION = 10_000
"""Of the 50,000 training images, as many of every class."""


@DATASETS.register("cifar10")
def cifar10(root: Path, download: bool) -> Splits:
    """60,000 photographs of 32 × 32 pixels: 40,000 train, 10,000 validation, 10,000 test."""
    from torchvision.datasets import CIFAR10

    return _make_splits(CIFAR10, "cifar10", root, download)


@DATASETS.register("cifar100")
def cifar100(root: Path, download: bool) -> Splits:
    """60,000 photographs in 100 classes, splits and sizes as of cifar10."""
    from torchvision.datasets import CIFAR100

    return _make_splits(CIFAR100, "cifar100", root, download)


def _make_splits(reader: Any, name: str, root: Path, download: bool) -> Splits:
    if download:
        download_files(reader.__name__, name, root)
    whole, test = (_read_split(reader, name, root, train) for train in (True, False))
    keys = [f"{name} {row}" for row in range(len(whole))]
    train, validation, _ = split_rows(keys, whole.labels, VALIDATION)
    return Splits(whole.at(train), whole.at(validation), test)


def _read_split(reader: Any, name: str, root: Path, train: bool) -> Split:
    from torchvision.datasets.utils import check_integrity

    meta = (reader.meta["filename"], reader.meta["md5"])
    for filename, md5 in [*reader.train_list, *reader.test_list, meta]:
        file = root / reader.base_folder / filename
        if not file.is_file():
            raise missing_file(name, file)
        if not check_integrity(file, md5):
            raise damaged_file(file, name, f"its md5 is not {md5}")
    pickled_dtype = np.exceptions.VisibleDeprecationWarning  # from Python 2
    with warnings.catch_warnings(category=pickled_dtype, action="ignore"):
        dataset = reader(root, train=train)
    images = torch.from_numpy(dataset.data).permute(0, 3, 1, 2).contiguous()
    labels, rows = torch.tensor(dataset.targets), torch.arange(len(images))
    return Split(images, labels, rows, tuple(dataset.classes))
