"""What a data set is: three splits of uint8 pictures, each row known by its place in the original file."""

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import torch

from rdl_cli.core.errors import UserError
from rdl_cli.core.registry import Registry
from rdl_cli.core.tensor_types import Ids, Images, Labels

DATASETS = Registry("dataset", home="rdl_cli.datasets")
"""A member is `function(root: Path, download: bool, *, options) -> Splits`; one that can choose the size of its pictures
takes a third argument, `image_size: int | None`. Ask through `load`."""


class LazyImages(Protocol):
    """Pictures too many for memory: `lazy[rows]` is again lazy, `read(rows)` opens the files and returns uint8 `n c h w`."""

    @property
    def shape(self) -> torch.Size: ...

    def __getitem__(self, rows: torch.Tensor) -> "LazyImages": ...

    def read(self, rows: torch.Tensor | slice) -> Images: ...


@dataclass(frozen=True)
class Split:
    """Pictures as they lie in the file, uint8, before views and preprocessing.

    `ids` are rows of the data set's original file (training and test file each count from 0).
    """

    images: Images | LazyImages
    labels: Labels
    ids: Ids
    classes: tuple[str, ...]
    names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, rows: torch.Tensor) -> "Split":
        """The split of some of its rows, by position."""
        names = None if self.names is None else tuple(self.names[i] for i in rows.tolist())
        return Split(self.images[rows], self.labels[rows], self.ids[rows], self.classes, names)

    def read(self, rows: torch.Tensor | slice) -> Images:
        """The uint8 pictures of some rows, in memory, wherever they were."""
        return image_shape_at(self.images, rows)


class Splits(NamedTuple):
    train: Split
    validation: Split
    test: Split


def load_dataset(
    spec: str, root: Path, download: bool = False, image_size: int | None = None
) -> Splits:
    """The data set that a spec names. UserError where it is not in `root`, is damaged, or has pictures of one size only."""
    reader = DATASETS.find(spec)
    if image_size is None:
        return reader(root, download)
    if "image_size" not in inspect.signature(reader).parameters:
        raise UserError(
            f"the pictures of {spec} have one size and can't be read at {image_size} pixels",
            hint="leave out the image size",
        )
    return reader(root, download, image_size)


def image_shape_at(images: Images | LazyImages, rows: torch.Tensor | slice) -> Images:
    return images[rows] if isinstance(images, torch.Tensor) else images.read(rows)
