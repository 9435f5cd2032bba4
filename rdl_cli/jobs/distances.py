"""A whole RDM from stored activations, block by block: memory does not grow with the square of the stimuli."""

import numpy as np
import torch

from rdl_cli.core.errors import UserError
from rdl_cli.geometry.distances import DISTANCES
from rdl_cli.geometry.rdm import pair_index
from rdl_cli.jobs.console import ticking
from rdl_cli.stores.writer import Writer

DISTANCES_AT_ONCE = 1 << 24
COLUMNS_AT_ONCE = 4096
ROUNDING = 1e-5  # a pattern of zeros is 0.5 ± 1e-7 from every other under `cosine`


def write_rdm(writer: Writer, layer: str, reps: np.ndarray, name: str, device: torch.device) -> None:
    """Every distance between the rows of `reps` (n ...), in condensed order. UserError where a stimulus is equally far from all.

    Such a constant row says nothing about its stimulus; it comes of a pattern without direction (dead ReLUs) under
    `cosine` and `correlation`.
    """
    n = len(reps)
    distance = DISTANCES.find(name)
    low, high = np.full(n, np.inf), np.full(n, -np.inf)
    rows_at_once = max(1, min(n, DISTANCES_AT_ONCE // n))
    with ticking(n, f"{layer}, {name}") as ticker:
        for top in range(0, n - 1, rows_at_once):
            bottom = min(top + rows_at_once, n)
            block = _block(reps, top, bottom, distance, device)
            above = np.triu(np.ones(block.shape, bool), 1)
            _widen(low, high, block, above, top)
            start = int(pair_index(torch.tensor(top), torch.tensor(top + 1), n))
            writer.write_rdm(layer, 0, start, block[above])
            ticker.advance(bottom - top)
    constant = np.flatnonzero(high - low <= ROUNDING * high) if n > 3 else np.array([], int)
    if len(constant):
        raise UserError(
            f"the RDM of `{layer}` has {len(constant):,} constant rows: stimulus {constant[0]} is {low[constant[0]]:.4g} from every other",
            hint=f"a pattern without direction has no `{name}` distance; use --distance mse, or store activations",
        )


def _block(reps: np.ndarray, top: int, bottom: int, distance, device: torch.device) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Distances of rows `top` to `bottom` to all from `top` on."""
    mine = torch.from_numpy(np.ascontiguousarray(reps[top:bottom])).to(device)
    parts = []
    for left in range(top, len(reps), COLUMNS_AT_ONCE):
        theirs = torch.from_numpy(np.ascontiguousarray(reps[left : left + COLUMNS_AT_ONCE])).to(device)
        parts.append(distance(mine, theirs).cpu())
    return torch.cat(parts, 1).numpy()


def _widen(low: np.ndarray, high: np.ndarray, block: np.ndarray, above: np.ndarray, top: int) -> None:
    """Take a block's pairs into each stimulus' smallest and largest distance, as row and as column."""
    for extreme, fold, nothing in ((low, np.minimum, np.inf), (high, np.maximum, -np.inf)):
        pairs = np.where(above, block, nothing)
        rows = slice(top, top + len(block))
        extreme[rows] = fold(extreme[rows], fold.reduce(pairs, 1))
        extreme[top:] = fold(extreme[top:], fold.reduce(pairs, 0))
