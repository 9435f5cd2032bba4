"""InfiMNIST (Loosli, Canu & Bottou 2007): unlimited deformed MNIST digits, identified by index.

Indices 0–9,999 are MNIST's test file, 10,000–69,999 its training file. An index i from 70,000 on
is a deformation of training row (i − 10,000) mod 60,000. The ranges are those of the RDL paper: a
teacher is validated on the first 10,000 deformations and trained on the next 120,000, in which
every training row occurs exactly twice. A teacher has thus seen deformations of the rows
50,000–59,999 on which a student is validated; `holdout_val_rows=yes` leaves those out. MNIST's test
file is the test split.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from rdl_cli.core.errors import UserError
from rdl_cli.datasets.base import DATASETS, Split, Splits
from rdl_cli.datasets.deformation import deform
from rdl_cli.datasets.mnist import VALIDATION_FROM, damaged_file, mnist

VALIDATION = np.arange(70_000, 80_000)
TRAIN = np.arange(80_000, 200_000)
BLOCK = 2_000

FIELDS = ("fields_float_1522x28x28.bin", (1522, 28, 28))
TANGENTS = ("tangVec_float_60000x28x28.bin", (60_000, 2, 28, 28))
HOLDOUT = ",holdout_val_rows="


@DATASETS.register("infimnist", rest="folder")
def infimnist(root: Path, download: bool, *, folder: str) -> Splits:
    """InfiMNIST from the folder of its two original files: 120,000 train, 10,000 validation images.

    Test images are MNIST's. `infimnist:FOLDER,holdout_val_rows=yes` trains on 100,000.
    """
    folder, _, holdout = folder.partition(HOLDOUT)
    if holdout not in ("", "yes", "no"):
        raise UserError(f"`holdout_val_rows={holdout}` is neither yes nor no")
    fields, tangents = (_open_original(Path(folder), *file) for file in (FIELDS, TANGENTS))

    def deform_digits(index: np.ndarray, digits: np.ndarray) -> np.ndarray:
        return deform_original(index, digits, fields, tangents)

    return _make_splits(root, download, holdout == "yes", deform_digits)


@DATASETS.register("infimnist-like")
def infimnist_like(
    root: Path, download: bool, *, seed: int = 0, holdout_val_rows: bool = False
) -> Splits:
    """Deformed MNIST in InfiMNIST's ranges, computed here (not InfiMNIST): 120,000 train images.

    10,000 validation images, and MNIST's test images. Each image depends on `seed` and its index
    alone, see `deformation.deform`.
    """

    def deform_digits(index: np.ndarray, digits: np.ndarray) -> np.ndarray:
        return deform(digits, index, seed)

    return _make_splits(root, download, holdout_val_rows, deform_digits)


def training_row(index: np.ndarray) -> np.ndarray:
    """Return the row of MNIST's training file of an index from 10,000 on."""
    return (index - 10_000) % 60_000


def _make_splits(
    root: Path,
    download: bool,
    holdout: bool,
    deform_digits: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Splits:
    official = mnist(root, download)
    digits = torch.cat([official.train.images, official.validation.images])[:, 0].numpy()
    labels = torch.cat([official.train.labels, official.validation.labels])

    def split(index: np.ndarray) -> Split:
        blocks = [
            deform_digits(block, digits[training_row(block)])
            for block in np.split(index, range(BLOCK, len(index), BLOCK))
        ]
        images = torch.from_numpy(np.concatenate(blocks))[:, None]
        return Split(
            images, labels[training_row(index)], torch.from_numpy(index), official.train.classes
        )

    train = TRAIN[training_row(TRAIN) < VALIDATION_FROM] if holdout else TRAIN
    return Splits(split(train), split(VALIDATION), official.test)


class Deformation(NamedTuple):
    """The deformation of an index: two fields, the training row and the code of a translation."""

    first: np.ndarray
    second: np.ndarray
    row: np.ndarray
    translation: np.ndarray


def find_deformation(index: np.ndarray) -> Deformation:
    """Return the deformation of indices from 70,000 on, with the original program's 32-bit wrap."""
    first = index * 131_071 % 2**32 % 1521
    return Deformation(first, (first + 1 + 2 * index) % 1522, training_row(index), first % 9)


def deform_original(
    index: np.ndarray, digits: np.ndarray, fields: np.ndarray, tangents: np.ndarray
) -> np.ndarray:
    """Return the deformed images, uint8 (n, 28, 28), of the MNIST rows `digits` of these indices.

    x + s·(F₁∘T₀ − F₂∘T₁) in float32, clipped to 0–255, truncated, then shifted by at most a pixel.
    s is the sign of the parity of the two fields' numbers. Their sum is always odd, since 1522 is
    even, so s is −1.
    """
    by = find_deformation(index)
    change = fields[by.first] * tangents[by.row, 0] - fields[by.second] * tangents[by.row, 1]
    images = (digits.astype(np.float32) - change).clip(0, 255).astype(np.uint8)
    for code, moves in enumerate(MOVES):
        rows = by.translation == code
        for move in moves:
            images[rows] = move(images[rows])
    return images


def _up(x: np.ndarray) -> np.ndarray:
    return np.pad(x[:, 1:], ((0, 0), (0, 1), (0, 0)))


def _down(x: np.ndarray) -> np.ndarray:
    return np.pad(x[:, :-1], ((0, 0), (1, 0), (0, 0)))


def _left(x: np.ndarray) -> np.ndarray:
    """Shift left as the original does: column 27 gets the next line's column 0; column 0 is 0."""
    shifted = np.pad(x.reshape(-1, 784)[:, 1:], ((0, 0), (0, 1))).reshape(x.shape)
    shifted[:, :, 0] = 0
    return shifted


def _right(x: np.ndarray) -> np.ndarray:
    """Shift right as the original does: column 0 gets the line above's column 27; column 1 is 0."""
    shifted = np.pad(x.reshape(-1, 784)[:, :-1], ((0, 0), (1, 0))).reshape(x.shape)
    shifted[:, :, 1] = 0
    return shifted


MOVES = (
    (_up,),
    (_down,),
    (_left,),
    (_right,),
    (_up, _left),
    (_up, _right),
    (_down, _left),
    (_down, _right),
    (),
)


def _open_original(folder: Path, file: str, shape: tuple[int, ...]) -> np.ndarray:
    path = folder / file
    if not path.is_file():
        raise UserError(
            f"infimnist is not in {folder}: there is no {file}",
            hint=f"{FIELDS[0]} and {TANGENTS[0]} of the original program are needed;"
            " or use infimnist-like",
        )
    if (size := path.stat().st_size) != (expected := 4 * np.prod(shape)):
        raise damaged_file(path, "infimnist", f"it has {size:,} bytes, not {expected:,}")
    return np.memmap(path, dtype="<f4", mode="r", shape=shape)
