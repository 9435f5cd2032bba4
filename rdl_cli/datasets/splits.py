"""What a data set is: three splits of uint8 pictures, each row known by its place in the original file."""

from dataclasses import dataclass
from typing import NamedTuple

import torch

from rdl_cli.core.registry import Registry
from rdl_cli.core.shapes import Ids, Images, Labels

DATASETS = Registry("dataset", home="rdl_cli.datasets")
"""A member is `function(root: Path, download: bool, *, options) -> Splits`."""


@dataclass(frozen=True)
class Split:
    """Pictures as they lie in the file, uint8, before views and preprocessing.

    `ids` are rows of the data set's original file (training and test file each count from 0).
    """

    images: Images
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


class Splits(NamedTuple):
    train: Split
    validation: Split
    test: Split
