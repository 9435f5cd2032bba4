"""RDMs for other programs: rsatoolbox (Python), its MATLAB elder, and NumPy. What goes out comes back bit for bit."""

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
"""A member is `function(file: BinaryIO, rdms: Sequence[RDMs]) -> None`, all RDMs of the same stimuli."""

RSATOOLBOX_NAMES = {"mse": "squared euclidean", "mahalanobis": "squared mahalanobis"}
"""rsatoolbox divides both by the number of channels, as we do."""

ATTRIBUTE = 60_000
"""Bytes that HDF5 stores in an attribute, less some air (its limit is 64 KiB)."""


def write_rdms(path: Path, rdms: Sequence[RDMs], format: str) -> None:
    """The RDMs at `path`, in a format of WRITERS. UserError where they are not of the same stimuli."""
    sizes = {each.n_stimuli for each in rdms}
    if len(sizes) != 1:
        which = ", ".join(f"{each.region} of {each.n_stimuli}" for each in rdms)
        raise UserError(
            f"one file holds RDMs of the same stimuli; these are {which or 'none'}",
            hint="export them one by one",
        )
    writer = WRITERS.find(format)
    buffer = io.BytesIO()
    writer(buffer, rdms)
    atomic_write(path, buffer.getbuffer())


@WRITERS.register("rsatoolbox")
def rsatoolbox(file: BinaryIO, rdms: Sequence[RDMs]) -> None:
    """HDF5 that `rsatoolbox.rdm.load_rdm` opens (name it .h5): regions, subjects, sessions and times as RDM descriptors."""
    values = np.concatenate([each.values for each in rdms]).astype(np.float64)
    measures = [
        RSATOOLBOX_NAMES.get(each.distance, each.distance) for each in rdms for _ in each.values
    ]
    descriptors: dict[str, Sequence[str] | np.ndarray] = {
        "roi": [each.region for each in rdms for _ in each.values]
    }
    for key in ("subject", "session"):
        who = [label for each in rdms for label in getattr(each, f"{key}s")]
        if any(who):
            descriptors[key] = who
    times = np.array([t for each in rdms for t in each.times])
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
            _put(group, key, labels)
        group["index"] = np.arange(len(values))
        patterns = out.create_group("pattern_descriptors")
        if rdms[0].stimuli:
            _put(patterns, "stimulus", rdms[0].stimuli)
        patterns["index"] = np.arange(rdms[0].n_stimuli)


@WRITERS.register("mat")
def mat(file: BinaryIO, rdms: Sequence[RDMs]) -> None:
    """A struct array `RDMs` as rsatoolbox_matlab has it, with squares, names 'mask | subject | Session: k', and the stimuli's names.

    Masks × subjects × sessions where every combination is there, else one row.
    """
    entries = [(each, k) for each in rdms for k in range(len(each.values))]
    out: np.ndarray = np.empty(
        (1, len(entries)), dtype=[("RDM", object), ("name", object), ("color", object)]
    )
    for at, (each, k) in enumerate(entries):
        out[0, at] = (
            squareform(each.values[k], checks=False),
            _name(each, k),
            np.array([[0.0, 0.0, 0.0]]),
        )
    subjects, sessions = (len(set(labels)) for labels in (rdms[0].subjects, rdms[0].sessions))
    grid = [
        (s, t) for s in dict.fromkeys(rdms[0].subjects) for t in dict.fromkeys(rdms[0].sessions)
    ]
    if all(list(zip(each.subjects, each.sessions, strict=True)) == grid for each in rdms):
        out = out.reshape(len(rdms), subjects, sessions)
    held = {"RDMs": out}
    if rdms[0].stimuli:
        held["stimuli"] = np.array(rdms[0].stimuli, dtype=object)
    scipy.io.savemat(file, held, do_compression=True)


@WRITERS.register("npz")
def npz(file: BinaryIO, rdms: Sequence[RDMs]) -> None:
    """NumPy arrays without pickles: REGION (k × pairs, SciPy's condensed order) and REGION.subject, .session, .time (ms), .distance."""
    held: dict[str, np.ndarray] = {}
    for each in rdms:
        held[each.region] = each.values
        held[f"{each.region}.subject"] = np.array(each.subjects)
        held[f"{each.region}.session"] = np.array(each.sessions)
        held[f"{each.region}.time"] = np.array(each.times)
        held[f"{each.region}.distance"] = np.array(each.distance)
    if rdms[0].stimuli:
        held["stimuli"] = np.array(rdms[0].stimuli)
    with ZipFile(
        file, "w", ZIP_DEFLATED
    ) as archive:  # np.savez takes names as keywords, and `file` is one of its own
        for name, array in held.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _name(each: RDMs, k: int) -> str:
    parts = [each.region, each.subjects[k], each.sessions[k] and f"Session: {each.sessions[k]}"]
    if not math.isnan(each.times[k]):
        parts.append(f"Time: {each.times[k]:.10g} ms")
    return " | ".join(part for part in parts if part)


def _put(group: h5py.Group, key: str, labels: Sequence[str] | np.ndarray) -> None:
    """Labels as rsatoolbox writes them: fixed bytes. What is not ASCII would not come back from those, but does from an attribute."""
    array = np.asarray(labels)
    if array.dtype.kind != "U":
        group[key] = array
    elif all(label.isascii() for label in labels):
        group[key] = array.astype("S")
    elif sum(len(label.encode()) + 16 for label in labels) < ATTRIBUTE:
        group.attrs[key] = [str(label) for label in labels]
    else:
        odd = next(label for label in labels if not label.isascii())
        raise UserError(
            f"rsatoolbox reads only ASCII names where there are {len(labels):,}; `{odd}` is none",
            hint="rename it, or use --format npz",
        )


def _rsatoolbox_version() -> str:
    try:
        return version("rsatoolbox")
    except PackageNotFoundError:
        return "0.3.2"
