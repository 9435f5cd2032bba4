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
"""Of the 50,000 training images, from every class alike."""


@DATASETS.register("cifar10")
def cifar10(root: Path, download: bool) -> Splits:
    """60,000 photographs of 32 × 32 pixels in 10 classes: 40,000 training, 10,000 validation (stratified), 10,000 test images."""
    from torchvision.datasets import CIFAR10

    return _splits(CIFAR10, "cifar10", root, download)


@DATASETS.register("cifar100")
def cifar100(root: Path, download: bool) -> Splits:
    """60,000 photographs of 32 × 32 pixels in 100 fine classes: 40,000 training, 10,000 validation (stratified), 10,000 test images."""
    from torchvision.datasets import CIFAR100

    return _splits(CIFAR100, "cifar100", root, download)


def _splits(reader: Any, name: str, root: Path, download: bool) -> Splits:
    if download:
        download_files(reader.__name__, name, root)
    whole, test = (_read(reader, name, root, train) for train in (True, False))
    train, validation, _ = split_rows(
        [f"{name} {row}" for row in range(len(whole))], whole.labels, VALIDATION
    )
    return Splits(whole.at(train), whole.at(validation), test)


def _read(reader: Any, name: str, root: Path, train: bool) -> Split:
    from torchvision.datasets.utils import check_integrity

    listed = [*reader.train_list, *reader.test_list, (reader.meta["filename"], reader.meta["md5"])]
    for file, md5 in ((root / reader.base_folder / file, md5) for file, md5 in listed):
        if not file.is_file():
            raise missing_file(name, file)
        if not check_integrity(file, md5):
            raise damaged_file(file, name, f"its md5 is not {md5}")
    with warnings.catch_warnings(
        category=np.exceptions.VisibleDeprecationWarning, action="ignore"
    ):  # how Python 2 pickled a dtype
        found = reader(root, train=train)
    images = torch.from_numpy(found.data).permute(0, 3, 1, 2).contiguous()
    return Split(
        images, torch.tensor(found.targets), torch.arange(len(images)), tuple(found.classes)
    )
