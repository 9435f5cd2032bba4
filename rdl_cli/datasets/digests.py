"""Identify images by SHA-256, so that the same image is recognized in data sets, stores and runs.

The digest is that of an image's source: of its pixels for array data sets, of the file's bytes for
image files. So a teacher at 224 pixels and a student at 64 see the same stimulus, and no file is
decoded to be counted. Pixel digests of decoded files are taken only where the two kinds meet.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from torch import Tensor

from rdl_cli.core.checksum import pixel_digests
from rdl_cli.core.tensor_types import Images
from rdl_cli.datasets.file_index import FilePaths, hash_files

if TYPE_CHECKING:
    from rdl_cli.datasets.base import LazyImages, Split, Splits

DigestKind = Literal["pixels", "file"]
BLOCK = 1000


def image_digests(images: "Images | LazyImages") -> np.ndarray:
    """Return the digest of every image's pixels, S64 (n,); see `core.checksum.pixel_digests`."""
    digests = np.empty(images.shape[0], dtype="S64")
    for start in range(0, len(digests), BLOCK):
        rows = slice(start, start + BLOCK)
        block = images[rows] if isinstance(images, Tensor) else images.read(rows)
        digests[rows] = pixel_digests(block.cpu().numpy())
    return digests


def file_digests(files: Sequence[Path]) -> np.ndarray:
    """Return the digest of every file's bytes, S64 (n,). Raise UserError if one cannot be read.

    Files of an indexed folder are hashed once.
    """
    return files.digests() if isinstance(files, FilePaths) else hash_files(files)


def number_occurrences(digests: np.ndarray) -> np.ndarray:
    """Return how many equal digests come before each, int64 (n,).

    (digest, occurrence) is a unique key even if images repeat.
    """
    order = np.argsort(digests, kind="stable")
    ordered = digests[order]
    place = np.arange(len(ordered))
    first = (
        np.maximum.accumulate(np.where(np.r_[True, ordered[1:] != ordered[:-1]], place, 0))
        if len(ordered)
        else place
    )
    numbers = np.empty(len(ordered), dtype=np.int64)
    numbers[order] = place - first
    return numbers


class SharedImages(NamedTuple):
    """How many images of a split are also in another one, and what was compared to see it."""

    number: int
    compared: str


def find_shared_images(split: "Split", other: "Split") -> SharedImages:
    """Return how many images of a split are also in another split of the same data set.

    Image files are compared by their bytes, and by their pixels where these are in memory: a copy
    in another lossless format is found. Copies that were scaled or compressed are not.
    """
    shared = np.isin(split.digests, other.digests)
    if split.files is None:
        return SharedImages(int(shared.sum()), "pixels")
    if not isinstance(split.images, Tensor) or not isinstance(other.images, Tensor):
        return SharedImages(int(shared.sum()), "bytes of the files, not pixels")
    shared |= np.isin(image_digests(split.images), image_digests(other.images))
    return SharedImages(int(shared.sum()), "bytes of the files, and pixels")


def dataset_fingerprint(splits: "Splits") -> str:
    """Return the SHA-256 over the digests, labels and ids of the three splits, in their order."""
    fingerprint = hashlib.sha256()
    for split in splits:
        fingerprint.update(split.digests.tobytes())
        for column in (split.labels, split.ids):
            fingerprint.update(column.cpu().numpy().astype("<i8").tobytes())
    return fingerprint.hexdigest()
