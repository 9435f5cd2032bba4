"""A data set: three splits of uint8 images, each row identified by its row in the original file."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from rdl_cli.core.errors import UserError
from rdl_cli.core.registry import Registry
from rdl_cli.core.tensor_types import Ids, Images, Labels
from rdl_cli.datasets.decoding import DecodeSettings
from rdl_cli.datasets.digests import DigestKind, file_digests, image_digests
from rdl_cli.datasets.file_index import IndexColumn

DATASETS = Registry("dataset", home="rdl_cli.datasets")
"""A member is `function(root: Path, download: bool, *, options) -> Splits`.

One whose images can be resized takes an argument `image_size: int | None`; one that decodes image
files takes `background: str`, the colour behind transparent pixels.
"""


class LazyImages(Protocol):
    """Images too many for memory: `lazy[rows]` is lazy as well, `read(rows)` returns uint8 pixels.

    `read` has shape `n c h w`.
    """

    @property
    def shape(self) -> torch.Size: ...

    def __getitem__(self, rows: torch.Tensor) -> "LazyImages": ...

    def read(self, rows: torch.Tensor | slice) -> Images: ...


@dataclass(frozen=True)
class Split:
    """Images as they are in the file, uint8, before views and preprocessing.

    `ids` are rows of the data set's original file (training and test file each count from 0).
    `files` are the image files, if the data set has one for each image, and `decode` how they
    become pixels. `notes` are for the person who loads the data set.
    """

    images: Images | LazyImages
    labels: Labels
    ids: Ids
    classes: tuple[str, ...]
    names: Sequence[str] | None = None
    files: Sequence[Path] | None = None
    decode: DecodeSettings | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def digest_kind(self) -> DigestKind:
        """The source that `digests` identify: the images' files, or else their pixels."""
        return "pixels" if self.files is None else "file"

    @cached_property
    def digests(self) -> np.ndarray:
        """The SHA-256 of each image's source, S64 (n,)."""
        return image_digests(self.images) if self.files is None else file_digests(self.files)

    def at(self, rows: torch.Tensor) -> "Split":
        """Return the split of some rows, by position."""
        split = replace(
            self,
            images=self.images[rows],
            labels=self.labels[rows],
            ids=self.ids[rows],
            names=_take(self.names, rows),
            files=_take(self.files, rows),
        )
        if "digests" in self.__dict__:  # hashing many files takes minutes
            split.__dict__["digests"] = self.digests[rows.numpy()]
        return split

    def read(self, rows: torch.Tensor | slice) -> Images:
        """Return the uint8 images of some rows, in memory."""
        return read_images(self.images, rows)


class Splits(NamedTuple):
    """The training, validation and test split of a data set."""

    train: Split
    validation: Split
    test: Split


def load_dataset(
    spec: str,
    root: Path,
    download: bool = False,
    image_size: int | None = None,
    background: str = "",
) -> Splits:
    """Return the data set that a spec names.

    Args:
        spec: for example `mnist` or `folder:PATH`; `rdl list datasets` lists all.
        root: folder of the data sets' files.
        download: download the files if they are missing.
        image_size: side in pixels of resized images, for data sets whose images have any size.
        background: colour behind transparent pixels, for data sets of image files.

    Raises:
        UserError: the files are missing or damaged, or the images have a fixed size.

    >>> splits = load_dataset("digits", Path("data"))
    >>> len(splits.train), tuple(splits.train.images.shape[1:])
    (1000, (1, 8, 8))
    """
    reader = DATASETS.find(spec)
    accepted = inspect.signature(reader).parameters
    options: dict[str, Any] = {}
    if image_size is not None:
        if "image_size" not in accepted:
            raise UserError(
                f"the images of {spec} have a fixed size; --image-size {image_size} has no effect",
                hint="leave out the image size",
            )
        options["image_size"] = image_size
    if background:
        if "background" not in accepted:
            raise UserError(
                f"the images of {spec} are opaque; --background {background} has no effect",
                hint="leave out the background",
            )
        options["background"] = background
    return reader(root, download, **options)


def read_images(images: Images | LazyImages, rows: torch.Tensor | slice) -> Images:
    """Return the uint8 images of some rows, in memory."""
    return images[rows] if isinstance(images, torch.Tensor) else images.read(rows)


def _take(column: Sequence[Any] | None, rows: torch.Tensor) -> Sequence[Any] | None:
    if column is None or isinstance(column, IndexColumn):
        return None if column is None else column.take(rows.numpy())
    return tuple(column[row] for row in rows.tolist())
