"""Reduce a layer's activations before they are stored: pooling, and random projection."""

from dataclasses import dataclass, field
from math import prod

import numpy as np
from scipy.spatial.distance import pdist
from sklearn.random_projection import SparseRandomProjection

from rdl_cli.commands.network_settings import Pool
from rdl_cli.core.errors import UserError

SEED = 0
"""Of every projection, so that two stores of a layer can be compared."""
SAMPLE = 200
"""Stimuli on which the distortion of the distances is measured."""


@dataclass(frozen=True)
class Reduction:
    """Pooling of positions or tokens, then a projection of layers with more than `units` units."""

    pool: Pool = "none"
    units: int | None = None
    _projections: dict[int, SparseRandomProjection] = field(default_factory=dict)

    def settings(self) -> dict[str, str]:
        """Return what differs from no reduction, for the identity of a store."""
        if self.pool == "none" and self.units is None:
            return {}
        return {"reduction": f"pool={self.pool},project={self.units}"}

    def shape(self, layer: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the reduced shape of a layer for one image. UserError if it has no tokens."""
        if self.pool == "cls" and len(shape) != 2:
            raise UserError(
                f"`{layer}` has shape {shape} and no tokens; --pool cls takes the first of tokens",
                hint="pass --pool avg, or choose layers of a transformer",
            )
        if self.pool != "none" and len(shape) == 3:
            shape = (shape[self._channel_axis(shape, layer)],)
        elif self.pool != "none" and len(shape) == 2:
            shape = shape[1:]
        return (self.units,) if self._projects(shape) and self.units else shape

    def __call__(self, reps: np.ndarray) -> np.ndarray:
        """Return activations (n, ...) reduced: maps over height and width, tokens n t d over t."""
        pooled = self._pool(reps)
        shape = pooled.shape[1:]
        if not self._projects(shape):
            return pooled
        return self._projection(prod(shape)).transform(pooled.reshape(len(reps), -1))

    def describe(self, shape: tuple[int, ...], reps: np.ndarray) -> str:
        """Return the projection of a layer as text, "" if it has none.

        The distortion is that of the Euclidean distances between the given activations (n, ...):
        mean and 99th percentile of |projected / original - 1|.
        """
        pooled = self._pool(reps)
        if not self._projects(pooled.shape[1:]):
            return ""
        original = pdist(pooled.reshape(len(pooled), -1).astype(np.float64))
        projected = pdist(self(reps).astype(np.float64))
        nonzero = original > 0
        error = np.abs(projected[nonzero] / original[nonzero] - 1)
        mean, high = (error.mean(), np.quantile(error, 0.99)) if len(error) else (0.0, 0.0)
        return f"units={self.units},seed={SEED},distortion={mean:.4f},distortion99={high:.4f}"

    def _pool(self, reps: np.ndarray) -> np.ndarray:
        if self.pool == "none":
            return reps
        if self.pool == "cls":
            return reps[:, 0]
        if reps.ndim == 4:
            channels = 1 + self._channel_axis(reps.shape[1:])
            return reps.mean(tuple(axis for axis in (1, 2, 3) if axis != channels))
        return reps.mean(1) if reps.ndim == 3 else reps

    def _channel_axis(self, shape: tuple[int, ...], layer: str = "a layer") -> int:
        """Return the axis of the channels of a feature map: 0 (c h w) or 2 (h w c, as in Swin).

        The two axes of equal length are taken for height and width. UserError if that decides
        nothing and --pool gives no order.
        """
        if self.pool != "avg":
            return 0 if self.pool == "avg-channels-first" else 2
        first, last = shape[1] == shape[2], shape[0] == shape[1]
        if first == last:
            raise UserError(
                f"`{layer}` has shape {shape}: its channels may be the first or the last axis",
                hint="pass --pool avg-channels-first (torchvision's ResNet) or"
                " --pool avg-channels-last (Swin)",
            )
        return 0 if first else 2

    def _projects(self, shape: tuple[int, ...]) -> bool:
        return self.units is not None and prod(shape) > self.units

    def _projection(self, units: int) -> SparseRandomProjection:
        if units not in self._projections:
            projection = SparseRandomProjection(self.units, dense_output=True, random_state=SEED)
            self._projections[units] = projection.fit(np.zeros((1, units), np.float32))
        return self._projections[units]
