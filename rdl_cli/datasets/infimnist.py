"""InfiMNIST (Loosli, Canu & Bottou 2007): endlessly many deformed MNIST digits, each known by its index.

Indices 0–9,999 are MNIST's test file, 10,000–69,999 its training file, and index i from 70,000 on is a deformation of training
row (i − 10,000) mod 60,000. The ranges are those of the RDL paper: a teacher is validated on the first 10,000 deformations
and trained on the next 120,000, in which every training row comes exactly twice. So a teacher has seen, deformed, the rows
50,000–59,999 on which a student is validated; `holdout_val_rows=yes` leaves those out. MNIST's test file is the test split.
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
    """InfiMNIST itself, from the folder of its two original files: 120,000 training, 10,000 validation, 10,000 test images.

    `infimnist:FOLDER,holdout_val_rows=yes` trains on 100,000.
    """
    folder, _, holdout = folder.partition(HOLDOUT)
    if holdout not in ("", "yes", "no"):
        raise UserError(f"`holdout_val_rows={holdout}` is neither yes nor no")
    fields, tangents = (_original(Path(folder), *file) for file in (FIELDS, TANGENTS))
    return _splits(
        root,
        download,
        holdout == "yes",
        lambda index, digits: original(index, digits, fields, tangents),
    )


@DATASETS.register("infimnist-like")
def infimnist_like(
    root: Path, download: bool, *, seed: int = 0, holdout_val_rows: bool = False
) -> Splits:
    """Deformed MNIST in InfiMNIST's ranges, made here: 120,000 training, 10,000 validation, 10,000 test images. Not InfiMNIST.

    Each picture is a function of `seed` and its index alone, see `deformation.deformed`.
    """
    return _splits(
        root, download, holdout_val_rows, lambda index, digits: deform(digits, index, seed)
    )


def read_row(index: np.ndarray) -> np.ndarray:
    """The row of MNIST's training file that an index from 10,000 on shows or deforms."""
    return (index - 10_000) % 60_000


def _splits(
    root: Path,
    download: bool,
    holdout: bool,
    deform: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Splits:
    given = mnist(root, download)
    digits = torch.cat([given.train.images, given.validation.images])[:, 0].numpy()
    labels = torch.cat([given.train.labels, given.validation.labels])

    def split(index: np.ndarray) -> Split:
        blocks = [
            deform(block, digits[read_row(block)])
            for block in np.split(index, range(BLOCK, len(index), BLOCK))
        ]
        images = torch.from_numpy(np.concatenate(blocks))[:, None]
        return Split(images, labels[read_row(index)], torch.from_numpy(index), given.train.classes)

    train = TRAIN[read_row(TRAIN) < VALIDATION_FROM] if holdout else TRAIN
    return Splits(split(train), split(VALIDATION), given.test)


class Deformation(NamedTuple):
    """How an index is deformed: two fields, the training row, and the code of a translation."""

    first: np.ndarray
    second: np.ndarray
    row: np.ndarray
    translation: np.ndarray


def deformation(index: np.ndarray) -> Deformation:
    """The arithmetic of the original program for indices from 70,000 on, with its 32-bit wrap, on which mnist8m depends."""
    first = index * 131_071 % 2**32 % 1521
    return Deformation(first, (first + 1 + 2 * index) % 1522, read_row(index), first % 9)


def original(
    index: np.ndarray, digits: np.ndarray, fields: np.ndarray, tangents: np.ndarray
) -> np.ndarray:
    """Deformed pictures, uint8 (n, 28, 28), of the MNIST rows `digits` that belong to these indices.

    x + s·(F₁∘T₀ − F₂∘T₁) in float32, clipped to 0–255, truncated, then moved by at most a pixel. s is the sign of the
    parity of the two fields' numbers; as 1522 is even their sum is always odd, and s is −1.
    """
    how = deformation(index)
    moved = fields[how.first] * tangents[how.row, 0] - fields[how.second] * tangents[how.row, 1]
    found = (digits.astype(np.float32) - moved).clip(0, 255).astype(np.uint8)
    for code, moves in enumerate(MOVES):
        here = how.translation == code
        for move in moves:
            found[here] = move(found[here])
    return found


def _up(x: np.ndarray) -> np.ndarray:
    return np.pad(x[:, 1:], ((0, 0), (0, 1), (0, 0)))


def _down(x: np.ndarray) -> np.ndarray:
    return np.pad(x[:, :-1], ((0, 0), (1, 0), (0, 0)))


def _left(x: np.ndarray) -> np.ndarray:
    """As the original does it: all pixels of the picture in a row, so column 27 takes the next line's column 0; column 0 is 0."""
    found = np.pad(x.reshape(-1, 784)[:, 1:], ((0, 0), (0, 1))).reshape(x.shape)
    found[:, :, 0] = 0
    return found


def _right(x: np.ndarray) -> np.ndarray:
    """As the original does it: column 0 takes the line above's column 27, and it is column 1 that becomes 0."""
    found = np.pad(x.reshape(-1, 784)[:, :-1], ((0, 0), (1, 0))).reshape(x.shape)
    found[:, :, 1] = 0
    return found


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


def _original(folder: Path, file: str, shape: tuple[int, ...]) -> np.ndarray:
    path = folder / file
    if not path.is_file():
        raise UserError(
            f"infimnist is not in {folder}: there is no {file}",
            hint=f"the folder holds {FIELDS[0]} and {TANGENTS[0]} of the original program; infimnist-like needs neither",
        )
    if path.stat().st_size != 4 * np.prod(shape):
        raise damaged_file(
            path,
            "infimnist",
            f"{4 * np.prod(shape):,} bytes were expected, it has {path.stat().st_size:,}",
        )
    return np.memmap(path, dtype="<f4", mode="r", shape=shape)
