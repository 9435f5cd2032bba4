"""The predicted classes of all finished runs of an experiment in one small file.

McNemar's tests and error rates need the predicted class of every test image, not the logits; so
`results/predictions.npz` is enough to compute the tables again, with `rdl compare` or SciPy alone.
Equal predictions give equal bytes.

For every set of test images K = 0, 1, ...:
    K/digests    uint8 (n, 32)   SHA-256 of each image
    K/labels     uint8 (n,)      classes; uint16 for more than 256 classes
    K/methods    text (k,)       method of each run
    K/seeds      int64 (k,)
    K/final      uint8 (k, n)    predicted classes with the weights of the final epoch
    K/best       uint8 (k, n)    with the weights of the epoch best on validation images
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rdl_cli.commands.reproduce.jobs import recipe_jobs
from rdl_cli.commands.reproduce.recipe import Recipe
from rdl_cli.commands.settings import TrainingSettings
from rdl_cli.core.errors import UserError, first_line
from rdl_cli.core.files import atomic_write, make_folder
from rdl_cli.runs.run import EPOCHS, Predictions, Run

FILE_NAME = "predictions.npz"


@dataclass(frozen=True, eq=False)
class PredictionTable:
    """The predictions of k runs for the same n test images: `predicted[epoch]` is (k, n)."""

    digests: np.ndarray
    labels: np.ndarray
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    predicted: dict[str, np.ndarray]

    def errors(self, epoch: str = "final") -> np.ndarray:
        """Return the number of wrong predictions of each run."""
        return (self.predicted[epoch] != self.labels).sum(axis=1)


def write_predictions(recipe: Recipe, out: Path) -> Path:
    """Write OUT/results/predictions.npz of the finished runs, tuning runs excepted.

    UserError where no run is finished.
    """
    groups: list[list[tuple[str, int, dict[str, Predictions]]]] = []
    for job in recipe_jobs(recipe, out).values():
        run = Run(job.path)
        if not isinstance(job.settings, TrainingSettings) or job.may_diverge or not run.finished:
            continue
        predictions = {epoch: run.predictions(epoch) for epoch in EPOCHS}
        entry = (job.method, job.settings.seed, predictions)
        for group in groups:
            if _same_images(group[0][2]["final"], predictions["final"]):
                group.append(entry)
                break
        else:
            groups.append([entry])
    if not groups:
        raise UserError(f"no run in {out} is finished", hint="run the recipe first")
    arrays: dict[str, np.ndarray] = {}
    for index, group in enumerate(groups):
        arrays |= _to_arrays(f"{index}/", group)
    path = out / "results" / FILE_NAME
    make_folder(path.parent)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # names are no keywords here
    atomic_write(path, buffer.getbuffer())
    return path


def read_predictions(path: Path) -> list[PredictionTable]:
    """Return the tables of a file of `write_predictions`, one for each set of test images."""
    try:
        with np.load(path, allow_pickle=False) as file:
            prefixes = sorted({name.partition("/")[0] for name in file.files}, key=int)
            return [
                PredictionTable(
                    digests=np.array([row.tobytes().hex() for row in file[f"{k}/digests"]], "S64"),
                    labels=file[f"{k}/labels"].astype(np.int64),
                    methods=tuple(map(str, file[f"{k}/methods"])),
                    seeds=tuple(map(int, file[f"{k}/seeds"])),
                    predicted={e: file[f"{k}/{e}"].astype(np.int64) for e in EPOCHS},
                )
                for k in prefixes
            ]
    except FileNotFoundError:
        raise UserError(f"there is no {path}") from None
    except Exception as error:  # of zipfile, zlib or NumPy, by the kind of damage
        raise UserError(
            f"{path} is not a file of predictions: {first_line(error)}",
            hint="rdl reproduce RECIPE --predictions writes it again",
        ) from error


def _same_images(one: Predictions, other: Predictions) -> bool:
    return np.array_equal(one.digests, other.digests) and np.array_equal(one.labels, other.labels)


def _to_arrays(
    prefix: str, group: list[tuple[str, int, dict[str, Predictions]]]
) -> dict[str, np.ndarray]:
    first = group[0][2]["final"]
    digests = np.frombuffer(bytes.fromhex(b"".join(first.digests.tolist()).decode()), np.uint8)
    arrays: dict[str, Any] = {
        "digests": digests.reshape(-1, 32),
        "labels": _to_smallest(first.labels),
        "methods": np.array([method for method, _, _ in group]),
        "seeds": np.array([seed for _, seed, _ in group], np.int64),
    }
    for epoch in EPOCHS:
        classes = np.stack([predictions[epoch].predicted for _, _, predictions in group])
        arrays[epoch] = _to_smallest(classes)
    return {prefix + name: array for name, array in arrays.items()}


def _to_smallest(classes: np.ndarray) -> np.ndarray:
    """Return the classes as uint8, or uint16 or uint32 where they need it."""
    return classes.astype(np.min_scalar_type(int(classes.max(initial=0))))
