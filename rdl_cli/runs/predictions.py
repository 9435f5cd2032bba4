"""A run's test predictions, in HDF5:

/                attributes: format "rdl-predictions", version 2, digest_kind
/digest          S64 [n], the digests of the test images
/labels          int64 [n]
/final/predicted int64 [n] · /final/logits float32 [n, classes]: after the last epoch
/best/...        the same, after the epoch with the lowest validation error
"""

from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from rdl_cli.core.errors import UserError
from rdl_cli.core.hdf5 import create_array, create_image, read_attributes, write_attributes

FORMAT = "rdl-predictions"
VERSION = 2

EPOCHS = ("final", "best")
"""Whose weights: after the last epoch, or after the one with the lowest validation error."""


class Predictions(NamedTuple):
    """Predictions for n test images.

    `digests` S64 (n,), `labels` and `predicted` int64 (n,), `logits` float32 (n, classes).
    """

    digests: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    logits: np.ndarray

    @property
    def errors(self) -> int:
        return int((self.predicted != self.labels).sum())


def format_predictions(
    digests: np.ndarray, labels: np.ndarray, logits: dict[str, np.ndarray], digest_kind: str
) -> bytes:
    """Return the file's bytes. `logits` (n, classes) by epoch; equal values, equal bytes.

    `digest_kind` is `pixels` or `file`, see docs/store-format.md.
    """
    arrays = {"digest": digests.astype("S64"), "labels": labels.astype(np.int64)}
    for epoch, values in logits.items():
        arrays[f"{epoch}/predicted"] = values.argmax(1).astype(np.int64)
        arrays[f"{epoch}/logits"] = values.astype(np.float32)
    with create_image() as (file, image):
        write_attributes(file, {"format": FORMAT, "version": VERSION, "digest_kind": digest_kind})
        for name, values in arrays.items():
            create_array(file, name, values.shape, values.dtype)[...] = values
        return image()


def read_predictions(path: Path, epoch: str, hint: str) -> Predictions:
    """Read the predictions of one epoch. UserError if the file is damaged or of another version."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            kind = read_attributes(file)
            if (kind.get("format"), kind.get("version")) != (FORMAT, VERSION):
                fact = f"{path} is {kind.get('format')} of version {kind.get('version')}"
                raise UserError(f"{fact}; this rdl reads {FORMAT} of version {VERSION}", hint=hint)
            group = file[epoch]
            arrays = file["digest"], file["labels"], group["predicted"], group["logits"]
            predictions = Predictions(*(array[()] for array in arrays))
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged: {error}", hint=hint) from error
    if len({len(array) for array in predictions}) != 1:
        raise UserError(f"{path} is damaged: its arrays differ in length", hint=hint)
    return predictions
