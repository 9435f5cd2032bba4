"""Digests identify images by their source."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rdl_cli.core.checksum import pixel_digests
from rdl_cli.core.errors import UserError
from rdl_cli.datasets import image_files
from rdl_cli.datasets.base import Split, Splits, load_dataset
from rdl_cli.datasets.digests import (
    dataset_fingerprint,
    file_digests,
    find_shared_images,
    image_digests,
    number_occurrences,
)
from rdl_cli.datasets.image_files import native_digests


def split_of(n: int, first: int = 0) -> Split:
    """Return images that all differ; ids count from `first`."""
    ids = torch.arange(first, first + n)
    images = (ids[:, None] * torch.tensor([1, 7, 31, 101]) % 256).to(torch.uint8).view(n, 1, 2, 2)
    return Split(images, ids % 10, ids, tuple("0123456789"))


@dataclass(frozen=True)
class OnDisk:
    """Images that do not fit in memory."""

    images: torch.Tensor

    @property
    def shape(self) -> torch.Size:
        return self.images.shape

    def __getitem__(self, rows: torch.Tensor) -> "OnDisk":
        return OnDisk(self.images[rows])

    def read(self, rows: torch.Tensor | slice) -> torch.Tensor:
        return self.images[rows]


def test_image_digests_are_sha_256_of_shape_and_pixels():
    images = torch.arange(2 * 3 * 4 * 5, dtype=torch.uint8).view(2, 3, 4, 5)
    expected = hashlib.sha256(b"3,4,5;" + bytes(range(60, 120))).hexdigest()
    assert image_digests(images)[1] == expected.encode() and image_digests(images).dtype == "S64"
    assert image_digests(images.permute(0, 1, 3, 2))[1] != expected.encode()
    assert image_digests(images.view(2, 3, 5, 4))[1] != expected.encode(), "no shape in the digest"
    assert np.array_equal(image_digests(OnDisk(images)), image_digests(images))
    assert image_digests(images[:0]).shape == (0,)


def test_image_digests_do_not_depend_on_blocks_and_strides():
    images = split_of(2001).images
    assert image_digests(images)[2000] == image_digests(images[2000:])[0]
    channels_last = (
        torch.rand(4, 3, 5, 6).mul(255).to(torch.uint8).to(memory_format=torch.channels_last)
    )
    assert np.array_equal(image_digests(channels_last), image_digests(channels_last.contiguous()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve images of different sizes in two classes."""
    for label, kind in enumerate(("cat", "dog")):
        (tmp_path / kind).mkdir()
        for n in range(6):
            pixels = np.random.default_rng(10 * label + n).integers(0, 256, (6 + n, 7, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / kind / f"{n}.png")
    return tmp_path


def test_file_digests_are_sha_256_of_the_bytes(folder: Path):
    files = sorted((folder / "cat").iterdir())
    expected = [hashlib.sha256(file.read_bytes()).hexdigest().encode() for file in files]
    assert file_digests(files).tolist() == expected and file_digests(files).dtype == "S64"
    with pytest.raises(UserError, match=r"gone\.png could not be read"):
        file_digests([*files, folder / "gone.png"])


def test_digests_of_a_folder_do_not_depend_on_the_image_size(folder: Path):
    small, large = (load_dataset(f"folder:{folder}", folder, image_size=size) for size in (4, 9))
    assert small.train.digest_kind == "file" and small.train.images.shape[2:] == (4, 4)
    assert np.array_equal(small.train.digests, large.train.digests)
    assert dataset_fingerprint(small) == dataset_fingerprint(large)
    assert np.array_equal(native_digests(small.train), native_digests(large.train))
    assert load_dataset("digits", folder).train.digest_kind == "pixels"


def test_native_digests_are_of_the_pixels_at_their_own_size(folder: Path):
    split = load_dataset(f"folder:{folder}", folder, image_size=4).train
    for digest, file in zip(native_digests(split), split.files or (), strict=True):
        pixels = np.moveaxis(np.asarray(Image.open(file)), 2, 0)
        assert digest == pixel_digests(pixels[None])[0]
    digits = load_dataset("digits", folder).test
    assert np.array_equal(native_digests(digits), digits.digests)


def test_digests_of_some_rows_are_those_of_the_whole(folder: Path):
    split = load_dataset(f"folder:{folder}", folder, image_size=4).train
    rows = torch.tensor([3, 0, 3])
    before = split.at(rows).digests
    assert np.array_equal(before, split.digests[rows.numpy()])
    assert np.array_equal(split.at(rows).digests, before)


def test_number_occurrences_counts_equal_digests():
    letters = np.array([b"b", b"a", b"b", b"c", b"b", b"a"])
    assert number_occurrences(letters).tolist() == [0, 0, 1, 0, 2, 1]
    assert number_occurrences(letters[:0]).tolist() == []


def test_find_shared_images_counts_those_of_the_first_split():
    split, other = split_of(20), split_of(30, 15)
    assert find_shared_images(split, other).number == 5
    repeated = split.at(torch.tensor([17, 17, 3]))
    assert find_shared_images(repeated, other).number == 2
    assert find_shared_images(other, repeated).number == 1


def test_dataset_fingerprint_depends_on_pixels_labels_and_order():
    splits = load_dataset("digits", Path("nowhere"))
    fingerprint = dataset_fingerprint(splits)
    assert fingerprint == dataset_fingerprint(load_dataset("digits", Path("elsewhere")))
    train = splits.train
    pixels, labels = train.images.clone(), train.labels.clone()
    pixels[5, 0, 3, 3] ^= 1
    labels[5] = (labels[5] + 1) % 10
    for other in (
        Split(pixels, train.labels, train.ids, train.classes),
        Split(train.images, labels, train.ids, train.classes),
        train.at(torch.arange(len(train)).flip(0)),
    ):
        changed = Splits(other, splits.validation, splits.test)
        assert dataset_fingerprint(changed) != fingerprint


OVERLAP = {1100: 24083, 1357: 32205}
"""Two of CIFAR-100's ten test images in the training file, with rows; each is in a mosaic."""


def test_find_shared_images_finds_test_images_in_cifar100s_training_file(unpack):
    def mosaic(split: str, number: int) -> Split:
        pixels = unpack.np.asarray(unpack._dec(unpack.rd(f"cifar100/{split}_{number:02d}.jxl")))
        pixels = pixels.reshape(40, 32, 50, 32, 3).transpose(0, 2, 4, 1, 3).reshape(2000, 3, 32, 32)
        rows = torch.arange(2000)
        return Split(torch.from_numpy(pixels.copy()), rows, rows + 2000 * number, ("any",))

    test = mosaic("test", 0)
    train = [mosaic("train", row // 2000) for row in OVERLAP.values()]
    assert [find_shared_images(test, split).number for split in train] == [1, 1]
    shared = np.isin(test.digests, np.concatenate([split.digests for split in train]))
    assert test.ids[torch.from_numpy(shared)].tolist() == list(OVERLAP)


@pytest.mark.parametrize("streamed", [False, True])
def test_find_shared_images_finds_copies_in_another_format(streamed, tmp_path, monkeypatch):
    for split in ("train", "validation", "test"):
        for kind in ("a", "b"):
            (tmp_path / split / kind).mkdir(parents=True)
            for n in range(3):
                seed = ord(kind) + 10 * n + 100 * len(split)
                pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / split / kind / f"{n}.png")
    leaked = Image.open(tmp_path / "train" / "a" / "0.png")
    leaked.save(tmp_path / "test" / "b" / "copy.tif")
    leaked.close()
    if streamed:
        monkeypatch.setattr(image_files, "_free_memory", lambda: 0)
    splits = load_dataset(f"folder:{tmp_path}", tmp_path)
    shared = find_shared_images(splits.test, splits.train)
    if streamed:
        assert shared == (0, "bytes of the files, not pixels")
    else:
        assert shared == (1, "bytes of the files, and pixels")
