"""The RDMs that a figure shows: layers of finished runs and of stores, over a choice of images."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from rdl_cli.commands.activation_reader import ActivationReader
from rdl_cli.commands.console import log
from rdl_cli.commands.drawing_settings import HeatmapSettings
from rdl_cli.commands.options import split_commas
from rdl_cli.core.errors import UserError
from rdl_cli.core.patterns import match_names, select_names
from rdl_cli.core.seeds import Seeds
from rdl_cli.core.tensor_types import Images, Labels, Reps
from rdl_cli.datasets.subsets import Rows
from rdl_cli.networks.hooks import LayerShapes
from rdl_cli.rsa.condensed import condensed_pairs
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.store.layers import StoredLayer
from rdl_cli.store.store import Store

PER_CLASS = 10
MAX_STIMULI = 200
"""A store of up to this many stimuli is drawn with all of them."""


class NamedRdm(NamedTuple):
    """An RDM in condensed order (p,), NaN = not measured, and its distance."""

    name: str
    values: np.ndarray
    distance: str


class SourceRdms(NamedTuple):
    """The RDMs of a run or a store over n images, sorted by class.

    `classes` are empty and `images` None if they are unknown.
    """

    name: str
    layers: tuple[NamedRdm, ...]
    digests: np.ndarray
    classes: tuple[str, ...]
    images: Images | None


class LayerSelection:
    """The layers to draw from several sources; every pattern must match a layer of one of them."""

    def __init__(self, layers: Iterable[str]):
        self.patterns = split_commas(layers)
        self._known: dict[str, None] = {}

    def select(self, layers: Collection[str], path: Path) -> tuple[str, ...]:
        """Return the selected layers of a source. UserError if there are none."""
        if not self.patterns:
            raise UserError(
                "no layers are named",
                hint=f"pass --layers NAME,NAME; {path} has: {', '.join(layers)}",
            )
        self._known |= dict.fromkeys(layers)
        matching = [pattern for pattern in self.patterns if match_names(pattern, layers)]
        if isinstance(layers, LayerShapes):
            for pattern in self.patterns:
                layers.explain(pattern)
        return tuple(select_names(matching or self.patterns, layers))

    def check(self) -> None:
        """Raise UserError if a pattern has matched no layer of any source."""
        select_names(self.patterns, list(self._known))


def read_run_rdms(
    name: str, reader: ActivationReader, settings: HeatmapSettings, selection: LayerSelection
) -> SourceRdms:
    """Return the RDMs of a run's network over some images of every class."""
    split = reader.split
    rows = choose_exemplars(
        split.labels, settings.per_class or PER_CLASS, Seeds(settings.seed)("exemplars")
    )
    reps = reader.read(selection.select(reader.shapes, Path(reader.name)), rows)
    classes = tuple(split.classes[label] for label in split.labels[rows].tolist())
    return SourceRdms(
        name,
        tuple(compute_rdm(layer, reps[layer], settings.distance) for layer in reps),
        split.at(rows).digests,
        classes,
        split.read(rows),
    )


def read_store_rdms(path: Path, settings: HeatmapSettings, selection: LayerSelection) -> SourceRdms:
    """Return the RDMs of a store's layers; a layer of several RDMs gives their mean.

    Activations and kernels give an RDM of the settings' distance.
    """
    store = Store.open(path)
    rows = _choose_stimuli(store, settings).numpy()
    log(f"{path}: {len(rows):,} of {len(store.stimuli.digests):,} stimuli")
    names = selection.select(store.layers, path) if selection.patterns else store.layers
    stimuli = store.stimuli
    classes: tuple[str, ...] = ()
    if stimuli.labels is not None:
        class_names = store.provenance.get("classes")
        labels = stimuli.labels[rows].tolist()
        classes = tuple(class_names[k] if class_names else str(k) for k in labels)
    return SourceRdms(
        path.stem,
        tuple(_read_rdm(store.layer(name), rows, settings.distance) for name in names),
        stimuli.digests[rows],
        classes,
        None if stimuli.images is None else torch.from_numpy(store.images(rows)),
    )


def compute_rdm(name: str, reps: Reps, distance: str) -> NamedRdm:
    """Return the RDM of activations, in float64."""
    reps = reps.double()
    values = DISTANCES.find(distance)(reps, reps)[condensed_pairs(len(reps))]
    return NamedRdm(name, values.numpy(), distance)


def choose_exemplars(labels: Labels, per_class: int, generator: torch.Generator) -> Rows:
    """Return random rows sorted by class: so many of every class, or all if it has fewer."""
    order = torch.randperm(len(labels), generator=generator)
    return torch.cat(
        [order[labels[order] == label][:per_class].sort().values for label in labels.unique()]
    )


def _choose_stimuli(store: Store, settings: HeatmapSettings) -> Rows:
    labels, n = store.stimuli.labels, len(store.stimuli.digests)
    if labels is not None:
        per_class = settings.per_class or (n if n <= MAX_STIMULI else PER_CLASS)
        generator = Seeds(settings.seed)("exemplars")
        return choose_exemplars(torch.from_numpy(labels).long(), per_class, generator)
    if n > MAX_STIMULI:
        raise UserError(
            f"the {n:,} stimuli of {store.path} have no labels to choose some by",
            hint=f"a store of up to {MAX_STIMULI} stimuli is drawn with all of them",
        )
    return torch.arange(n)


def _read_rdm(layer: StoredLayer, rows: np.ndarray, distance: str) -> NamedRdm:
    if layer.kind == "RDMs":
        rdms = layer.rdms()
        count = f", mean of {len(rdms)}" if len(rdms) > 1 else ""
        return NamedRdm(layer.name + count, rdms.subset(rows).mean().values[0], rdms.distance)
    matrix = layer.distances(distance, rows, dtype=torch.float64)
    return NamedRdm(layer.name, matrix[condensed_pairs(len(rows))].numpy(), distance)
