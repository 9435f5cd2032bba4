"""What a student is pulled towards: stored activations, RDMs or kernels, or a teacher that runs along.

Objectives know only the protocol `Target`. Whatever the source, a target is that of exactly the picture the student
sees: same image, same view.
"""

from collections.abc import Sequence
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
    Centring,
    Kernel,
    apply_centering,
    inner_products,
    kernel_distances,
    subset,
)
from rdl_cli.store.select import select_one
from rdl_cli.store.store import RdmStack, Store, StoredKernel


class Target(Protocol):
    """A teacher's geometry over the images of a step."""

    layers: tuple[str, ...]

    def comparison_batch(self, batch: Batch, rng: torch.Generator) -> Batch:
        """The images compared in this step: the batch itself, or stimuli of the target's own."""
        ...

    def distance(self, layer: str) -> str:
        """The name of the distance that the layer's RDM is in, or is to be measured by where nothing else is said."""
        ...

    def distances(self, layer: str, comparison_batch: Batch, distance: str) -> Distances:
        """The teacher's distances between all images of the comparison_batch; NaN where they were not measured."""
        ...

    def kernel(self, layer: str, comparison_batch: Batch, center: Centring) -> Kernel:
        """The teacher's inner products between all images of the comparison_batch, centred; UserError where only RDMs are known."""
        ...

    def representations(self, layer: str, comparison_batch: Batch) -> Reps:
        """The teacher's activations; UserError where only RDMs or kernels are known."""
        ...

    def shape(self, layer: str) -> tuple[int, ...]:
        """The shape of the layer for one image; UserError where only RDMs or kernels are known."""
        ...


class StoreTarget:
    """A store's activations, RDMs or kernels, for images matched to its stimuli.

    `rows[id]` is the store's row of the training image `id`, -1 where the store does not hold it. Activations are
    gathered through a memory map; a whole RDM or kernel is read once from beginning to end first, because cold gathers
    cost 0.5 s. From a kernel come those distances that inner products tell.
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
        self._rdms: dict[str, RdmStack] = {}
        self._kernels: dict[str, StoredKernel] = {}
        self._places: tuple[Batch, np.ndarray, Tensor] | None = None
        self._seen: tuple[Batch, Ids, np.ndarray] | None = None
        for layer in self.layers:
            if layer in store.layers and store.has_activations(layer):
                held = store.views(layer)
                if held[: len(views)] != views:
                    raise UserError(
                        f"the store {store.path} holds the views {', '.join(held)} of `{layer}`; training shows {', '.join(views)}",
                        hint="export the store again with the --views of the training, or train without them",
                    )
                self._activations[layer] = store.activations(layer)
            elif len(views) > 1:
                what = "a kernel" if layer in store.layers and store.has_kernel(layer) else "an RDM"
                raise UserError(
                    f"the store {store.path} holds {what} of `{layer}`, of the pictures only; training shows {len(views)} views of each",
                    hint="export activations with these --views, or train without views",
                )
            elif layer in store.layers and store.has_kernel(layer):
                self._kernels[layer] = store.kernel(layer)
                _preload(self._kernels[layer].values)
            else:
                self._rdms[layer] = select_one(store, layer).stack
                _preload(self._rdms[layer].values[0])

    def comparison_batch(self, batch: Batch, rng: torch.Generator) -> Batch:
        return batch

    def distance(self, layer: str) -> str:
        return (
            self._rdms[layer].distance
            if layer in self._rdms
            else self._store.attrs(layer).get("distance") or "mse"
        )

    def distances(self, layer: str, comparison_batch: Batch, distance: str) -> Distances:
        if layer in self._activations:
            reps = self.representations(layer, comparison_batch)
            return DISTANCES.find(distance)(reps, reps)
        if layer in self._kernels:
            inner = subset(self._kernels[layer].values, self._rows(comparison_batch))
            return (
                kernel_distances(inner, distance, self._kernels[layer].units)
                .float()
                .to(self.device)
            )
        stack = self._rdms[layer]
        if stack.distance != distance:
            raise UserError(
                f"the store's RDM of `{layer}` is in `{stack.distance}`; the objective asks for `{distance}`",
                hint=f"use distance={stack.distance}, or store activations",
            )
        if (
            self._places is None or self._places[0] is not comparison_batch
        ):  # the same for all layers of a step
            self._places = (
                comparison_batch,
                *_pair_positions(self._rows(comparison_batch), len(self._store.stimuli.digests)),
            )
        _, places, same = self._places
        return (
            torch.from_numpy(stack.values[0][places]).float().masked_fill_(same, 0).to(self.device)
        )

    def kernel(self, layer: str, comparison_batch: Batch, center: Centring) -> Kernel:
        if layer in self._activations:
            return inner_products(self.representations(layer, comparison_batch), center)
        if layer not in self._kernels:
            raise UserError(
                f"the store {self._store.path} holds only an RDM of `{layer}`; this objective needs its kernel or its activations",
                hint="export the store with --as kernel or --as activations",
            )
        return (
            apply_centering(
                subset(self._kernels[layer].values, self._rows(comparison_batch)).double(), center
            )
            .float()
            .to(self.device)
        )

    def representations(self, layer: str, comparison_batch: Batch) -> Reps:
        self._check_activations(layer)
        rows, views = self._at(comparison_batch)
        return (
            torch.from_numpy(self._activations[layer][views, rows.numpy()]).to(self.device).float()
        )

    def shape(self, layer: str) -> tuple[int, ...]:
        self._check_activations(layer)
        return self._activations[layer].shape[2:]

    def _check_activations(self, layer: str) -> None:
        if layer not in self._activations:
            what = "a kernel" if layer in self._kernels else "an RDM"
            raise UserError(
                f"the store {self._store.path} holds only {what} of `{layer}`; this objective needs its activations",
                hint="export the store with --as activations",
            )

    def _rows(self, comparison_batch: Batch) -> Ids:
        """Where the store has the comparison_batch's images."""
        return self._at(comparison_batch)[0]

    def _at(self, comparison_batch: Batch) -> tuple[Ids, np.ndarray]:
        """The rows and views of the comparison_batch's images, once for all layers of a step: an accelerator would be waited for each time."""
        if self._seen is None or self._seen[0] is not comparison_batch:
            rows = self.rows[comparison_batch.ids.cpu()]
            assert (rows >= 0).all(), "images without a target were refused before training"
            self._seen = comparison_batch, rows, comparison_batch.views.cpu().numpy()
        return self._seen[1], self._seen[2]


