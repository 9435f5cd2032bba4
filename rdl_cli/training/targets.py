"""Targets: the teacher's side of an objective, from a store or from a teacher network.

Objectives know only the protocol `Target`. From every source, the target of an image is that of
the same image in the same view.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from rdl_cli.core.errors import UserError
from rdl_cli.core.seeds import Seeds
from rdl_cli.core.tensor_types import Batch, Distances, Ids, Reps
from rdl_cli.networks.hooks import read_layers
from rdl_cli.rsa.condensed import pair_index
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.rsa.kernels import (
    Centering,
    Kernel,
    apply_centering,
    inner_products,
    kernel_distances,
    subset,
)
from rdl_cli.rsa.rdms import RDMs
from rdl_cli.store.select import select_one
from rdl_cli.store.store import Store, StoredKernel

DEFAULT_DISTANCE = "mse"


@dataclass(frozen=True)
class TeacherDistances:
    """A teacher's distances at one layer; `distance` is fixed, the images are those of a step.

    `measure` returns NaN for pairs that were not measured.
    """

    layer: str
    distance: str
    measure: Callable[[Batch], Distances]

    def __call__(self, comparison_batch: Batch) -> Distances:
        return self.measure(comparison_batch)


class Target(Protocol):
    """A teacher's representations of the images of a step."""

    layers: tuple[str, ...]

    def comparison_batch(self, batch: Batch, rng: torch.Generator) -> Batch:
        """Return the images to compare in this step: the batch, or stimuli of the target's own."""
        ...

    def fix_distance(self, layer: str, distance: str | None) -> TeacherDistances:
        """Return the layer's distances, in `distance` if that can be chosen, else as stored.

        UserError if the stored RDM is in another distance than the one asked for.
        """
        ...

    def kernel(self, layer: str, comparison_batch: Batch, center: Centering) -> Kernel:
        """Return the centred inner products; UserError if only RDMs are known."""
        ...

    def representations(self, layer: str, comparison_batch: Batch) -> Reps:
        """Return the activations; UserError if only RDMs or kernels are known."""
        ...

    def shape(self, layer: str) -> tuple[int, ...]:
        """Return the layer's shape for one image; UserError if it is not known."""
        ...


def fix_stored_distance(layer: str, stored: str, distance: str | None) -> str:
    """Return `stored`, the distance of an RDM. UserError if the objective needs another one.

    A brain's RDM may be in a measure that no student has, such as crossnobis. It is used as it is,
    and `distance` then is the student's alone.
    """
    if distance not in (None, stored) and stored in DISTANCES.names():
        raise UserError(
            f"the stored RDM of `{layer}` is in `{stored}`; the objective asks for `{distance}`",
            hint=f"use distance={stored}, or store activations",
        )
    return stored


class StoreTarget:
    """A store's activations, kernels or RDMs, for training images matched to its stimuli.

    `rows[id]` is the store's row of the training image `id`, -1 if the store does not have it.
    Activations are gathered through a memory map. A whole RDM or kernel is first read from
    beginning to end, because cold gathers take 0.5 s.
    """

    def __init__(
        self,
        store: Store,
        layers: Sequence[str],
        rows: Tensor,
        views: tuple[str, ...],
        device: torch.device,
    ):
        self.layers, self.rows, self.device = tuple(layers), rows, device
        self._store = store
        self._activations: dict[str, np.ndarray] = {}
        self._rdms: dict[str, RDMs] = {}
        self._kernels: dict[str, StoredKernel] = {}
        self._last_rows: tuple[Batch, Ids, np.ndarray] | None = None
        self._last_pairs: tuple[Batch, np.ndarray, Tensor] | None = None
        for layer in self.layers:
            stored = layer in store.layers
            if stored and store.has_activations(layer):
                self._check_views(layer, views)
                self._activations[layer] = store.activations(layer)
            elif len(views) > 1:
                what = "a kernel" if stored and store.has_kernel(layer) else "an RDM"
                raise UserError(
                    f"the store {store.path} holds {what} of `{layer}`, without views; training"
                    f" uses {len(views)} views of each image",
                    hint="export activations with these --views, or train without views",
                )
            elif stored and store.has_kernel(layer):
                self._kernels[layer] = store.kernel(layer)
                _preload(self._kernels[layer].values)
            else:
                self._rdms[layer] = select_one(store, layer)
                _preload(self._rdms[layer].values[0])

    def _check_views(self, layer: str, views: tuple[str, ...]) -> None:
        stored = self._store.views(layer)
        if stored[: len(views)] != views:
            raise UserError(
                f"the store {self._store.path} holds the views {', '.join(stored)} of `{layer}`;"
                f" training uses {', '.join(views)}",
                hint="export the store again with the --views of the training, or train without",
            )

    def comparison_batch(self, batch: Batch, rng: torch.Generator) -> Batch:
        return batch

    def fix_distance(self, layer: str, distance: str | None) -> TeacherDistances:
        if layer in self._rdms:
            stored = fix_stored_distance(layer, self._rdms[layer].distance, distance)
            return TeacherDistances(layer, stored, lambda b: self._gather_rdm(layer, b))
        name = distance or self._store.attrs(layer).get("distance") or DEFAULT_DISTANCE
        if layer in self._activations:
            return measure_activations(self, layer, name)
        return TeacherDistances(layer, name, lambda b: self._measure_kernel(layer, name, b))

    def _measure_kernel(self, layer: str, distance: str, comparison_batch: Batch) -> Distances:
        stored = self._kernels[layer]
        kernel = subset(stored.values, self._find_rows(comparison_batch)[0])
        return kernel_distances(kernel, distance, stored.units).float().to(self.device)

    def _gather_rdm(self, layer: str, comparison_batch: Batch) -> Distances:
        if self._last_pairs is None or self._last_pairs[0] is not comparison_batch:
            rows = self._find_rows(comparison_batch)[0]
            positions = _pair_positions(rows, len(self._store.stimuli.digests))
            self._last_pairs = (comparison_batch, *positions)
        _, positions, same = self._last_pairs
        distances = torch.from_numpy(self._rdms[layer].values[0][positions]).float()
        return distances.masked_fill_(same, 0).to(self.device)

    def kernel(self, layer: str, comparison_batch: Batch, center: Centering) -> Kernel:
        if layer in self._activations:
            return inner_products(self.representations(layer, comparison_batch), center)
        if layer not in self._kernels:
            raise UserError(
                f"the store {self._store.path} holds only an RDM of `{layer}`; this objective needs"
                " its kernel or its activations",
                hint="export the store with --as kernel or --as activations",
            )
        kernel = subset(self._kernels[layer].values, self._find_rows(comparison_batch)[0])
        return apply_centering(kernel.double(), center).float().to(self.device)

    def representations(self, layer: str, comparison_batch: Batch) -> Reps:
        self._check_activations(layer)
        rows, views = self._find_rows(comparison_batch)
        reps = self._activations[layer][views, rows.numpy()]
        return torch.from_numpy(reps).to(self.device).float()

    def shape(self, layer: str) -> tuple[int, ...]:
        self._check_activations(layer)
        return self._activations[layer].shape[2:]

    def _check_activations(self, layer: str) -> None:
        if layer not in self._activations:
            what = "a kernel" if layer in self._kernels else "an RDM"
            raise UserError(
                f"the store {self._store.path} holds only {what} of `{layer}`; this objective needs"
                " its activations",
                hint="export the store with --as activations",
            )

    def _find_rows(self, comparison_batch: Batch) -> tuple[Ids, np.ndarray]:
        """Return the store's rows and views of the images.

        Computed once for all layers of a step: each time waits for the accelerator.
        """
        if self._last_rows is None or self._last_rows[0] is not comparison_batch:
            rows = self.rows[comparison_batch.ids.cpu()]
            assert (rows >= 0).all(), "images without a target are refused before training"
            self._last_rows = comparison_batch, rows, comparison_batch.views.cpu().numpy()
        return self._last_rows[1], self._last_rows[2]


