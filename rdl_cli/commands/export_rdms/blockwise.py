"""Compute whole RDMs and kernels from stored activations, in blocks that fit in memory."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from rdl_cli.commands.console import progress
from rdl_cli.commands.processes import ALONE, Processes
from rdl_cli.core.errors import UserError
from rdl_cli.core.tensor_types import Reps
from rdl_cli.rsa.condensed import pair_index
from rdl_cli.rsa.distances import DISTANCES, flatten_rows
from rdl_cli.store.writer import Writer

DISTANCES_PER_BLOCK = 1 << 24
COLUMNS_PER_BLOCK = 4096
ROUNDING = 1e-5  # a pattern of zeros is 0.5 ± 1e-7 from every other under `cosine`
OFFSET = 1e-4  # float32 keeps three digits of the differences between stimuli


def write_rdm(
    writer: Writer,
    layer: str,
    reps: np.ndarray,
    name: str,
    device: torch.device,
    processes: Processes = ALONE,
) -> None:
    """Write every distance between the rows of `reps` (n ...); each process a part of the blocks.

    Raise UserError as compute_rdm does.
    """
    for start, values in compute_rdm(layer, reps, name, device, processes):
        writer.write_rdm(layer, 0, start, values)


def compute_rdm(
    layer: str,
    reps: np.ndarray,
    name: str,
    device: torch.device,
    processes: Processes = ALONE,
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the distances between the rows of `reps` (n ...) in condensed order, and their start.

    Raise UserError at the end if a distance is not finite, or if a stimulus has the same distance
    to all others. Such a constant row holds no information; it results from a pattern without
    direction (dead ReLUs) under `cosine` and `correlation`.
    """
    n = len(reps)
    smallest, largest = np.full(n, np.inf), np.full(n, -np.inf)
    function = DISTANCES.find(name)
    for top, block in _compute_blocks(reps, function, device, f"{layer}, {name}", processes):
        above = np.triu(np.ones(block.shape, bool), 1)
        _update_range(smallest, largest, block, above, top)
        yield _row_start(top, n), block[above]
    parts = processes.gather((smallest, largest))
    smallest = np.min([part[0] for part in parts], 0)
    largest = np.max([part[1] for part in parts], 0)
    if n > 1 and not (np.isfinite(smallest).all() and np.isfinite(largest).all()):
        raise UserError(
            f"the RDM of `{layer}` has distances that are not finite",
            hint="its activations overflow or are NaN; leave the layer out",
        )
    flat = largest - smallest <= ROUNDING * largest
    constant = np.flatnonzero(flat) if n > 3 else np.array([], int)
    if len(constant):
        raise UserError(
            f"the RDM of `{layer}` has {len(constant):,} constant rows:"
            f" stimulus {constant[0]} is {smallest[constant[0]]:.4g} from every other",
            hint=f"a pattern without direction has no `{name}` distance;"
            " use --distance mse, or store activations",
        )


def write_kernel(
    writer: Writer,
    layer: str,
    reps: np.ndarray,
    device: torch.device,
    processes: Processes = ALONE,
) -> None:
    """Write every inner product of the rows of `reps` (n ...), packed, summed in float64.

    Each process writes a part of the blocks.

    Raise UserError if float32 cannot hold the differences between the stimuli. Patterns with a
    large common offset have nearly equal inner products: float32 holds seven digits, and those of
    50 ± 0.01 differ from the eighth on.
    """
    n = len(reps)
    trace, total = 0.0, 0.0

    def multiply(a: Reps, b: Reps) -> Tensor:
        return flatten_rows(a).double() @ flatten_rows(b).double().T

    for top, block in _compute_blocks(reps, multiply, device, f"{layer}, kernel", processes):
        values = block[np.triu(np.ones(block.shape, bool))]
        own = float(block.trace())
        trace, total = trace + own, total + 2 * float(values.sum(dtype=np.float64)) - own
        writer.write_kernel(layer, _row_start(top, n + 1), values)
    trace, total = np.sum(processes.gather((trace, total)), 0)
    if not (np.isfinite(trace) and np.isfinite(total)):
        raise UserError(
            f"the kernel of `{layer}` has products that are not finite",
            hint="its activations overflow or are NaN; leave the layer out",
        )
    centered = trace - total / n
    if not centered > OFFSET * trace:
        raise UserError(
            f"the patterns of `{layer}` are too similar for a kernel in float32: their squared"
            f" lengths add up to {trace:.4g}, around their mean to {max(centered, 0):.4g}",
            hint="store RDMs (--as rdm) or activations; a layer of zeros has no geometry",
        )


def _row_start(row: int, n: int) -> int:
    """Return the position of a row's first pair in the condensed order of n."""
    return int(pair_index(torch.tensor(row), torch.tensor(row + 1), n))


def _compute_blocks(
    reps: np.ndarray,
    function: Callable[[Reps, Reps], Tensor],
    device: torch.device,
    text: str,
    processes: Processes,
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the function's upper triangle, a few rows at a time.

    Each block is the function of some rows, from `top` on, with all rows from `top` on. A process
    computes every `world`-th block; blocks are cut as by one process.
    """
    n = len(reps)
    height = max(1, min(n, DISTANCES_PER_BLOCK // n))

    def load(start: int, stop: int) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(reps[start:stop])).to(device)

    with progress(n, text) as bar:
        for top in range(0, n, height)[processes.rank :: processes.world]:
            bottom = min(top + height, n)
            block_rows = load(top, bottom)
            parts = [
                function(block_rows, load(left, left + COLUMNS_PER_BLOCK)).cpu()
                for left in range(top, n, COLUMNS_PER_BLOCK)
            ]
            yield top, torch.cat(parts, 1).numpy()
            bar.advance(bottom - top)


def _update_range(
    smallest: np.ndarray, largest: np.ndarray, block: np.ndarray, above: np.ndarray, top: int
) -> None:
    """Update each stimulus' smallest and largest distance by a block's pairs, by row and column."""
    for extreme, fold, neutral in (
        (smallest, np.minimum, np.inf),
        (largest, np.maximum, -np.inf),
    ):
        pairs = np.where(above, block, neutral)
        block_rows = slice(top, top + len(block))
        extreme[block_rows] = fold(extreme[block_rows], fold.reduce(pairs, 1))
        extreme[top:] = fold(extreme[top:], fold.reduce(pairs, 0))
