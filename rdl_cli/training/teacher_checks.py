"""Checks of a teacher's values before training: a geometry that can be learnt."""

import torch
from torch import Tensor

from rdl_cli.core.errors import UserError
from rdl_cli.core.tensor_types import Batch
from rdl_cli.rsa.kernels import Kernel, center_kernel
from rdl_cli.training.targets import TeacherDistances

CONSTANT = 1e-6
"""A relative spread below this is rounding of float32."""
LARGEST = 1e18
"""The square of a larger number can overflow float32."""


def check_activations(layer: str, reps: Tensor) -> None:
    """Raise UserError if no objective can follow activations (n, ...): NaN, inf or constant."""
    units = reps.flatten(1)
    if bad := int((~units.isfinite()).any(1).sum()):
        raise _unlearnable(layer, f"are not finite for {bad:,} of {len(units):,} images")
    if (largest := float(units.abs().max())) > LARGEST:
        raise _unlearnable(layer, f"overflow: they reach {largest:.3g}")
    spread = units.amax(0) - units.amin(0)
    if len(units) > 1 and not (spread.max() > CONSTANT * units.abs().max()):
        raise _unlearnable(layer, f"are the same for {len(units):,} images")


def check_kernel(layer: str, kernel: Kernel) -> None:
    """Raise UserError if a kernel is not finite, or of patterns that are all the same."""
    if not kernel.isfinite().all():
        raise _unlearnable(layer, "overflow: their inner products are not finite")
    trace = kernel.double().trace()
    if len(kernel) > 1 and not (center_kernel(kernel.double()).trace() > CONSTANT * trace):
        raise _unlearnable(layer, f"are the same for {len(kernel):,} images")


def check_distances(distances: TeacherDistances, batch: Batch) -> None:
    """Raise UserError if the distances of some images overflow, or none was measured."""
    n = len(batch.ids)
    block = distances(batch)
    pairs = block[~torch.eye(n, dtype=torch.bool, device=block.device)]
    if pairs.isinf().any():
        raise _unlearnable(
            distances.layer, f"overflow: their `{distances.distance}` distances are infinite"
        )
    if n > 1 and pairs.isnan().all():
        raise _unlearnable(distances.layer, f"have no distance among {n:,} images")


def check_varying(distances: TeacherDistances, batch: Batch) -> None:
    """Raise UserError if all distances of some images are equal: nothing correlates with them."""
    n = len(batch.ids)
    block = distances(batch)
    pairs = block[~(torch.eye(n, dtype=torch.bool, device=block.device) | block.isnan())]
    if n > 3 and len(pairs) and not (pairs.max() - pairs.min() > CONSTANT * pairs.abs().max()):
        raise _unlearnable(
            distances.layer, f"are all {float(pairs[0]):.3g} from each other: a constant RDM"
        )


def _unlearnable(layer: str, fact: str) -> UserError:
    return UserError(
        f"the teacher has no geometry to learn: the patterns of `{layer}` {fact}",
        hint="match another layer, or export the teacher again",
    )
