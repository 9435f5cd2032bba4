"""A whole RDM or kernel from stored activations, block by block: memory does not grow with the square of the stimuli."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from rdl_cli.commands.console import progress
from rdl_cli.core.errors import UserError
from rdl_cli.core.tensor_types import Reps
from rdl_cli.rsa.condensed import pair_index
from rdl_cli.rsa.distances import DISTANCES, flatten_rows
from rdl_cli.rsa.kernels import Kernel
from rdl_cli.store.writer import Writer

DISTANCES_AT_ONCE = 1 << 24
COLUMNS_AT_ONCE = 4096
ROUNDING = 1e-5  # a pattern of zeros is 0.5 ± 1e-7 from every other under `cosine`
OFFSET = 1e-4  # float32 leaves three digits of what tells stimuli apart


def write_rdm(
    writer: Writer, layer: str, reps: np.ndarray, name: str, device: torch.device
) -> None:
    """Every distance between the rows of `reps` (n ...), in condensed order. UserError where a stimulus is equally far from all.

    Such a constant row says nothing about its stimulus; it comes of a pattern without direction (dead ReLUs) under
    `cosine` and `correlation`.
    """
    n = len(reps)
    low, high = np.full(n, np.inf), np.full(n, -np.inf)
    for top, block in _blocks(reps, DISTANCES.find(name), device, f"{layer}, {name}"):
        above = np.triu(np.ones(block.shape, bool), 1)
        _widen(low, high, block, above, top)
        writer.write_rdm(layer, 0, _start(top, n), block[above])
    constant = np.flatnonzero(high - low <= ROUNDING * high) if n > 3 else np.array([], int)
    if len(constant):
        raise UserError(
            f"the RDM of `{layer}` has {len(constant):,} constant rows: stimulus {constant[0]} is {low[constant[0]]:.4g} from every other",
            hint=f"a pattern without direction has no `{name}` distance; use --distance mse, or store activations",
        )


def write_kernel(writer: Writer, layer: str, reps: np.ndarray, device: torch.device) -> None:
    """Every inner product of the rows of `reps` (n ...), packed. UserError where float32 can't hold what tells the stimuli apart.

    They are summed in float64. Patterns that share a large offset have inner products that are nearly all alike: of 50 ± 0.01 there
    are seven digits, and the differences begin at the eighth.
    """
    n = len(reps)
    lengths, total = 0.0, 0.0

    def inner(a: Reps, b: Reps) -> Kernel:
        return flatten_rows(a).double() @ flatten_rows(b).double().T

    for top, block in _blocks(reps, inner, device, f"{layer}, kernel"):
        values = block[np.triu(np.ones(block.shape, bool))]
        own = float(block.trace())
        lengths, total = lengths + own, total + 2 * float(values.sum(dtype=np.float64)) - own
        writer.write_kernel(layer, _start(top, n + 1), values)
    around = lengths - total / n
    if not around > OFFSET * lengths:
        raise UserError(
            f"the patterns of `{layer}` are too alike for a kernel in float32: their squared lengths are {lengths:.4g} in all,"
            f" around their mean {max(around, 0):.4g}",
            hint="store RDMs (--as rdm) or activations; a layer of zeros has nothing to teach",
        )


def _start(top: int, n: int) -> int:
    """Where row `top` begins in the condensed order of n."""
    return int(pair_index(torch.tensor(top), torch.tensor(top + 1), n))


def _blocks(
    reps: np.ndarray, function: Callable[[Reps, Reps], Tensor], device: torch.device, said: str
) -> Iterator[tuple[int, np.ndarray]]:
    """The function of some rows, from `top` on, with all from `top` on: the upper triangle of the whole, a few rows at a time."""
    n = len(reps)
    rows_at_once = max(1, min(n, DISTANCES_AT_ONCE // n))
    with progress(n, said) as ticker:
        for top in range(0, n, rows_at_once):
            bottom = min(top + rows_at_once, n)
            mine = torch.from_numpy(np.ascontiguousarray(reps[top:bottom])).to(device)
            parts = []
            for left in range(top, n, COLUMNS_AT_ONCE):
                theirs = torch.from_numpy(
                    np.ascontiguousarray(reps[left : left + COLUMNS_AT_ONCE])
                ).to(device)
                parts.append(function(mine, theirs).cpu())
            yield top, torch.cat(parts, 1).numpy()
            ticker.advance(bottom - top)


def _widen(
    low: np.ndarray, high: np.ndarray, block: np.ndarray, above: np.ndarray, top: int
) -> None:
    """Take a block's pairs into each stimulus' smallest and largest distance, as row and as column."""
    for extreme, fold, nothing in ((low, np.minimum, np.inf), (high, np.maximum, -np.inf)):
        pairs = np.where(above, block, nothing)
        rows = slice(top, top + len(block))
        extreme[rows] = fold(extreme[rows], fold.reduce(pairs, 1))
        extreme[top:] = fold(extreme[top:], fold.reduce(pairs, 0))
