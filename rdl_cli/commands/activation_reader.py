"""Read a trained network's activations over the images of a data set."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rdl_cli.commands.console import log
from rdl_cli.commands.device import configure_backend, resolve_device
from rdl_cli.commands.drawing_settings import DrawingSettings
from rdl_cli.commands.image_data import join_splits, load_splits, locate_dataset
from rdl_cli.commands.network_source import NetworkSource, open_network
from rdl_cli.commands.processes import local_device
from rdl_cli.commands.settings import CompareRdmsSettings, ExportSettings
from rdl_cli.core.errors import UserError
from rdl_cli.core.registry import NameSource
from rdl_cli.core.tensor_types import Ids, Reps
from rdl_cli.datasets.augmentation import VIEWS, Views
from rdl_cli.datasets.base import DATASETS, Split, Splits
from rdl_cli.datasets.digests import dataset_fingerprint
from rdl_cli.datasets.loader import Batches
from rdl_cli.datasets.preprocessing import PREPROCESSING, Preprocess
from rdl_cli.datasets.subsets import Rows
from rdl_cli.networks.factory import InputShape
from rdl_cli.networks.hooks import LayerShapes, find_unstable_layers, read_layers
from rdl_cli.runs.run import Run
from rdl_cli.store.store import Stimuli


@dataclass(frozen=True)
class ActivationReader:
    """A trained network and the split of images that it is read on."""

    origin: NetworkSource
    network: nn.Module
    shapes: LayerShapes
    splits: Splits
    split_name: str
    split: Split
    preprocess: Preprocess
    views: Views
    device: torch.device
    batch_size: int
    workers: int | None = None

    @property
    def name(self) -> str:
        """The path of the run, or the spec of the network."""
        return self.origin.name

    @cached_property
    def source(self) -> dict[str, Any]:
        """Everything that is equal in two stores of the same teacher over the same images."""
        return {
            "teacher": self.origin.parent["fingerprint"],
            "preprocessing": self.preprocess.spec,
            "images": dataset_fingerprint(self.splits),
            "split": self.split_name,
        }

    def stimuli(self) -> Stimuli:
        """Return the images as a store lists them."""
        split = self.split
        return Stimuli(
            split.digests,
            None if split.names is None else np.array(split.names),
            split.labels.numpy(),
            digest_kind=split.digest_kind,
            decode={} if split.decode is None else split.decode.describe(),
            preprocessing=self.preprocess.spec,
        )

    @torch.no_grad()
    def read(self, layers: Sequence[str], rows: Rows) -> dict[str, Reps]:
        """Return some layers' activations over some of the images, without augmentation, on CPU."""
        if not layers:
            return {}
        shape = InputShape(*self.split.images.shape[1:])
        log_unstable_layers(self.network, shape, layers, self.name)
        blocks = [
            read_layers(self.network, batch.images, layers)
            for batch in self._batches(self.split.at(rows)).in_order(0, self.batch_size)
        ]
        return {
            layer: torch.cat([block[layer].float().cpu() for block in blocks]) for layer in layers
        }

    @cached_property
    def batches(self) -> Batches:
        """All images, in batches."""
        return self._batches(self.split)

    def batches_of(self, rows: Ids) -> Batches:
        """Return some of the images, in ascending order, in batches."""
        if len(rows) == len(self.split):
            return self.batches
        return self._batches(self.split.at(rows))

    def _batches(self, split: Split) -> Batches:
        return Batches(
            split,
            None,
            self.batch_size,
            self.views,
            self.preprocess,
            self.device,
            workers=self.workers,
        )


def open_reader(
    source: str | Path, settings: ExportSettings, splits: Splits | None = None
) -> ActivationReader:
    """Open a network on the settings' split, preprocessed as in its training.

    Args:
        source: folder of a finished run, or the spec of a network.
        settings: data set, split, views, batch size and device.
        splits: the splits of the settings' data set, if they are loaded already.

    Raises:
        UserError: the run is unfinished, or its network takes images of another shape.
    """
    origin = open_network(str(source), settings)
    device = local_device(resolve_device(settings.device))
    configure_backend(device)
    splits = splits or load_splits(settings)
    split = (
        _sort_by_id(join_splits(splits))
        if settings.split == "all"
        else getattr(splits, settings.split)
    )
    shape = origin.shape
    image_shape = InputShape(*split.images.shape[1:])
    if shape != image_shape:
        raise UserError(
            f"the teacher {source} takes {shape} images, those of `{settings.dataset}` are"
            f" {image_shape}",
            hint="choose another --dataset or --image-size",
        )
    return ActivationReader(
        origin,
        origin.network.to(device),
        origin.shapes,
        splits,
        settings.split,
        split,
        PREPROCESSING.make(
            origin.preprocessing,
            splits.train,
            source=NameSource(origin.name, settings.trust),
        ),
        VIEWS.make(settings.views),
        device,
        settings.batch_size,
        settings.num_workers,
    )


def _sort_by_id(split: Split) -> Split:
    """Return all images in the order of their files, if no two have one id."""
    unique = len(split.ids.unique()) == len(split.ids)  # training and test files count from 0
    return split.at(split.ids.argsort()) if unique else split


def complete_settings(run: Run, settings: ExportSettings) -> ExportSettings:
    """Return the settings, completed by the run's own data set, folder and image size."""

    def default(key: str) -> Any:
        return getattr(settings, key) or run.config.get(key)

    dataset, root = settings.dataset, settings.data_root
    if not dataset:
        dataset, root = locate_dataset(run, settings.data_root)
    # an array data set has images of its own size
    other = dataset.partition(":")[0] != str(run.config.get("dataset")).partition(":")[0]
    size = settings.image_size if other else default("image_size")
    background = settings.background if other else default("background") or ""
    if not settings.dataset and run.config.get("dataset"):
        DATASETS.find(run.config["dataset"], NameSource(str(run.path), settings.trust))
    return replace(
        settings,
        dataset=dataset,
        data_root=root or run.config.get("data_root") or "",
        image_size=size,
        background=background,
    )


def log_unstable_layers(
    network: nn.Module, shape: InputShape, layers: Sequence[str], owner: str
) -> None:
    """Log the layers that give other numbers for the same images twice."""
    if unstable := find_unstable_layers(network, shape, layers):
        log(
            f"note: {owner} gives other numbers for the same images in another pass, at"
            f" {', '.join(unstable)}; dropout or batch statistics are left on in evaluation"
        )


class ReaderCache:
    """Open runs on the data set of the settings, or on their own; load a data set once."""

    def __init__(self, settings: DrawingSettings | CompareRdmsSettings):
        shared = {"dataset", "data_root", "image_size", "split", "device", "trust"}
        names = shared & {field.name for field in fields(settings)}
        self._settings = ExportSettings(**{name: getattr(settings, name) for name in names})
        self._splits: dict[tuple[object, ...], Splits] = {}

    def __call__(self, run: Run) -> ActivationReader:
        """Return the reader of a finished run."""
        settings = complete_settings(run, self._settings)
        key = settings.dataset, settings.data_root, settings.image_size
        if key not in self._splits:
            self._splits[key] = load_splits(settings)
        return open_reader(run.path, settings, self._splits[key])
