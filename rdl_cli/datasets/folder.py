"""A user's own pictures, in one folder for each class."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from rdl_cli.core.errors import UserError, unknown_name
from rdl_cli.datasets.base import DATASETS, Split, Splits
from rdl_cli.datasets.image_files import is_image_file, natural_sort, read_image
from rdl_cli.datasets.subsets import split_rows

VALIDATION_FRACTION = 0.1
"""The part of the training pictures that validates, and the part that tests, where no folder holds such pictures."""


@DATASETS.register("folder", rest="path")
def folder(root: Path, download: bool, image_size: int | None = None, *, path: str) -> Splits:
    """Your own pictures: PATH/train/CLASS, PATH/validation/CLASS (or val), PATH/test/CLASS; or just PATH/CLASS.

    Validation or test pictures that have no folder are drawn from the training pictures, a tenth of each class, in the order
    of their names' hashes. Names are paths from PATH on; ids count all pictures in natural order, training before validation
    before test. UserError where a picture can't be read.
    """
    home = Path(path).expanduser()
    if not home.is_dir():
        raise UserError(
            f"there is no folder {home}",
            hint="folder:PATH holds a folder of pictures for each class",
        )
    homes = [
        _read_classes(home, "train"),
        _read_classes(home, "validation", "val"),
        _read_classes(home, "test"),
    ]
    if homes[0] is None and any(homes):
        raise UserError(
            f"{home} holds pictures to validate or test on, and no {home}/train",
            hint="put the training pictures there",
        )
    train_home = homes[0] or home
    classes = tuple(each.name for each in _folders(train_home))
    if len(classes) < 2:
        raise UserError(
            f"{train_home} holds {len(classes)} class folders",
            hint="put the pictures of each class into a folder of its own",
        )
    given = [
        _labelled(train_home, classes),
        *(_labelled(each, classes) if each else [] for each in homes[1:]),
    ]
    return _splits(home, given, classes, image_size)


def _splits(
    home: Path,
    given: list[list[tuple[Path, int]]],
    classes: tuple[str, ...],
    image_size: int | None,
) -> Splits:
    """The splits of training, validation and test files with their labels, where the last two may be empty."""
    files = [file for part in given for file, _ in part]
    labels = torch.tensor([label for part in given for _, label in part])
    names = tuple(file.relative_to(home).as_posix() for file in files)
    whole = Split(read_image(files, image_size), labels, torch.arange(len(files)), classes, names)
    train, validation, test = whole.ids.split([len(part) for part in given])
    least, rarest = torch.bincount(labels[train], minlength=len(classes)).min(0)
    if least < 3 and not (len(validation) and len(test)):
        which = f"class `{classes[int(rarest)]}` has {int(least)} training pictures"
        raise UserError(
            f"{which}, too few to hold some out",
            hint=f"at least 3, or make {home}/train, {home}/validation and {home}/test",
        )
    tenth = max(len(classes), round(VALIDATION_FRACTION * len(train)))
    wanted = [0 if len(part) else tenth for part in (validation, test)]
    kept, *drawn = split_rows([names[row] for row in train], labels[train], *wanted)
    held_out = [
        part if len(part) else train[rows]
        for part, rows in zip((validation, test), drawn, strict=True)
    ]
    return Splits(*map(whole.at, (train[kept], *held_out)))


def _labelled(home: Path, classes: Sequence[str]) -> list[tuple[Path, int]]:
    found = []
    for each in _folders(home):
        if each.name not in classes:
            raise unknown_name("training class", each.name, classes)
        files = (
            Path(at) / name for at, _, names in os.walk(each, followlinks=True) for name in names
        )
        found += [
            (file, classes.index(each.name)) for file in natural_sort(filter(is_image_file, files))
        ]
    if not found:
        raise UserError(
            f"the class folders in {home} hold no pictures",
            hint="any format will do that Pillow reads",
        )
    return found


def _folders(home: Path) -> list[Path]:
    return natural_sort(
        each for each in home.iterdir() if each.is_dir() and not each.name.startswith(".")
    )


def _read_classes(home: Path, *names: str) -> Path | None:
    """The first of these folders that holds folders itself; one that holds pictures is a class of that name."""
    return next(
        (home / name for name in names if (home / name).is_dir() and _folders(home / name)), None
    )