class LiveTarget:
    """A teacher that runs along, for views too many to store. It sees the very tensors that the student sees."""

    def __init__(
        self, teacher: nn.Module, layers: Sequence[str], shapes: dict[str, tuple[int, ...]]
    ):
        self.layers, self._shapes = tuple(layers), shapes
        self._teacher = teacher.eval().requires_grad_(False)
        self._dtype = next((p.dtype for p in teacher.parameters()), torch.float32)
        self._read: tuple[Batch, dict[str, Reps]] | None = None

    def comparison_batch(self, batch: Batch, rng: torch.Generator) -> Batch:
        return batch

    def distance(self, layer: str) -> str:
        return "mse"

    def distances(self, layer: str, comparison_batch: Batch, distance: str) -> Distances:
        reps = self.representations(layer, comparison_batch)
        return DISTANCES.find(distance)(reps, reps)

    def kernel(self, layer: str, comparison_batch: Batch, center: Centring) -> Kernel:
        return inner_products(self.representations(layer, comparison_batch), center)

    def representations(self, layer: str, comparison_batch: Batch) -> Reps:
        if (
            self._read is None or self._read[0] is not comparison_batch
        ):  # one pass serves all layers of a step
            with torch.no_grad():
                self._read = (
                    comparison_batch,
                    read_layers(
                        self._teacher, comparison_batch.images.to(self._dtype), self.layers
                    ),
                )
        return self._read[1][layer].float()

    def shape(self, layer: str) -> tuple[int, ...]:
        return self._shapes[layer]


def root_mean_square(
    target: Target, layer: str, distance: str, calibration: Batch, seeds: Seeds
) -> float:
    """T̄: the size of the teacher's distances at a layer, root mean square over about 10,000 seeded pairs.

    Root mean square, because the mean of crossnobis distances can be near 0. NaN is left out. UserError where all
    distances are 0: nothing can be learned from such an RDM, and nothing divided by its size.
    """
    n = len(calibration.ids)
    rng = seeds("calibration", layer)
    size = min(n, 32)
    squares: list[Tensor] = []
    for _ in range(20):
        chosen = torch.randperm(n, generator=rng)[:size].to(calibration.ids.device)
        block = target.distances(layer, Batch(*(part[chosen] for part in calibration)), distance)
        squares.append(
            block[~torch.eye(size, dtype=torch.bool, device=block.device)].double().square()
        )
    scale = float(torch.cat(squares).nanmean().sqrt())
    if not scale > 0:
        raise UserError(
            f"the teacher's distances at `{layer}` are all {scale:.3g}: its RDM is constant, there is nothing to learn from it",
            hint="look at the layer with `rdl show`; match another one",
        )
    return scale


def _preload(values: np.ndarray, block: int = 1 << 24) -> None:
    for start in range(0, values.size, block):
        values[start : start + block].sum()


def _pair_positions(rows: Ids, n: int) -> tuple[np.ndarray, Tensor]:
    """Where the distances between some of n stimuli lie in the condensed RDM, and which are a stimulus and itself, which lie nowhere."""
    same = rows[:, None] == rows
    return pair_index(rows[:, None], rows, n).masked_fill_(same, 0).numpy(), same
