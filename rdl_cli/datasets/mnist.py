"""MNIST and Fashion-MNIST, downloaded by torchvision, read from idx files, plain or gzipped."""

import contextlib
import gzip
import sys
import zlib
from pathlib import Path

import numpy as np
import torch

from rdl_cli.core.errors import UserError
from rdl_cli.datasets.base import DATASETS, Split, Splits

VALIDATION_FROM = 50_000
"""First row of the training file for validation, as in FitNets and the RDL paper."""

BYTES, INTEGERS = np.dtype("u1"), np.dtype(">i4")
IDX_TYPES = {BYTES: 8, INTEGERS: 12}
"""The third byte of an idx file, by the type of its numbers."""

CLOTHES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


@DATASETS.register("mnist")
def mnist(root: Path, download: bool) -> Splits:
    """70,000 handwritten digits of 28 × 28 pixels: 50,000 train, 10,000 validation, 10,000 test."""
    return _make_splits("MNIST", "mnist", tuple("0123456789"), root, download)


@DATASETS.register("fashion-mnist")
def fashion_mnist(root: Path, download: bool) -> Splits:
    """70,000 images of clothing of 28 × 28 pixels, in MNIST's format and splits."""
    return _make_splits("FashionMNIST", "fashion-mnist", CLOTHES, root, download)


def _make_splits(
    reader: str, name: str, classes: tuple[str, ...], root: Path, download: bool
) -> Splits:
    if download:
        download_files(reader, name, root)
    folder = root / reader / "raw"
    train, test = (
        read_idx_split(folder, name, which, classes, count)
        for which, count in (("train", 60_000), ("t10k", 10_000))
    )
    rows = torch.arange(len(train))
    return Splits(train.at(rows[:VALIDATION_FROM]), train.at(rows[VALIDATION_FROM:]), test)


def read_idx_split(
    folder: Path, name: str, which: str, classes: tuple[str, ...], count: int
) -> Split:
    """Return `count` images with labels from a pair of idx files. Raise UserError if damaged."""
    images = read_idx(folder / f"{which}-images-idx3-ubyte", name, (count, 28, 28))
    labels_file = folder / f"{which}-labels-idx1-ubyte"
    labels = read_idx(labels_file, name, (count,)).long()
    if (largest := int(labels.max())) >= len(classes):
        raise damaged_file(labels_file, name, f"it holds the label {largest}")
    return Split(images[:, None], labels, torch.arange(count), classes)


def read_idx(
    path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype = BYTES
) -> torch.Tensor:
    """Return the tensor of an idx file, or of its .gz if there is only that: uint8, or int32.

    Raise UserError if the file is missing, or is not of this shape and type.
    """
    packed = path.with_name(path.name + ".gz")
    file = path if path.is_file() else packed
    try:
        content = file.read_bytes()
        data = bytearray(gzip.decompress(content) if file == packed else content)
    except FileNotFoundError:
        raise missing_file(name, path) from None
    except (OSError, EOFError, zlib.error) as error:
        raise damaged_file(file, name, str(error)) from error
    header = bytes([0, 0, IDX_TYPES[dtype], len(shape)])
    header += b"".join(side.to_bytes(4, "big") for side in shape)
    size = len(header) + torch.Size(shape).numel() * dtype.itemsize
    if data[: len(header)] != header or len(data) != size:
        expected = " × ".join(f"{side:,}" for side in shape)
        unit = "bytes" if dtype == BYTES else "numbers of 4 bytes"
        raise damaged_file(
            file, name, f"it has {len(data):,} bytes, not an idx header and {expected} {unit}"
        )
    values = np.frombuffer(data, dtype, offset=len(header)).reshape(shape)
    return torch.from_numpy(values.astype(dtype.newbyteorder("="), copy=False))


def download_files(reader: str, name: str, root: Path, **attributes: str) -> None:
    """Download missing files with torchvision's reader of that name, which checks their md5s.

    The reader gets some attributes that its `download` needs.
    """
    from torchvision import datasets  # takes a second to import

    kind = getattr(datasets, reader)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for data
            bare = kind.__new__(kind)  # __init__ would also read, and asserts on damaged files
            vars(bare).update(attributes, root=root)
            bare.download()
    except (RuntimeError, OSError) as error:  # URLError is an OSError
        raise UserError(
            f"{name} could not be downloaded to {root}: {error}",
            hint="check the network connection, or copy the files there",
        ) from error


def missing_file(name: str, path: Path) -> UserError:
    """Return the error for a missing file of a data set."""
    return UserError(
        f"{name} is not in {path.parent}: there is no {path.name}",
        hint="pass --download, or the folder of the data sets as --data-root (or RDL_DATA)",
    )


def damaged_file(path: Path, name: str, why: str) -> UserError:
    """Return the error for a damaged file of a data set."""
    return UserError(
        f"{name}: {path} is damaged: {why}", hint="delete the file and pass --download"
    )
