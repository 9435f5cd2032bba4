"""Write RDMs for other programs: rsatoolbox (Python and MATLAB) and NumPy, bit for bit."""

import io
import math
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import BinaryIO
from zipfile import ZIP_DEFLATED, ZipFile

import h5py
import numpy as np
import scipy.io
from scipy.spatial.distance import squareform

from rdl_cli.core.errors import UserError
from rdl_cli.core.files import atomic_write
from rdl_cli.core.registry import Registry
from rdl_cli.rsa.rdms import RDMs

WRITERS = Registry("export format", home="rdl_cli.io.write", external=False)
"""Members are `function(file: BinaryIO, rdms: Sequence[RDMs]) -> None`, for RDMs of one set of
stimuli."""

RSATOOLBOX_NAMES = {"mse": "squared euclidean", "mahalanobis": "squared mahalanobis"}
"""rsatoolbox divides both by the number of channels, as we do."""

MAX_ATTRIBUTE = 60_000
"""Bytes of text in an attribute; HDF5 has a limit of 64 KiB with its overhead."""


def write_rdms(path: Path, rdms: Sequence[RDMs], format: str) -> None:
    """Write RDMs in a format of WRITERS. UserError if they have different numbers of stimuli."""
    sizes = {part.n_stimuli for part in rdms}
    if len(sizes) != 1:
        which = ", ".join(f"{part.region} of {part.n_stimuli}" for part in rdms)
        raise UserError(
            f"one file holds RDMs of the same stimuli; these are {which or 'none'}",
            hint="export them one by one",
        )
    writer = WRITERS.find(format)
    buffer = io.BytesIO()
    writer(buffer, rdms)
    atomic_write(path, buffer.getbuffer())


@WRITERS.register("rsatoolbox")
def write_rsatoolbox(file: BinaryIO, rdms: Sequence[RDMs]) -> None:
    """Write HDF5 for `rsatoolbox.rdm.load_rdm` (name it .h5).

    Regions, subjects, sessions and times are RDM descriptors.
    """
    values = np.concatenate([part.values for part in rdms]).astype(np.float64)
    measures = [
        RSATOOLBOX_NAMES.get(part.distance, part.distance) for part in rdms for _ in part.values
    ]
    descriptors: dict[str, Sequence[str] | np.ndarray] = {
        "roi": [part.region for part in rdms for _ in part.values]
    }
    for key in ("subject", "session"):
        column = [label for part in rdms for label in getattr(part, f"{key}s")]
        if any(column):
            descriptors[key] = column
    times = np.array([t for part in rdms for t in part.times])
    if not np.isnan(times).all():
        descriptors["time_ms"] = times
    if len(set(measures)) > 1:
        descriptors["distance"] = measures
    with h5py.File(file, "w") as out:
        out.attrs["rsatoolbox_version"] = _rsatoolbox_version()
        out["dissimilarities"] = values
        if len(set(measures)) == 1 and measures[0]:
            out.attrs["dissimilarity_measure"] = measures[0]
        else:
            out["dissimilarity_measure"] = h5py.Empty("f")
        out.create_group("descriptors")
        group = out.create_group("rdm_descriptors")
        for key, labels in descriptors.items():
            _write_labels(group, key, labels)
        group["index"] = np.arange(len(values))
        patterns = out.create_group("pattern_descriptors")
        if rdms[0].stimuli:
            _write_labels(patterns, "stimulus", rdms[0].stimuli)
        patterns["index"] = np.arange(rdms[0].n_stimuli)


@WRITERS.register("mat")
def write_mat(file: BinaryIO, rdms: Sequence[RDMs]) -> None:
    """Write a struct array `RDMs` as rsatoolbox_matlab has it, and the stimuli's names.

    It has square matrices and names 'mask | subject | Session: k'. Its shape is masks × subjects ×
    sessions if all combinations exist, else one row.
    """
    entries = [(part, k) for part in rdms for k in range(len(part.values))]
    out: np.ndarray = np.empty(
        (1, len(entries)), dtype=[("RDM", object), ("name", object), ("color", object)]
    )
    for at, (part, k) in enumerate(entries):
        out[0, at] = (
            squareform(part.values[k], checks=False),
            _format_name(part, k),
            np.array([[0.0, 0.0, 0.0]]),
        )
    subjects, sessions = (len(set(labels)) for labels in (rdms[0].subjects, rdms[0].sessions))
    grid = [
        (s, t) for s in dict.fromkeys(rdms[0].subjects) for t in dict.fromkeys(rdms[0].sessions)
    ]
    if all(list(zip(part.subjects, part.sessions, strict=True)) == grid for part in rdms):
        out = out.reshape(len(rdms), subjects, sessions)
    arrays = {"RDMs": out}
    if rdms[0].stimuli:
        arrays["stimuli"] = np.array(rdms[0].stimuli, dtype=object)
    scipy.io.savemat(file, arrays, do_compression=True)


@WRITERS.register("npz")
def write_npz(file: BinaryIO, rdms: Sequence[RDMs]) -> None:
    """Write NumPy arrays without pickles.

    REGION is k × pairs in SciPy's condensed order. Beside it are REGION.subject, .session, .time
    (ms) and .distance.
    """
    arrays: dict[str, np.ndarray] = {}
    for part in rdms:
        arrays[part.region] = part.values
        arrays[f"{part.region}.subject"] = np.array(part.subjects)
        arrays[f"{part.region}.session"] = np.array(part.sessions)
        arrays[f"{part.region}.time"] = np.array(part.times)
        arrays[f"{part.region}.distance"] = np.array(part.distance)
    if rdms[0].stimuli:
        arrays["stimuli"] = np.array(rdms[0].stimuli)
    # np.savez takes names as keywords, and `file` is one of its own
    with ZipFile(file, "w", ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _format_name(part: RDMs, k: int) -> str:
    parts = [part.region, part.subjects[k], part.sessions[k] and f"Session: {part.sessions[k]}"]
    if not math.isnan(part.times[k]):
        parts.append(f"Time: {part.times[k]:.10g} ms")
    return " | ".join(part for part in parts if part)


def _write_labels(group: h5py.Group, key: str, labels: Sequence[str] | np.ndarray) -> None:
    """Write labels as rsatoolbox does, as fixed bytes; text beyond ASCII, which it would not read
    from those, as an attribute."""
    array = np.asarray(labels)
    if array.dtype.kind != "U":
        group[key] = array
    elif all(label.isascii() for label in labels):
        group[key] = array.astype("S")
    elif sum(len(label.encode()) + 16 for label in labels) < MAX_ATTRIBUTE:
        group.attrs[key] = [str(label) for label in labels]
    else:
        odd = next(label for label in labels if not label.isascii())
        raise UserError(
            f"rsatoolbox reads only ASCII names if there are {len(labels):,}; `{odd}` is not ASCII",
            hint="rename it, or use --format npz",
        )


def _rsatoolbox_version() -> str:
    try:
        return version("rsatoolbox")
    except PackageNotFoundError:
        return "0.3.2"
