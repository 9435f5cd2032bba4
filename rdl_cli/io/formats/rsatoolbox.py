"""rsatoolbox's `RDMs.save(..., file_type="hdf5")`, read without rsatoolbox."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rdl_cli.core.errors import UserError
from rdl_cli.io.file_types import Container, open_hdf5, read_dataset, to_text
from rdl_cli.io.read import READERS, RawArray, to_milliseconds

DISTANCES = {"squared euclidean": "mse", "squared mahalanobis": "mahalanobis"}
"""rsatoolbox divides by the number of channels: its "squared euclidean" is a mean of squares."""

REGION = ("roi", "region", "mask", "layer", "name", "task")
SUBJECT = ("subject", "subj", "sub", "participant")
SESSION = ("session", "run")
TIME = ("time_ms", "time")


@READERS.register("rsatoolbox")
def rsatoolbox(path: Path, container: Container) -> list[RawArray] | None:
    """Region, subject, session and time from the RDM descriptors of these names; stimuli from the first descriptor that names each."""
    if container != "hdf5":
        return None
    with open_hdf5(path) as file:
        if "dissimilarities" not in file:
            return None
        values = np.atleast_2d(read_dataset(file["dissimilarities"]))
        measure = to_text(_value(file, "dissimilarity_measure") or "")
        per_rdm = _descriptors(file, "rdm_descriptors", len(values))
        patterns = _descriptors(file, "pattern_descriptors", None)
    if values.ndim != 2:
        raise UserError(
            f"{path}: `dissimilarities` has {values.ndim} axes; rsatoolbox writes RDMs × pairs"
        )
    region, subject, session, time = (
        next((per_rdm[key] for key in keys if key in per_rdm), None)
        for keys in (REGION, SUBJECT, SESSION, TIME)
    )
    measures = per_rdm.get("distance", [measure] * len(values))
    stimuli = next(
        (
            tuple(map(to_text, names))
            for key, names in patterns.items()
            if key != "index" and len(set(map(str, names))) == len(names)
        ),
        None,
    )
    times = (
        tuple(map(float, time)) if time and "time_ms" in per_rdm else to_milliseconds(time or ())
    )
    return [
        RawArray(
            to_text(region[k]) if region else path.stem,
            row,
            ("pair",),
            (to_text(subject[k]),) if subject else (),
            (to_text(session[k]),) if session else (),
            times[k : k + 1],
            DISTANCES.get(to_text(measures[k]), to_text(measures[k])),
            stimuli,
            notes=() if stimuli else ("the stimuli are not named, only numbered",),
        )
        for k, row in enumerate(values)
    ]


def _descriptors(file: h5py.File, group: str, length: int | None) -> dict[str, list[Any]]:
    """A group of descriptors, each a list: datasets, attributes, or the numbered children of a list that was no array."""
    if group not in file:
        return {}
    held = {
        key: _value(file[group], key) for key in [*file[group].keys(), *file[group].attrs.keys()]
    }
    lists = {
        key: [value] if isinstance(value, str | bytes) or np.ndim(value) == 0 else list(value)
        for key, value in held.items()
        if value is not None
    }
    return {key: value for key, value in lists.items() if length in (None, len(value))}


def _value(group: h5py.Group, key: str) -> Any:
    if key in group.attrs:  # rsatoolbox, too, lets an attribute win over a member of the same name
        return group.attrs[key]
    member = group.get(key)
    if member is None or (isinstance(member, h5py.Dataset) and member.shape is None):
        return None
    if isinstance(member, h5py.Group):
        return [
            read_dataset(member[child])
            for child in sorted(member, key=lambda c: int(c) if c.isdigit() else 0)
        ]
    return read_dataset(member)
