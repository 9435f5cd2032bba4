"""An array as a file holds it, and the one reader that knows the file's format.

This module and the formats run in the reading process (`io.child`), so they need no torch.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rdl_cli.core.errors import UserError
from rdl_cli.core.registry import Registry
from rdl_cli.io.file_types import detect_container

READERS = Registry("RDM format", home="rdl_cli.io.formats", external=False)
"""Members are `function(path, container) -> list[RawArray] | None`, None for another format."""

FALLBACK = "hdf5"
"""The reader of HDF5 files that no known tool wrote; it is tried last."""


@dataclass(frozen=True, eq=False)
class RawArray:
    """An array of a file, and its labels.

    Args:
        region: the name of the region or variable.
        array: the values in the file's own axes and width.
        axes: the names of the axes, where the format fixes them.
        subjects, sessions, times: labels along such an axis, or one label for an array without it.
        distance: the measure, "" where unknown.
        stimuli: the stimuli's names, None where unknown.
        texts: other lists of strings in the file, one of which may be the stimuli's names.
        is_rdm: False for a variable that may be something else than an RDM.
        notes: what was guessed or left out, to be shown.
    """

    region: str
    array: np.ndarray
    axes: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    times: tuple[float, ...] = ()
    distance: str = ""
    stimuli: tuple[str, ...] | None = None
    texts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    is_rdm: bool = True
    notes: tuple[str, ...] = ()


def find_arrays(path: Path, format: str | None = None) -> list[RawArray]:
    """Return the arrays of a file, by the one reader that knows it. UserError if none does."""
    container = detect_container(path)
    for name in [format] if format else sorted(READERS, key=FALLBACK.__eq__):
        reader: Callable[..., list[RawArray] | None] = READERS.find(name)
        arrays = reader(path, container)
        if arrays:
            return arrays
        if arrays is not None or format:
            raise UserError(
                f"{path} holds no RDM" + (f" in the format `{format}`" if format else "")
            )
    raise UserError(
        f"{path} is {container}, but no known layout of RDMs", hint=f"known: {', '.join(READERS)}"
    )


def to_milliseconds(times: Sequence[float]) -> tuple[float, ...]:
    """Return times in milliseconds. Fractions within 20 are seconds, as MNE has them."""
    finite = [time for time in times if math.isfinite(time)]
    seconds = all(abs(t) < 20 for t in finite) and any(t != round(t) for t in finite)
    return tuple(round(float(t) * 1000, 6) if seconds else float(t) for t in times)
