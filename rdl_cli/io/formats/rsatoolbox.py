"""rsatoolbox's `RDMs.save(..., file_type="hdf5")`, read without rsatoolbox."""

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rdl_cli.core.errors import UserError
from rdl_cli.io.file_types import Container, open_hdf5, read_dataset, to_text
from rdl_cli.io.raw_array import READERS, RawArray, to_milliseconds

DISTANCES = {"squared euclidean": "mse", "squared mahalanobis": "mahalanobis"}
"""rsatoolbox divides by the number of channels: its "squared euclidean" is a mean of squares."""

ROLES = {
    "region": ("roi", "region", "area", "mask", "layer", "name", "task"),
    "subject": ("subject", "subj", "sub", "participant"),
    "session": ("session", "sess", "ses", "run"),
    "time": ("time", "timems", "timepoint"),
}
"""What RDM descriptors describe, by their names in lower case without `_`, `name` and `id`."""


@READERS.register("rsatoolbox")
def read_rsatoolbox(path: Path, container: Container) -> list[RawArray] | None:
    """Read region, subject, session and time of each RDM from its descriptors.

    The stimuli's names are the first pattern descriptor without repeats. UserError if only an
    unknown descriptor tells two RDMs apart.
    """
    if container != "hdf5":
        return None
    with open_hdf5(path) as file:
        if "dissimilarities" not in file:
            return None
        values = np.atleast_2d(read_dataset(file["dissimilarities"]))
        measure = to_text(_read_value(file, "dissimilarity_measure") or "")
        descriptors = _read_descriptors(file, "rdm_descriptors", len(values))
        patterns = _read_descriptors(file, "pattern_descriptors", None)
    if values.ndim != 2:
        raise UserError(
            f"{path}: `dissimilarities` has {values.ndim} axes; rsatoolbox writes RDMs × pairs"
        )
    keys = {role: _find_descriptor(descriptors, role) for role in ROLES}
    labels = {role: descriptors[key] for role, key in keys.items() if key}
    _check_unique(labels, descriptors, {key for key in keys.values() if key}, path)
    measures = descriptors.get("distance", [measure] * len(values))
    stimuli = next(
        (
            tuple(map(to_text, names))
            for key, names in patterns.items()
            if key != "index" and len(set(map(str, names))) == len(names)
        ),
        None,
    )
    times: tuple[float, ...] = tuple(map(float, labels.get("time", ())))
    if "ms" not in (keys["time"] or ""):
        times = to_milliseconds(times)
    return [
        RawArray(
            to_text(labels["region"][k]) if "region" in labels else path.stem,
            row,
            ("pair",),
            tuple(to_text(label) for label in labels.get("subject", ())[k : k + 1]),
            tuple(to_text(label) for label in labels.get("session", ())[k : k + 1]),
            times[k : k + 1],
            DISTANCES.get(to_text(measures[k]), to_text(measures[k])),
            stimuli,
            notes=() if stimuli else ("the stimuli have numbers, no names",),
        )
        for k, row in enumerate(values)
    ]


def _find_descriptor(descriptors: dict[str, list[Any]], role: str) -> str | None:
    """Return the descriptor of a role: `ROI`, `roi_name` and `roi` are regions."""
    plain = {_normalize(key): key for key in reversed(descriptors)}
    return next((plain[name] for name in ROLES[role] if name in plain), None)


def _normalize(key: str) -> str:
    letters = re.sub(r"[^a-z]", "", key.lower())
    return re.sub(r"(?<=.)(name|id)$", "", letters)


def _check_unique(
    labels: dict[str, list[Any]], descriptors: dict[str, list[Any]], known: set[str], path: Path
) -> None:
    """Raise UserError if known descriptors leave RDMs alike that another descriptor tells apart."""
    rows = list(zip(*(map(str, column) for column in labels.values()), strict=True))
    if labels and len(set(rows)) == len(rows):
        return
    unknown = [
        key
        for key, column in descriptors.items()
        if key not in known | {"index", "distance"} and len(set(map(str, column))) > 1
    ]
    if unknown:
        raise UserError(
            f"{path} tells its RDMs apart by the descriptor `{unknown[0]}`, which may be a region,"
            " subject, session or time",
            hint="rename it to roi, subject, session or time_ms in rsatoolbox:"
            " rdms.rdm_descriptors['subject'] = ...",
        )


def _read_descriptors(file: h5py.File, group: str, length: int | None) -> dict[str, list[Any]]:
    """Return the descriptors of a group, each a list of this length."""
    if group not in file:
        return {}
    keys = [*file[group].keys(), *file[group].attrs.keys()]
    values = {key: _read_value(file[group], key) for key in keys}
    lists = {
        key: [value] if isinstance(value, str | bytes) or np.ndim(value) == 0 else list(value)
        for key, value in values.items()
        if value is not None
    }
    return {key: value for key, value in lists.items() if length in (None, len(value))}


def _read_value(group: h5py.Group, key: str) -> Any:
    if key in group.attrs:  # in rsatoolbox, too, an attribute wins over a member of its name
        return group.attrs[key]
    member = group.get(key)
    if member is None or (isinstance(member, h5py.Dataset) and member.shape is None):
        return None
    if isinstance(member, h5py.Group):  # the numbered children of a list that was no array
        children = sorted(member, key=lambda child: int(child) if child.isdigit() else 0)
        return [read_dataset(member[child]) for child in children]
    return read_dataset(member)
