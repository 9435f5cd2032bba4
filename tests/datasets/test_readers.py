"""Embedded and downloaded data sets: counts, fixed splits, missing and damaged files."""

import gzip
import hashlib
import inspect
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from rdl_cli.core.errors import UserError
from rdl_cli.datasets.base import DATASETS, Splits, load_dataset
from rdl_cli.datasets.digests import dataset_fingerprint

MNIST_TRAIN = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
MNIST_TEST = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def counts(*labels: torch.Tensor) -> list[int]:
    return torch.bincount(torch.cat(labels)).tolist()


def check_splits(splits: Splits) -> None:
    for split in splits:
        assert (
            split.images.dtype == torch.uint8
            and split.labels.dtype == split.ids.dtype == torch.int64
        )
        assert len(split.images) == len(split.labels) == len(split.ids) == len(split)
        assert split.ids.unique().numel() == len(split)
        assert int(split.labels.max()) < len(split.classes)
        torch.testing.assert_close(
            split.at(torch.tensor([3, 1])).images, split.read(slice(1, 4))[[2, 0]]
        )


def test_digits_are_split_the_same_everywhere():
    splits = load_dataset("digits", Path("nowhere"))
    check_splits(splits)
    assert [len(split) for split in splits] == [1000, 297, 500]
    assert all(split.images.shape[1:] == (1, 8, 8) for split in splits)
    assert int(splits.train.images.max()) == 255
    assert counts(*(split.labels for split in splits)) == [
        178,
        182,
        177,
        183,
        181,
        182,
        181,
        179,
        174,
        180,
    ]
    assert torch.cat([split.ids for split in splits]).sort().values.tolist() == list(range(1797))
    for split in splits:  # stratified: no class is more than one image off its fraction
        fraction = (
            torch.tensor([178, 182, 177, 183, 181, 182, 181, 179, 174, 180]) * len(split) / 1797
        )
        assert (torch.bincount(split.labels) - fraction).abs().max() <= 1.5
    assert splits.test.ids[:6].tolist() == [10, 13, 18, 24, 32, 33], (
        "the digits' test images changed: no published number holds any more"
    )


def test_mnist_has_its_class_counts_and_the_papers_split(mnist_root: Path):
    splits = load_dataset("mnist", mnist_root)
    check_splits(splits)
    assert [len(split) for split in splits] == [50_000, 10_000, 10_000]
    assert counts(splits.train.labels, splits.validation.labels) == MNIST_TRAIN
    assert counts(splits.test.labels) == MNIST_TEST
    assert splits.train.ids.tolist() == list(
        range(50_000)
    ) and splits.validation.ids.tolist() == list(range(50_000, 60_000))


def test_mnist_reads_gz(mnist_root: Path, tmp_path: Path):
    raw = tmp_path / "MNIST/raw"
    raw.mkdir(parents=True)
    for file in (mnist_root / "MNIST/raw").iterdir():
        (raw / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes(), 1))
    assert torch.equal(
        load_dataset("mnist", tmp_path).test.images, load_dataset("mnist", mnist_root).test.images
    )


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10", "cifar100"])
def test_load_dataset_names_missing_files(name: str, tmp_path: Path):
    with pytest.raises(UserError) as error:
        load_dataset(name, tmp_path)
    assert str(tmp_path) in str(error.value) and name in str(error.value)
    assert "--download" in str(error.value.hint) and "--data-root" in str(error.value.hint)


@pytest.mark.parametrize(
    "harm", ["truncated", "lengthened", "empty", "other bytes", "bad gz", "label 200"]
)
def test_mnist_names_a_damaged_file(harm: str, mnist_root: Path, tmp_path: Path):
    raw = tmp_path / "MNIST/raw"
    raw.mkdir(parents=True)
    for file in (mnist_root / "MNIST/raw").iterdir():
        (raw / file.name).symlink_to(file)
    victim = raw / "t10k-labels-idx1-ubyte"
    data = victim.read_bytes()
    victim.unlink()
    if harm == "bad gz":
        victim = victim.with_suffix(".gz")
    new = {
        "truncated": data[:-5],
        "lengthened": data + b"\0",
        "empty": b"",
        "other bytes": b"<html>" + data[6:],
    }
    new |= {"bad gz": gzip.compress(data)[:-20], "label 200": data[:-1] + bytes([200])}
    victim.write_bytes(new[harm])
    with pytest.raises(UserError, match=f"{victim.name} is damaged"):
        load_dataset("mnist", tmp_path)


