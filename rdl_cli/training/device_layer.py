"""A store's layer on the device, so that no step waits for a copy from it."""

import warnings

import numpy as np
import torch
from torch import Tensor

from rdl_cli.core.tensor_types import Distances, Ids, Reps
from rdl_cli.rsa.condensed import pair_index
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.rsa.kernels import (
    Centering,
    Kernel,
    apply_centering,
    inner_products,
    kernel_distances,
)
from rdl_cli.store.layers import StoredLayer


class DeviceLayer:
    """The values of a `StoredLayer`, copied to a device once; its methods give the same numbers.

    `rows` and `views` are tensors on that device.
    """

    def __init__(self, stored: StoredLayer, device: torch.device):
        self._stored = stored
        with warnings.catch_warnings(category=UserWarning, action="ignore"):  # a read-only map
            self._values = torch.from_numpy(read_values(stored)).to(device)

    def distances(self, distance: str, rows: Ids, views: Ids) -> Distances:
        """Return the distances between some stimuli (m, m); NaN where they were not measured."""
        if self._stored.has_activations:
            reps = self.representations(rows, views)
            return DISTANCES.find(distance)(reps, reps)
        if self._stored.has_kernel:
            assert self._stored.units is not None, "a kernel has units"
            kernel = self._gather_kernel(rows)
            return kernel_distances(kernel, distance, self._stored.units).float()
        same = rows[:, None] == rows
        pairs = pair_index(rows[:, None], rows, self._stored.n_stimuli).masked_fill(same, 0)
        return self._values[pairs].float().masked_fill(same, 0)

    def inner_products(self, rows: Ids, views: Ids, center: Centering) -> Kernel:
        """Return the centred inner products between some stimuli (m, m).

        UserError if the layer has RDMs only, or a kernel cannot be centred like that.
        """
        if self._stored.has_activations:
            return inner_products(self.representations(rows, views), center)
        self._stored.kernel()  # UserError if there is none
        return apply_centering(self._gather_kernel(rows), center).float()

    def representations(self, rows: Ids, views: Ids) -> Reps:
        """Return the activations of some stimuli (m, ...). UserError if the layer has none."""
        self._stored.activations()
        return self._values[views, rows].float()

    def _gather_kernel(self, rows: Ids) -> Tensor:
        low, high = torch.minimum(rows[:, None], rows), torch.maximum(rows[:, None], rows)
        return self._values[pair_index(low, high + 1, self._stored.n_stimuli + 1)].double()


def read_values(stored: StoredLayer) -> np.ndarray:
    """Return the values that targets are computed from, a memory map.

    UserError if the layer has several RDMs.
    """
    if stored.has_activations:
        return stored.activations()
    return stored.kernel() if stored.has_kernel else stored.one_rdm().values[0]


def default_limit(device: torch.device) -> int:
    """Return the bytes of layers that a device takes: a quarter of a GPU's free memory, else 0.

    On a CPU the memory map itself serves. `mps` has no float64, which kernels need.
    """
    return torch.cuda.mem_get_info(device)[0] // 4 if device.type == "cuda" else 0
