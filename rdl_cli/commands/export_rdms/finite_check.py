"""Count the activations that are not finite or do not vary, while a teacher is exported."""

import numpy as np

from rdl_cli.commands.console import log
from rdl_cli.core.errors import UserError

LARGEST = 1e18
"""The square of a larger difference overflows float32."""
CONSTANT = 1e-6


class FiniteCheck:
    """Counts of one layer over all its images."""

    def __init__(self, layer: str):
        self.layer = layer
        self.n_values = self.n_not_finite = self.n_images = self.n_bad_images = 0
        self._low: np.ndarray | None = None
        self._high: np.ndarray | None = None

    def add(self, reps: np.ndarray) -> None:
        """Add the activations (n, ...) of some images."""
        if not len(reps):
            return
        units = reps.reshape(len(reps), -1)
        bad = ~np.isfinite(units)
        self.n_values += bad.size
        self.n_images += len(units)
        self.n_not_finite += int(bad.sum())
        self.n_bad_images += int(bad.any(1).sum())
        low, high = units.min(0), units.max(0)
        self._widen(low, high)

    def merge(self, other: "FiniteCheck") -> None:
        """Add the counts of another process."""
        self.n_values += other.n_values
        self.n_images += other.n_images
        self.n_not_finite += other.n_not_finite
        self.n_bad_images += other.n_bad_images
        if other._low is not None and other._high is not None:
            self._widen(other._low, other._high)

    def _widen(self, low: np.ndarray, high: np.ndarray) -> None:
        self._low = low if self._low is None else np.minimum(self._low, low)
        self._high = high if self._high is None else np.maximum(self._high, high)

    def finish(self) -> None:
        """Raise UserError for a layer without geometry; log a warning for one with gaps."""
        if self._low is None or self._high is None:
            return
        largest = float(np.maximum(np.abs(self._low), np.abs(self._high)).max())
        if self.n_not_finite == self.n_values:
            raise self._no_geometry(f"none of its {self.n_values:,} activations is finite")
        if self.n_not_finite:
            log(
                f"warning: {self.n_not_finite:,} of {self.n_values:,} activations of"
                f" `{self.layer}` are NaN or infinite, in {self.n_bad_images:,} of"
                f" {self.n_images:,} images; no objective can follow it"
            )
        elif self.n_images > 1 and float((self._high - self._low).max()) <= CONSTANT * largest:
            raise self._no_geometry(
                f"its activations are the same for all {self.n_images:,} images"
            )
        elif largest > LARGEST:
            log(
                f"warning: activations of `{self.layer}` reach {largest:.3g}; squared distances"
                " overflow float32, and no objective can follow it"
            )

    def _no_geometry(self, fact: str) -> UserError:
        return UserError(
            f"the layer `{self.layer}` has no geometry: {fact}",
            hint="leave it out of --layers, or train the teacher with a lower --lr",
        )


def check_finite(layer: str, reps: np.ndarray, block: int = 1000) -> None:
    """Check all activations (n, ...) of a layer at once, a block of images at a time."""
    check = FiniteCheck(layer)
    for start in range(0, len(reps), block):
        check.add(reps[start : start + block])
    check.finish()