def test_load_dataset_reports_a_failed_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from torchvision.datasets import MNIST

    def no_network(self: MNIST) -> None:
        print("torchvision talks to stdout")
        raise RuntimeError("no network")

    monkeypatch.setattr(MNIST, "download", no_network)
    with pytest.raises(UserError, match=r"mnist could not be downloaded.*no network"):
        load_dataset("mnist", tmp_path, download=True)


@pytest.fixture
def small_cifar100(unpack: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CIFAR-100's test images as both files, pickled as by the authors, with their md5s."""
    from torchvision.datasets import CIFAR100

    labels = np.load(Path(unpack.HERE) / "cifar100/labels.npz")
    fine, coarse = labels["test_fine"].tolist(), labels["test_coarse"].tolist()
    file_names = unpack.names("cifar100/test_filenames.txt.xz")
    pixels = unpack.planar(np.tile(unpack.mosaics("cifar100", "test", 2000, 32), (5, 1, 1, 1)))
    data = unpack.pickle100(b"testing batch 1 of 1", file_names, fine, coarse, pixels)
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name, content in (("train", data), ("test", data), ("meta", unpack.rd("cifar100/meta"))):
        (folder / name).write_bytes(content)
    md5 = hashlib.md5(data).hexdigest()
    monkeypatch.setattr(CIFAR100, "train_list", [["train", md5]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", md5]])
    return tmp_path


def test_cifar_is_read_in_order_with_fine_labels(
    small_cifar100: Path, unpack: ModuleType, monkeypatch: pytest.MonkeyPatch
):
    from rdl_cli.datasets import cifar

    monkeypatch.setattr(cifar, "VALIDATION", 2_000)
    splits = load_dataset("cifar100", small_cifar100)
    check_splits(splits)
    assert (
        counts(splits.test.labels) == [100] * 100
        and counts(splits.train.labels) == [80] * 100
        and counts(splits.validation.labels) == [20] * 100
    )
    pixels = torch.from_numpy(unpack.mosaics("cifar100", "test", 2000, 32)).permute(0, 3, 1, 2)
    assert torch.equal(splits.test.images[:2000], pixels)
    assert torch.equal(splits.train.images, splits.test.images[splits.train.ids])
    assert splits.train.classes[:3] == ("apple", "aquarium_fish", "baby")


def test_cifar_never_unpickles_a_damaged_file(
    small_cifar100: Path, monkeypatch: pytest.MonkeyPatch
):
    file = small_cifar100 / "cifar-100-python/train"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    monkeypatch.setattr(
        "pickle.load", lambda *_, **__: pytest.fail("a file of unknown md5 was unpickled")
    )
    with pytest.raises(UserError, match="train is damaged"):
        load_dataset("cifar100", small_cifar100)


@pytest.mark.parametrize("name", ["digits", "mnist", "fashion-mnist", "cifar10", "cifar100"])
def test_load_dataset_refuses_to_resize_fixed_images(name: str, tmp_path: Path):
    with pytest.raises(UserError, match=f"{name} have a fixed size"):
        load_dataset(name, tmp_path, image_size=32)


def test_datasets_have_one_signature_and_a_summary():
    for name in DATASETS:
        parameters = list(inspect.signature(DATASETS._members[name]).parameters)
        assert parameters[:2] == ["root", "download"] and DATASETS.summary(name).endswith(".")


README = Path(__file__).resolve().parents[2] / "data/README.md"


@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_dataset_fingerprint_is_the_published_one(name: str, request: pytest.FixtureRequest):
    root = request.getfixturevalue("mnist_root") if name == "mnist" else Path("nowhere")
    assert f"| {name} | `{dataset_fingerprint(load_dataset(name, root))}` |" in README.read_text(
        encoding="utf-8"
    )


def test_datasets_are_described_in_the_readme():
    text = README.read_text(encoding="utf-8")
    assert [
        name for name in DATASETS if f"| `{name}` |" not in text and f"| `{name}:" not in text
    ] == []
