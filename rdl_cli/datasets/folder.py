"""A user's own images, in one folder for each class."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from rdl_cli.core.errors import UserError, unknown_name
from rdl_cli.datasets.base import DATASETS, Split, Splits
from rdl_cli.datasets.image_files import is_image_file, natural_sort, open_images
from rdl_cli.datasets.subsets import split_rows

HELDOUT_FRACTION = 0.1
"""The fraction of the training images for validation, and for test, if they have no folder."""


@DATASETS.register("folder", rest="path")
def folder(root: Path, download: bool, image_size: int | None = None, *, path: str) -> Splits:
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
    train_home = _find_split(home, "train")
    heldout_homes = [_find_split(home, "validation", "val"), _find_split(home, "test")]
    if train_home is None and any(heldout_homes):
        raise UserError(
            f"{home} holds validation or test images, but no {home}/train",
            hint="put the training images there",
        )
    train_home = train_home or home
    classes = tuple(subfolder.name for subfolder in _subfolders(train_home))
    if len(classes) < 2:
        raise UserError(
            f"{train_home} holds {len(classes)} class folders",
            hint="put the images of each class into a folder of its own",
        )
    files = [
        _list_files(train_home, classes),
        *(_list_files(split, classes) if split else [] for split in heldout_homes),
    ]
    return _make_splits(home, files, classes, image_size)


def _make_splits(
    home: Path,
    labelled_files: list[list[tuple[Path, int]]],
    classes: tuple[str, ...],
    image_size: int | None,
) -> Splits:
    """Return the splits of training, validation and test files with their labels.

    The last two lists may be empty.
    """
    files = tuple(file for part in labelled_files for file, _ in part)
    labels = torch.tensor([label for part in labelled_files for _, label in part])
    names = tuple(file.relative_to(home).as_posix() for file in files)
    images = open_images(files, image_size)
    whole = Split(images, labels, torch.arange(len(files)), classes, names, files)
    train, validation, test = whole.ids.split([len(part) for part in labelled_files])
    count, rarest = torch.bincount(labels[train], minlength=len(classes)).min(0)
    if count < 3 and not (len(validation) and len(test)):
        raise UserError(
            f"class `{classes[int(rarest)]}` has {int(count)} training images,"
            " too few for validation and test",
            hint=f"at least 3 are needed, or {home}/train, {home}/validation and {home}/test",
        )
    n = max(len(classes), round(HELDOUT_FRACTION * len(train)))
    sizes = [0 if len(part) else n for part in (validation, test)]
    train_rows, *heldout = split_rows([names[row] for row in train], labels[train], *sizes)
    parts = [
        part if len(part) else train[rows]
        for part, rows in zip((validation, test), heldout, strict=True)
    ]
    return Splits(*map(whole.at, (train[train_rows], *parts)))


def _list_files(home: Path, classes: Sequence[str]) -> list[tuple[Path, int]]:
    """Return the image files below a split's class folders, with their labels."""
    labelled = []
    for subfolder in _subfolders(home):
        if subfolder.name not in classes:
            raise unknown_name("training class", subfolder.name, classes)
        files = (
            Path(parent) / name
            for parent, _, names in os.walk(subfolder, followlinks=True)
            for name in names
        )
        label = classes.index(subfolder.name)
        labelled += [(file, label) for file in natural_sort(filter(is_image_file, files))]
    if not labelled:
        raise UserError(
            f"the class folders in {home} hold no images",
            hint="all formats that Pillow reads are supported",
        )
    return labelled


def _subfolders(home: Path) -> list[Path]:
    return natural_sort(
        path for path in home.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def _find_split(home: Path, *names: str) -> Path | None:
    """Return the first of these folders that has subfolders; one of images is a class itself."""
    return next(
        (home / name for name in names if (home / name).is_dir() and _subfolders(home / name)), None
    )
