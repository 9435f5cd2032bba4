"""Batch-norm statistics for a brain's stimuli, beside those for the task's images.

A brain's stimuli, photographs on grey, differ from CIFAR in means and variances. One running
average over both would suit neither, so each stream has its own, as in Dapello et al. (2023).
Only the task's statistics are exported with the model.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase


class StimulusBatchNorm(nn.Module):
    """A second set of a network's running statistics, saved and restored as buffers."""

    def __init__(self, network: nn.Module):
        super().__init__()
        for name, buffer in _running_statistics(network).items():
            self.register_buffer(name.replace(".", "/"), buffer.clone())

    @contextmanager
    def swapped_into(self, network: nn.Module) -> Iterator[None]:
        """Make the network read and update these statistics inside the block."""
        self._swap(network)
        try:
            yield
        finally:
            self._swap(network)

    def _swap(self, network: nn.Module) -> None:
        for name in _running_statistics(network):
            path, _, leaf = name.rpartition(".")
            owner, own = network.get_submodule(path), name.replace(".", "/")
            self._buffers[own], owner._buffers[leaf] = owner._buffers[leaf], self._buffers[own]


def _running_statistics(network: nn.Module) -> dict[str, Tensor]:
    """Return the running statistics of all normalisation layers, by name."""
    return {
        f"{name}.{leaf}" if name else leaf: buffer
        for name, module in network.named_modules()
        if isinstance(module, _NormBase)
        for leaf, buffer in module.named_buffers(recurse=False)
    }
