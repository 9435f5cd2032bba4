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
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.rsa.kernels import Centering, Kernel, inner_products
from rdl_cli.store.layers import StoredLayer
from rdl_cli.store.select import select_layer
from rdl_cli.store.store import Store
from rdl_cli.training.device_layer import DeviceLayer, default_limit, read_values

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
    Layers are copied to the device as long as they fit into `device_bytes`, by default a quarter
    of a GPU's free memory; then no step waits for the device. Values of the others are gathered
    through a memory map. A whole RDM or kernel is first read from beginning to end, because cold
    gathers take 0.5 s.
    """

    def __init__(
        self,
        store: Store,
        layers: Sequence[str],
        rows: Tensor,
        views: tuple[str, ...],
        device: torch.device | str,
        device_bytes: int | None = None,
    ):
        self.layers, self.rows, self.device = tuple(layers), rows, torch.device(device)
        self._stored = {layer: select_layer(store, layer) for layer in self.layers}
        self._last_rows: tuple[Batch, Ids, np.ndarray] | None = None
        self._last_device_rows: tuple[Batch, Ids] | None = None
        for layer, stored in self._stored.items():
            if stored.has_activations:
                check_views(stored, views)
                continue
            if len(views) > 1:
                raise UserError(
                    f"the store {store.path} holds {stored.kind} of `{layer}`, without views;"
                    f" training uses {len(views)} views of each image",
                    hint="export activations with these --views, or train without views",
                )
            _preload(read_values(stored))
        left = default_limit(self.device) if device_bytes is None else device_bytes
        self._on_device: dict[str, DeviceLayer] = {}
        for layer, stored in self._stored.items():
            if (size := read_values(stored).nbytes) <= left:
                self._on_device[layer] = DeviceLayer(stored, self.device)
                left -= size
        self._device_rows = rows.to(self.device) if self._on_device else rows

    @property
    def placement(self) -> str:
        """Where the values of the layers are, in words."""
        sizes = {layer: read_values(stored).nbytes for layer, stored in self._stored.items()}
        return "; ".join(
            f"{layer} {'on ' + str(self.device) if layer in self._on_device else 'in the file'},"
            f" {size / 1e6:,.1f} MB"
            for layer, size in sizes.items()
        )

    def comparison_batch(self, batch: Batch, rng: torch.Generator) -> Batch:
        return batch

    def fix_distance(self, layer: str, distance: str | None) -> TeacherDistances:
        stored = self._stored[layer]
        if stored.has_activations or stored.has_kernel:
            name = distance or stored.default_distance()
        else:
            name = fix_stored_distance(layer, stored.distance, distance)

        def measure(comparison_batch: Batch) -> Distances:
            if on_device := self._on_device.get(layer):
                return on_device.distances(name, *self._find_device_rows(comparison_batch))
            rows, views = self._find_rows(comparison_batch)
            return stored.distances(name, rows, views, device=self.device)

        return TeacherDistances(layer, name, measure)

    def kernel(self, layer: str, comparison_batch: Batch, center: Centering) -> Kernel:
        if on_device := self._on_device.get(layer):
            return on_device.inner_products(*self._find_device_rows(comparison_batch), center)
        rows, views = self._find_rows(comparison_batch)
        return self._stored[layer].inner_products(rows, views, center, torch.float32, self.device)

    def representations(self, layer: str, comparison_batch: Batch) -> Reps:
        if on_device := self._on_device.get(layer):
            return on_device.representations(*self._find_device_rows(comparison_batch))
        rows, views = self._find_rows(comparison_batch)
        return self._stored[layer].representations(rows, views, device=self.device)

    def shape(self, layer: str) -> tuple[int, ...]:
        return self._stored[layer].activations().shape[2:]

    def _find_device_rows(self, comparison_batch: Batch) -> tuple[Ids, Ids]:
        """Return the store's rows and views of the images, without waiting for the device."""
        if self._last_device_rows is None or self._last_device_rows[0] is not comparison_batch:
            rows = self._device_rows[comparison_batch.ids]
            torch._assert_async((rows >= 0).all(), "images without a target are refused before")
            self._last_device_rows = comparison_batch, rows
        return self._last_device_rows[1], comparison_batch.views

    def _find_rows(self, comparison_batch: Batch) -> tuple[Ids, np.ndarray]:
        """Return the store's rows and views of the images.

        Computed once for all layers of a step: each time waits for the accelerator.
        """
        if self._last_rows is None or self._last_rows[0] is not comparison_batch:
            rows = self.rows[comparison_batch.ids.cpu()]
            assert (rows >= 0).all(), "images without a target are refused before training"
            self._last_rows = comparison_batch, rows, comparison_batch.views.cpu().numpy()
        return self._last_rows[1], self._last_rows[2]


def check_views(stored: StoredLayer, views: tuple[str, ...]) -> None:
    """Raise UserError if a layer's first views are not those of the training."""
    if stored.views[: len(views)] != views:
        raise UserError(
            f"the store {stored.path} holds the views {', '.join(stored.views)} of"
            f" `{stored.name}`; training uses {', '.join(views)}",
            hint="export the store again with the --views of the training, or train without",
        )


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
        name = distance or DEFAULT_DISTANCE
        function = DISTANCES.find(name)

        def measure(comparison_batch: Batch) -> Distances:
            reps = self.representations(layer, comparison_batch)
            return function(reps, reps)

        return TeacherDistances(layer, name, measure)

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
