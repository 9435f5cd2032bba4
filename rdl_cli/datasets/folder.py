"""A user's own images, in one folder for each class."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from rdl_cli.core.errors import UserError, unknown_name
from rdl_cli.datasets.base import DATASETS, Split, Splits
from rdl_cli.datasets.decoding import WHITE
from rdl_cli.datasets.file_index import FileIndex, FileNames, FilePaths
from rdl_cli.datasets.folder_walk import (
    FileEntry,
    LeftOut,
    describe_left_out,
    list_folders,
    list_images,
)
from rdl_cli.datasets.image_files import open_images
from rdl_cli.datasets.subsets import split_rows

HELDOUT_FRACTION = 0.1
"""The fraction of the training images for validation, and for test, if they have no folder."""


@DATASETS.register("folder", rest="path")
def folder(
    root: Path,
    download: bool,
    image_size: int | None = None,
    background: str = WHITE,
    *,
    path: str,
) -> Splits:
    """Your own images: PATH/train/CLASS, PATH/validation/CLASS, PATH/test/CLASS, or PATH/CLASS.

    PATH/val is read as well as PATH/validation. Without a folder for validation or test, a tenth
    of each class's training images is taken, in the order of their names' hashes. Names are paths
    relative to PATH. ids count all images in natural order, training before validation before
    test. Raise UserError if an image can't be read.
    """
    home = Path(path).expanduser()
    if not home.is_dir():
        raise UserError(
            f"there is no folder {home}", hint="folder:PATH needs a folder of images for each class"
        )
    left_out = LeftOut()
    train_name = _find_split(home, "train")
    heldout_names = [_find_split(home, "validation", "val"), _find_split(home, "test")]
    if train_name is None and any(heldout_names):
        raise UserError(
            f"{home} holds validation or test images, but no {home}/train",
            hint="put the training images there",
        )
    train_files = _list_files(home, train_name or "", left_out)
    classes = tuple(train_files)
    files = [
        list(train_files.values()),
        *(_list_heldout(home, name, classes, left_out) for name in heldout_names),
    ]
    return _make_splits(home, files, classes, image_size, background, left_out)


def _make_splits(
    home: Path,
    files: list[list[list[FileEntry]]],
    classes: tuple[str, ...],
    image_size: int | None,
    background: str,
    left_out: LeftOut,
) -> Splits:
    """Return the splits of training, validation and test files, listed by class.

    The last two lists may be empty.
    """
    labels = torch.cat(
        [
            torch.full((len(entries),), label)
            for split in files
            for label, entries in enumerate(split)
        ]
    )
    sizes = [sum(map(len, split)) for split in files]
    index = FileIndex(home, [e for split in files for part in split for e in part], background)
    files.clear()  # of a million entries the index needs a third of the memory
    rows = np.arange(len(index))
    names = FileNames(index, rows)
    images, decode = open_images(index, image_size)
    note = describe_left_out(left_out)
    whole = Split(
        images,
        labels,
        torch.arange(len(index)),
        classes,
        names,
        FilePaths(index, rows),
        decode,
        (f"{home}: {note}",) if note else (),
    )
    train, validation, test = whole.ids.split(sizes)
    count, rarest = torch.bincount(labels[train], minlength=len(classes)).min(0)
    if count < 3 and not (len(validation) and len(test)):
        raise UserError(
            f"class `{classes[int(rarest)]}` has {int(count)} training images,"
            " too few for validation and test",
            hint=f"at least 3 are needed, or {home}/train, {home}/validation and {home}/test",
        )
    n = max(len(classes), round(HELDOUT_FRACTION * len(train)))
    counts = [0 if len(part) else n for part in (validation, test)]
    train_rows = train
    heldout = [validation, test]
    if any(counts):
        train_rows, *heldout = split_rows([names[row] for row in train], labels[train], *counts)
    parts = [
        part if len(part) else train[rows]
        for part, rows in zip((validation, test), heldout, strict=True)
    ]
    return Splits(*map(whole.at, (train[train_rows], *parts)))


def _list_files(home: Path, split: str, left_out: LeftOut) -> dict[str, list[FileEntry]]:
    """Return the image files of a split by class. UserError if there are none."""
    place = home / split
    names = list_folders(place, left_out)
    files = {}
    for name in names:
        entries = list_images(home, f"{split}/{name}" if split else name, left_out)
        if entries:
            files[name] = entries
        else:
            left_out["folders without images"] += 1
    if names and not files:
        raise UserError(
            f"the class folders in {place} hold no images",
            hint="all formats that Pillow reads are supported",
        )
    if len(files) < 2 and (not split or split == "train"):
        raise UserError(
            f"{place} holds {len(files)} class folders",
            hint="put the images of each class into a folder of its own",
        )
    return files


def _list_heldout(
    home: Path, split: str | None, classes: Sequence[str], left_out: LeftOut
) -> list[list[FileEntry]]:
    """Return the image files of a held-out split by training class; none if it has no folder."""
    if split is None:
        return []
    files = _list_files(home, split, left_out)
    for name in files:
        if name not in classes:
            raise unknown_name("training class", name, classes)
    return [files.get(name, []) for name in classes]


def _find_split(home: Path, *names: str) -> str | None:
    """Return the first of these folders that has subfolders; one of images is a class itself."""
    return next(
        (n for n in names if (home / n).is_dir() and list_folders(home / n, LeftOut())), None
    )
