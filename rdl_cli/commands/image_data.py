"""The pictures of an experiment: found, read, and matched to the stimuli of a store."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from rdl_cli.commands.settings import DataSettings
from rdl_cli.core.errors import UserError
from rdl_cli.core.tensor_types import Ids, Images, Reps
from rdl_cli.datasets.base import Split, Splits
from rdl_cli.datasets.base import load_dataset as load_pictures
from rdl_cli.datasets.loader import image_digests, number_occurrences
from rdl_cli.store.store import Store


def data_root(settings: DataSettings) -> Path:
    return Path(settings.data_root or os.environ.get("RDL_DATA", "data"))


def resolve_dataset(settings: DataSettings) -> str:
    """Where a data set's files lie, as provenance keeps it."""
    name, _, rest = settings.dataset.partition(":")
    return str(Path(rest if name == "folder" else data_root(settings)).absolute())


def load_splits(settings: DataSettings) -> Splits:
    """The data set's three splits. UserError where it is not there or is damaged."""
    return load_pictures(
        settings.dataset, data_root(settings), settings.download, settings.image_size
    )


Align = Literal["digest", "name", "position"]


def align_images(store: Store, split: Split, wanted: Ids, align: Align) -> Ids:
    """The store's row of every image of the split by id, -1 where it has none: (largest id + 1,).

    `digest` matches pixels, equal pictures by their order of occurrence; `name` file names; `position` the split's rows
    to the store's. UserError where a wanted id has no row, or where there is nothing to match by.
    """
    stimuli = store.stimuli
    n = len(stimuli.digests)
    if align == "position":
        if len(split) != n:
            raise UserError(
                f"the store {store.path} holds {n:,} stimuli, the training split {len(split):,}; their order matches nothing"
            )
        found = np.arange(n)
    elif align == "name":
        if stimuli.names is None or split.names is None:
            which = f"the store {store.path}" if stimuli.names is None else "this data set"
            raise UserError(
                f"{which} has no names to match images by",
                hint="use --align digest or --align position",
            )
        found = _rows(list(stimuli.names), list(split.names))
    else:
        if not (
            stimuli.digests != b""
        ).all():  # numpy 1.26 reads bytes as a number where asked for a bool
            raise UserError(
                f"the store {store.path} knows no pixels of its stimuli",
                hint="use --align name or --align position",
            )
        mine = image_digests(split.images)
        found = _rows(
            list(
                zip(
                    stimuli.digests.tolist(),
                    number_occurrences(stimuli.digests).tolist(),
                    strict=True,
                )
            ),
            list(zip(mine.tolist(), number_occurrences(mine).tolist(), strict=True)),
        )
    rows = torch.full((int(split.ids.max()) + 1,), -1)
    rows[split.ids] = torch.from_numpy(found)
    missing = int((rows[wanted] < 0).sum())
    if missing:
        raise UserError(
            f"the store {store.path} holds {n:,} stimuli; {missing:,} of the {len(wanted):,} training images are not among them",
            hint="export the targets of these images: rdl export-rdms RUN STORE --dataset ... --split train",
        )
    return rows


def _rows(theirs: list, mine: list) -> np.ndarray:
    place = {key: row for row, key in enumerate(theirs)}
    return np.array([place.get(key, -1) for key in mine])


def to_pixels(images: Images) -> Reps:
    """Pictures as representations of themselves."""
    return images.flatten(1) / 255


def join_splits(splits: Sequence[Split]) -> Split:
    """Several splits of one data set, one after the other."""
    first = splits[0]
    if not all(isinstance(split.images, torch.Tensor) for split in splits):
        raise UserError(
            "pictures that are read from their files as they are needed cannot be joined",
            hint="export one split after the other",
        )
    names = (
        tuple(name for split in splits for name in split.names or ())
        if first.names is not None
        else None
    )
    images, labels, ids = (
        torch.cat([getattr(split, part) for split in splits])
        for part in ("images", "labels", "ids")
    )
    return Split(images, labels, ids, first.classes, names)
