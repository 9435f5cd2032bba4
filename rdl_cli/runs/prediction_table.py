"""The predicted classes of many runs for the same test images in one small file.

McNemar's tests and error rates need the predicted class of every test image, not the logits; so
this file is enough to compute the tables again, with `rdl compare` or SciPy alone. Equal
predictions give equal bytes.

For every set of test images K = 0, 1, ...:
    K/digests     uint8 (n, 32)  SHA-256 of each image
    K/labels      uint8 (n,)     classes; uint16 for more than 256 classes
    K/methods     text (k,)      method of each run
    K/seeds       int64 (k,)
    K/teachers    text (k,)      what each run learned from; empty for none
    K/draws_data  bool (k,)      whether the seed draws labels or stimuli
    K/processors  text (k,)      model of the processor that trained each run; empty if unknown
    K/final       uint8 (k, n)   predicted classes with the weights of the final epoch
    K/best        uint8 (k, n)   with the weights of the epoch best on validation images
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rdl_cli.core.errors import UserError, first_line
from rdl_cli.runs.predictions import EPOCHS

SUFFIX = ".npz"


@dataclass(frozen=True, eq=False)
class PredictionTable:
    """The predictions of k runs for the same n test images: `predicted[epoch]` is (k, n)."""

    digests: np.ndarray
    labels: np.ndarray
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    teachers: tuple[str, ...]
    draws_data: tuple[bool, ...]
    processors: tuple[str, ...]
    predicted: dict[str, np.ndarray]

    def errors(self, epoch: str = "final") -> np.ndarray:
        """Return the number of wrong predictions of each run."""
        return (self.predicted[epoch] != self.labels).sum(axis=1)


def format_tables(tables: Sequence[PredictionTable]) -> bytes:
    """Return the tables as the bytes of an .npz file."""
    arrays: dict[str, np.ndarray] = {}
    for index, table in enumerate(tables):
        digests = np.frombuffer(bytes.fromhex(b"".join(table.digests.tolist()).decode()), np.uint8)
        columns = {
            "digests": digests.reshape(-1, 32),
            "labels": _to_smallest(table.labels),
            "methods": np.array(table.methods),
            "seeds": np.array(table.seeds, np.int64),
            "teachers": np.array(table.teachers),
            "draws_data": np.array(table.draws_data),
            "processors": np.array(table.processors),
        } | {epoch: _to_smallest(table.predicted[epoch]) for epoch in EPOCHS}
        arrays |= {f"{index}/{name}": column for name, column in columns.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # names are no keywords here
    return buffer.getvalue()


def read_tables(path: Path) -> list[PredictionTable]:
    """Return the tables of an .npz file, one for each set of test images. UserError if damaged."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            prefixes = sorted({name.partition("/")[0] for name in file.files}, key=int)
            return [
                _read_table(
                    {n.partition("/")[2]: file[n] for n in file.files if n.startswith(f"{prefix}/")}
                )
                for prefix in prefixes
            ]
    except FileNotFoundError:
        raise UserError(f"there is no {path}") from None
    except Exception as error:  # of zipfile, zlib or NumPy, by the kind of damage
        raise UserError(
            f"{path} is not a file of predictions: {first_line(error)}",
            hint="rdl reproduce RECIPE --predictions writes it again",
        ) from error


def _read_table(columns: dict[str, np.ndarray]) -> PredictionTable:
    labels = columns["labels"].astype(np.int64)
    predicted = {epoch: columns[epoch].astype(np.int64) for epoch in EPOCHS}
    k, n = len(columns["methods"]), len(labels)
    if any(classes.shape != (k, n) for classes in predicted.values()):
        raise ValueError(f"predictions are not of {k} runs and {n} images")
    return PredictionTable(
        digests=np.array([row.tobytes().hex() for row in columns["digests"]], "S64"),
        labels=labels,
        methods=tuple(map(str, columns["methods"])),
        seeds=tuple(map(int, columns["seeds"])),
        teachers=tuple(map(str, columns["teachers"])),
        draws_data=tuple(map(bool, columns["draws_data"])),
        processors=tuple(map(str, columns["processors"])),
        predicted=predicted,
    )


def _to_smallest(classes: np.ndarray) -> np.ndarray:
    """Return the classes as uint8, or uint16 or uint32 where they need it."""
    return classes.astype(np.min_scalar_type(int(classes.max(initial=0))))
