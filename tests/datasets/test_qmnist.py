"""QMNIST from synthetic idx files, as published: plain or gzipped."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from rdl_cli.core.errors import UserError
from rdl_cli.datasets import qmnist
from rdl_cli.datasets.base import Split, Splits, load_dataset

COUNT = 60_000


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with QMNIST's two files, beside an MNIST of three images."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "QMNIST" / "raw"
    folder.mkdir(parents=True)
    images = np.zeros((COUNT, 28, 28), np.uint8)
    images[:, 0, 0] = np.arange(COUNT) % 251
    images[-1] = rng.integers(0, 256, (28, 28))
    labels = rng.integers(0, 1 << 20, (COUNT, 8)).astype(">i4")
    labels[:, 0] = np.arange(COUNT) % 10
    header = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in images.shape)
    (folder / qmnist.IMAGES).write_bytes(header + images.tobytes())
    header = b"\0\0\x0c\x02" + b"".join(n.to_bytes(4, "big") for n in labels.shape)
    packed = gzip.compress(header + labels.tobytes(), 1)
    (folder / f"{qmnist.LABELS}.gz").write_bytes(packed)
    few = Split(
        torch.zeros(3, 1, 28, 28, dtype=torch.uint8),
        torch.arange(3),
        torch.arange(3),
        tuple("0123456789"),
    )
    monkeypatch.setattr(qmnist, "mnist", lambda root, download: Splits(few, few, few))
    return tmp_path


def test_qmnist_tests_on_the_50000_extra_digits(root: Path):
    train, validation, test = load_dataset("qmnist", root)
    assert (len(train), len(validation), len(test)) == (3, 3, 50_000)
    assert test.ids.tolist() == list(range(10_000, COUNT))
    assert torch.equal(test.images[:-1, 0, 0, 0], (test.ids[:-1] % 251).to(torch.uint8))
    assert torch.equal(test.labels, test.ids % 10) and test.labels.dtype == torch.int64
    expected = np.random.default_rng(0).integers(0, 256, (28, 28))
    assert np.array_equal(test.images[-1, 0], expected)


@pytest.mark.parametrize("harm", ["missing", "truncated", "of uint8", "no digit"])
def test_qmnist_refuses_damaged_labels(harm: str, root: Path):
    file = root / "QMNIST" / "raw" / f"{qmnist.LABELS}.gz"
    data = bytearray(gzip.decompress(file.read_bytes()))
    if harm == "truncated":
        del data[-4:]
    elif harm == "of uint8":
        data[2] = 8
    elif harm == "no digit":
        data[12:16] = (10).to_bytes(4, "big")
    file.write_bytes(gzip.compress(bytes(data), 1))
    if harm == "missing":
        file.unlink()
    message = {"missing": "there is no qmnist-test-labels-idx2-int", "no digit": "no digits"}
    with pytest.raises(UserError, match=message.get(harm, "not an idx header and 60,000 × 8 num")):
        load_dataset("qmnist", root)
