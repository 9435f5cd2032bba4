"""The images of an experiment: their folder, their splits, their pixels."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from rdl_cli.commands.settings import DataSettings
from rdl_cli.core.errors import UserError
from rdl_cli.core.tensor_types import Images, Reps
from rdl_cli.datasets.base import Split, Splits, load_dataset


def data_root(settings: DataSettings) -> Path:
    """Return the folder of the data sets: --data-root, else $RDL_DATA, else `data`."""
    return Path(settings.data_root or os.environ.get("RDL_DATA", "data"))


def resolve_dataset(settings: DataSettings) -> str:
    """Return the absolute path of a data set's files, for provenance."""
    name, _, path = settings.dataset.partition(":")
    return str(Path(path if name == "folder" else data_root(settings)).absolute())


def load_splits(settings: DataSettings) -> Splits:
    """Return the data set's three splits. Raise UserError if it is missing or damaged."""
    root = data_root(settings)
    return load_dataset(settings.dataset, root, settings.download, settings.image_size)


def to_pixels(images: Images) -> Reps:
    """Return images as representations of themselves, pixels from 0 to 1."""
    return images.flatten(1) / 255


def join_splits(splits: Sequence[Split]) -> Split:
    """Return several splits of one data set as one."""
    if not all(isinstance(split.images, torch.Tensor) for split in splits):
        raise UserError(
            "images that are read from their files on demand cannot be joined",
            hint="export one split after the other",
        )
    images, labels, ids = (
        torch.cat([getattr(split, column) for split in splits])
        for column in ("images", "labels", "ids")
    )
    names, files = (
        tuple(entry for split in splits for entry in getattr(split, column) or ())
        for column in ("names", "files")
    )
    return Split(images, labels, ids, splits[0].classes, names or None, files or None)
