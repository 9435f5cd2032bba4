"""The stimuli of a comparison: those that all sources have, and at most a given number of them."""

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from rdl_cli.commands.alignment import match_keys
from rdl_cli.commands.console import log
from rdl_cli.commands.settings import Align
from rdl_cli.core.errors import UserError
from rdl_cli.datasets.digests import number_occurrences

if TYPE_CHECKING:
    from rdl_cli.commands.compare_rdms.sources import Source

MIN_STIMULI = 4
"""Three stimuli have three distances, whose ranks agree by chance in one of six."""


def align_sources(sources: Sequence["Source"], align: Align) -> list[np.ndarray]:
    """Return for each source the rows of the stimuli that all have, in the order of the first.

    Raises:
        UserError: they are fewer than four, or cannot be matched like this.
    """
    lists = [source.stimuli for source in sources]
    keys: Sequence[Sequence[Hashable]]
    keys = match_keys(lists, align) if len(lists) > 1 else [range(len(lists[0]))]
    row_of = [{key: row for row, key in enumerate(own)} for own in keys]
    common = [key for key in keys[0] if all(key in rows for rows in row_of)]
    counts = ", ".join(map(str, lists))
    if len(common) < MIN_STIMULI:
        hints = {
            "digest": "runs are read on their test images: pass --split train for a store of those;"
            " the same images encoded anew, or on another background: pass --align position, or"
            " name",
            "name": "if the order is the same, pass --align position",
        }
        shared = f"; {len(common) or 'none'} of them {'is' if len(common) == 1 else 'are'} in all"
        raise UserError(
            f"{counts}{shared if len(sources) > 1 else ''}; a comparison needs {MIN_STIMULI}",
            hint=hints.get(align) if len(sources) > 1 else None,
        )
    if any(len(common) < len(own) for own in keys):
        log(f"compared over the {len(common):,} stimuli that all have ({counts})")
    return [np.array([rows[key] for key in common]) for rows in row_of]


def limit_stimuli(
    sources: Sequence["Source"], rows: list[np.ndarray], max_stimuli: int
) -> list[np.ndarray]:
    """Return at most so many of the rows: the first ones, of each class if classes are known."""
    n = len(rows[0])
    if n <= max_stimuli:
        return rows
    labels = next(
        (
            source.labels[own]
            for source, own in zip(sources, rows, strict=True)
            if source.labels is not None
        ),
        None,
    )
    order = np.arange(n)
    per_class = ""
    if labels is not None:
        order = np.argsort(number_occurrences(labels), kind="stable")
        per_class = f", {max_stimuli / len(np.unique(labels)):.3g} of each class"
    log(f"the first {max_stimuli:,} of {n:,} stimuli{per_class} (--max-stimuli)")
    first = np.sort(order[:max_stimuli])
    return [own[first] for own in rows]
