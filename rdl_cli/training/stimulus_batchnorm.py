"""Batch-norm statistics for pictures of another kind than the task's.

A brain's stimuli, photographs on a grey ground, have other means and variances than CIFAR. Counted into the same running
averages they would spoil both, so each stream has its own (as in Dapello et al. 2023), and only the task's leave with the model.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase


class StimulusBatchNorm(nn.Module):
    """A network's running statistics a second time. They begin as the network's, and are saved and restored as buffers."""

    def __init__(self, network: nn.Module):
        super().__init__()
        for name, buffer in _running(network).items():
            self.register_buffer(name.replace(".", "/"), buffer.clone())

    @contextmanager
    def of(self, network: nn.Module) -> Iterator[None]:
        """While this lasts, the network reads and updates these statistics, and its own lie here untouched."""
        self._swap(network)
        try:
            yield
        finally:
            self._swap(network)

    def _swap(self, network: nn.Module) -> None:
        for name in _running(network):
            path, _, leaf = name.rpartition(".")
            owner, mine = network.get_submodule(path), name.replace(".", "/")
            self._buffers[mine], owner._buffers[leaf] = owner._buffers[leaf], self._buffers[mine]


def _running(network: nn.Module) -> dict[str, Tensor]:
    """The running statistics of every normalisation that keeps any, by their names in the network."""
    return {
        f"{name}.{leaf}" if name else leaf: buffer
        for name, module in network.named_modules()
        if isinstance(module, _NormBase)
        for leaf, buffer in module.named_buffers(recurse=False)
    }
