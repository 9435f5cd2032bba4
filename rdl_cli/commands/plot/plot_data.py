"""The representations that a figure shows: layers of finished runs and of stores, for a choice of pictures."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from rdl_cli.commands.console import log
from rdl_cli.commands.export_rdms.export_rdms import ActivationReader
from rdl_cli.commands.options import split_commas
from rdl_cli.commands.settings import HeatmapSettings
from rdl_cli.core.errors import UserError
from rdl_cli.core.patterns import match_names, select_names
from rdl_cli.core.seeds import Seeds
from rdl_cli.core.tensor_types import Images, Labels, Reps
from rdl_cli.datasets.loader import image_digests
from rdl_cli.datasets.subsets import Rows
from rdl_cli.rsa.condensed import condensed_pairs
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.rsa.kernels import kernel_distances, subset
from rdl_cli.store.store import Store

PER_CLASS, WHOLE = 10, 200


class DrawnRdm(NamedTuple):
    """An RDM in condensed order (p,), NaN = not measured, and the distance that it holds."""

    name: str
    values: np.ndarray
    distance: str


class DrawnSource(NamedTuple):
    """What a run or a store shows of n pictures, sorted by class. `classes` are empty and `images` None where they are not known."""

    name: str
    layers: tuple[DrawnRdm, ...]
    digests: np.ndarray
    classes: tuple[str, ...]
    images: Images | None


class LayerSelection:
    """The layers asked for, over several sources: each gives those that it has, and every name or glob must fit one of them."""

    def __init__(self, layers: Iterable[str]):
        self.patterns = split_commas(layers)
        self._known: dict[str, None] = {}

    def of(self, layers: Sequence[str], path: Path) -> tuple[str, ...]:
        """Those of a source's layers that are wanted. UserError where there are none."""
        if not self.patterns:
            raise UserError(
                "no layers are named",
                hint=f"say --layers NAME,NAME; {path} has: {', '.join(layers)}",
            )
        self._known |= dict.fromkeys(layers)
        fitting = [pattern for pattern in self.patterns if match_names(pattern, layers)]
        return tuple(select_names(fitting or self.patterns, layers))

    def check(self) -> None:
        """UserError where a name or glob has fitted no source."""
        select_names(self.patterns, list(self._known))


def rdms_of_run(
    name: str, teacher: ActivationReader, settings: HeatmapSettings, wanted: LayerSelection
) -> DrawnSource:
    """The run's network on some pictures of every class."""
    split = teacher.split
    rows = choose_exemplars(
        split.labels, settings.per_class or PER_CLASS, Seeds(settings.seed)("exemplars")
    )
    reps = teacher.read(wanted.of(list(teacher.shapes), teacher.run.path), rows)
    images = split.read(rows)
    classes = tuple(split.classes[label] for label in split.labels[rows].tolist())
    return DrawnSource(
        name,
        tuple(compute_rdm(layer, reps[layer], settings.distance) for layer in reps),
        image_digests(images),
        classes,
        images,
    )


def rdms_of_store(path: Path, settings: HeatmapSettings, wanted: LayerSelection) -> DrawnSource:
    """A store's layers: RDMs of what activations or kernels it holds, else its own RDMs, of several their mean where they were measured."""
    store = Store.open(path)
    stimuli, n = store.stimuli, len(store.stimuli.digests)
    if stimuli.labels is not None:
        per_class = settings.per_class or (n if n <= WHOLE else PER_CLASS)
        rows = choose_exemplars(
            torch.from_numpy(stimuli.labels).long(), per_class, Seeds(settings.seed)("exemplars")
        )
    elif n <= WHOLE:
        rows = torch.arange(n)
    else:
        raise UserError(
            f"the {n:,} stimuli of {path} have no labels to choose some by",
            hint=f"up to {WHOLE} are drawn whole",
        )
    log(f"{path}: {len(rows):,} of {n:,} stimuli")
    picked = rows.numpy()
    layers = []
    for layer in wanted.of(store.layers, path) if wanted.patterns else store.layers:
        if store.has_activations(layer):
            layers.append(
                compute_rdm(
                    layer, torch.from_numpy(store.activations(layer)[0, picked]), settings.distance
                )
            )
            continue
        if store.has_kernel(layer):
            kernel = store.kernel(layer)
            apart = kernel_distances(subset(kernel.values, rows), settings.distance, kernel.units)
            layers.append(
                DrawnRdm(layer, apart[condensed_pairs(len(rows))].numpy(), settings.distance)
            )
            continue
        rdms = store.rdms(layer)
        several = f", mean of {len(rdms)}" if len(rdms) > 1 else ""
        layers.append(DrawnRdm(layer + several, rdms.subset(rows).mean().values[0], rdms.distance))
    called = store.provenance.get("classes")
    classes = (
        ()
        if stimuli.labels is None
        else tuple(called[k] if called else str(k) for k in stimuli.labels[picked].tolist())
    )
    images = None if stimuli.images is None else torch.from_numpy(store.pictures(picked))
    return DrawnSource(path.stem, tuple(layers), stimuli.digests[picked], classes, images)


def compute_rdm(name: str, reps: Reps, distance: str) -> DrawnRdm:
    values = DISTANCES.find(distance)(reps.double(), reps.double())[condensed_pairs(len(reps))]
    return DrawnRdm(name, values.numpy(), distance)


def choose_exemplars(labels: Labels, per_class: int, generator: torch.Generator) -> Rows:
    """Rows drawn at random, so many of every class (all of a class that has fewer), sorted by class."""
    order = torch.randperm(len(labels), generator=generator)
    return torch.cat(
        [order[labels[order] == label][:per_class].sort().values for label in labels.unique()]
    )
