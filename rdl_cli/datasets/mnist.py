"""MNIST and Fashion-MNIST, fetched by torchvision and read from their idx files, plain or gzipped."""

import contextlib
import gzip
import sys
import zlib
from pathlib import Path

import torch

from rdl_cli.core.errors import UserError
from rdl_cli.datasets.base import DATASETS, Split, Splits

VALIDATION_FROM = 50_000
"""Rows 0–49,999 of the training file train, 50,000–59,999 validate: the split of FitNets and of the RDL paper."""


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
    """70,000 handwritten digits of 28 × 28 pixels: 50,000 training, 10,000 validation (the training file's last), 10,000 test images."""
    return _splits("MNIST", "mnist", tuple("0123456789"), root, download)


@DATASETS.register("fashion-mnist")
def fashion_mnist(root: Path, download: bool) -> Splits:
    """70,000 articles of clothing of 28 × 28 pixels in MNIST's format and splits."""
    return _splits("FashionMNIST", "fashion-mnist", CLOTHES, root, download)


def _splits(reader: str, name: str, classes: tuple[str, ...], root: Path, download: bool) -> Splits:
    if download:
        download_files(reader, name, root)
    folder = root / reader / "raw"
    train, test = (
        read_idx_splits(folder, name, which, classes, count)
        for which, count in (("train", 60_000), ("t10k", 10_000))
    )
    rows = torch.arange(len(train))
    return Splits(train.at(rows[:VALIDATION_FROM]), train.at(rows[VALIDATION_FROM:]), test)


def read_idx_splits(
    folder: Path, name: str, which: str, classes: tuple[str, ...], count: int
) -> Split:
    images = _idx(folder / f"{which}-images-idx3-ubyte", name, (count, 28, 28))
    labels = _idx(folder / f"{which}-labels-idx1-ubyte", name, (count,)).long()
    if int(labels.max()) >= len(classes):
        raise damaged_file(
            folder / f"{which}-labels-idx1-ubyte", name, f"it holds the label {int(labels.max())}"
        )
    return Split(images[:, None], labels, torch.arange(count), classes)


def _idx(path: Path, name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The uint8 tensor in an idx file, or in its .gz where only that is there."""
    packed = path.with_name(path.name + ".gz")
    found = path if path.is_file() else packed
    try:
        data = bytearray(
            gzip.decompress(packed.read_bytes()) if found == packed else path.read_bytes()
        )
    except FileNotFoundError:
        raise missing_file(name, path) from None
    except (OSError, EOFError, zlib.error) as error:
        raise damaged_file(found, name, str(error)) from error
    expected = bytes([0, 0, 8, len(shape)]) + b"".join(
        side.to_bytes(4, "big") for side in shape
    )  # 8: unsigned bytes
    size = torch.Size(shape).numel()
    if data[: len(expected)] != expected or len(data) != len(expected) + size:
        raise damaged_file(
            found,
            name,
            f"an idx file of {' × '.join(f'{side:,}' for side in shape)} bytes was expected, it has {len(data):,}",
        )
    return torch.frombuffer(data, dtype=torch.uint8, offset=len(expected)).view(shape)


def download_files(reader: str, name: str, root: Path) -> None:
    """Download by torchvision's reader of that name, which checks the archives' md5s; what is there already stays."""
    from torchvision import datasets  # takes a second to import

    kind = getattr(datasets, reader)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for data
            bare = kind.__new__(
                kind
            )  # its __init__ would go on to read, and asserts on a damaged file
            bare.root = root
            bare.download()
    except (RuntimeError, OSError) as error:  # URLError is an OSError
        raise UserError(
            f"{name} could not be downloaded to {root}: {error}",
            hint="see to the network, or copy the files there",
        ) from error


def missing_file(name: str, path: Path) -> UserError:
    return UserError(
        f"{name} is not in {path.parent}: there is no {path.name}",
        hint="fetch it with --download, or say with --data-root (or RDL_DATA) where it lies",
    )


def damaged_file(path: Path, name: str, why: str) -> UserError:
    return UserError(
        f"{name}: {path} is damaged: {why}",
        hint="delete the file and fetch it again with --download",
    )