class LiveTarget:
    """A teacher network that runs along, for views too many to store, on the student's tensors."""

    def __init__(
        self, teacher: nn.Module, layers: Sequence[str], shapes: dict[str, tuple[int, ...]]
    ):
        self.layers, self._shapes = tuple(layers), shapes
        self._teacher = teacher.eval().requires_grad_(False)
        self._dtype = next((p.dtype for p in teacher.parameters()), torch.float32)
        self._last_reps: tuple[Batch, dict[str, Reps]] | None = None

    def comparison_batch(self, batch: Batch, rng: torch.Generator) -> Batch:
        return batch

    def fix_distance(self, layer: str, distance: str | None) -> TeacherDistances:
        return measure_activations(self, layer, distance or DEFAULT_DISTANCE)

    def kernel(self, layer: str, comparison_batch: Batch, center: Centering) -> Kernel:
        return inner_products(self.representations(layer, comparison_batch), center)

    def representations(self, layer: str, comparison_batch: Batch) -> Reps:
        if self._last_reps is None or self._last_reps[0] is not comparison_batch:
            images = comparison_batch.images.to(self._dtype)
            with torch.no_grad():  # one pass for all layers of a step
                reps = read_layers(self._teacher, images, self.layers)
            self._last_reps = comparison_batch, reps
        return self._last_reps[1][layer].float()

    def shape(self, layer: str) -> tuple[int, ...]:
        return self._shapes[layer]


def measure_activations(target: Target, layer: str, distance: str) -> TeacherDistances:
    """Return distances that are computed from a target's activations in every step."""
    function = DISTANCES.find(distance)

    def measure(comparison_batch: Batch) -> Distances:
        reps = target.representations(layer, comparison_batch)
        return function(reps, reps)

    return TeacherDistances(layer, distance, measure)


def root_mean_square(distances: TeacherDistances, calibration: Batch, seeds: Seeds) -> float:
    """Return the size T̄ of a teacher's distances: their root mean square.

    Measured over about 10,000 seeded pairs, without NaN. Not the mean, because that of crossnobis
    distances can be near 0. UserError if it is 0: a constant RDM has no geometry to learn.
    """
    n = len(calibration.ids)
    rng = seeds("calibration", distances.layer)
    size = min(n, 32)
    squares: list[Tensor] = []
    for _ in range(20):
        chosen = torch.randperm(n, generator=rng)[:size].to(calibration.ids.device)
        block = distances(Batch(*(part[chosen] for part in calibration)))
        squares.append(
            block[~torch.eye(size, dtype=torch.bool, device=block.device)].double().square()
        )
    scale = float(torch.cat(squares).nanmean().sqrt())
    if not scale > 0:
        raise UserError(
            f"the teacher's distances at `{distances.layer}` are all {scale:.3g}: its RDM is"
            " constant, so there is no geometry to learn",
            hint="look at the layer with `rdl show`; match another one",
        )
    return scale


def _preload(values: np.ndarray, block: int = 1 << 24) -> None:
    for start in range(0, values.size, block):
        values[start : start + block].sum()


def _pair_positions(rows: Ids, n: int) -> tuple[np.ndarray, Tensor]:
    """Return the positions (k, k) of pairs of n stimuli in a condensed RDM, and where i equals j.

    A stimulus with itself has no position; it gets 0.
    """
    same = rows[:, None] == rows
    return pair_index(rows[:, None], rows, n).masked_fill_(same, 0).numpy(), same
