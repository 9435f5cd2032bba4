"""The images of an experiment: their folder, their splits, their pixels."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from rdl_cli.commands.console import log
from rdl_cli.commands.settings import DataSettings
from rdl_cli.core.errors import UserError
from rdl_cli.core.tensor_types import Images, Reps
from rdl_cli.datasets.base import LazyImages, Split, Splits, load_dataset
from rdl_cli.datasets.file_index import IndexColumn
from rdl_cli.datasets.image_files import ImageFiles
from rdl_cli.runs.run import Run


def data_root(settings: DataSettings) -> Path:
    """Return the folder of the data sets: --data-root, else $RDL_DATA, else `data`."""
    return Path(settings.data_root or os.environ.get("RDL_DATA", "data"))


def resolve_dataset(settings: DataSettings) -> str:
    """Return the absolute path of a data set's files, for provenance."""
    name, _, path = settings.dataset.partition(":")
    return str(Path(path if name == "folder" else data_root(settings)).absolute())


def locate_dataset(run: Run, root: str = "") -> tuple[str, str]:
    """Return a run's data set and data root as they can be opened from the current folder.

    A relative path is looked up where the run was trained: its provenance has the absolute one.
    UserError if the run's folder of images is gone.

    Args:
        run: a finished run.
        root: the data root to use in place of the run's.
    """
    dataset, root = run.config.get("dataset") or "", root or run.config.get("data_root") or ""
    parents = run.provenance.get("parents", ())
    recorded = next((p["path"] for p in parents if p["kind"] == "dataset"), "")
    name, _, path = dataset.partition(":")
    if name == "folder" and recorded:
        for folder in (recorded, path):
            if Path(folder).expanduser().is_dir():
                return f"folder:{folder}", root
        raise UserError(
            f"the images of {run.path} are gone: there is no folder {recorded}",
            hint="pass --dataset folder:PATH with their new place",
        )
    if not data_root(DataSettings(data_root=root)).is_dir() and Path(recorded).is_dir():
        root = recorded or root
    return dataset, root


def load_splits(settings: DataSettings) -> Splits:
    """Return the data set's three splits. Raise UserError if it is missing or damaged."""
    splits = load_dataset(
        settings.dataset,
        data_root(settings),
        settings.download,
        settings.image_size,
        settings.background,
    )
    for note in splits.train.notes:
        log(f"note: {note}")
    return splits


def to_pixels(images: Images) -> Reps:
    """Return images as representations of themselves, pixels from 0 to 1."""
    return images.flatten(1) / 255


def join_splits(splits: Sequence[Split]) -> Split:
    """Return several splits of one data set as one."""
    parts = [split.images for split in splits]
    images: Images | LazyImages
    if all(isinstance(part, torch.Tensor) for part in parts):
        images = torch.cat(parts)  # type: ignore[arg-type]
    elif all(isinstance(part, ImageFiles) for part in parts):
        images = replace(parts[0], files=_join([part.files for part in parts]))  # type: ignore
    else:
        raise UserError(
            "images that are read on demand cannot be joined",
            hint="export one split after the other",
        )
    labels, ids = (
        torch.cat([getattr(split, column) for split in splits]) for column in ("labels", "ids")
    )
    names, files = (
        None if column[0] is None else _join(column)
        for column in ([split.names for split in splits], [split.files for split in splits])
    )
    return replace(splits[0], images=images, labels=labels, ids=ids, names=names, files=files)


def _join(columns: Sequence[Any]) -> Any:
    """Return columns end to end."""
    if isinstance(columns[0], IndexColumn):
        return columns[0].join(columns[1:])
    return tuple(entry for column in columns for entry in column)
