"""Measured responses (stimuli × voxels, neurons or sensors, with runs) in files that people have, as the RDMs of their regions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from rdl_cli.core.errors import UserError, unknown_name
from rdl_cli.io import matlab as matlab_files
from rdl_cli.io.file_types import (
    detect_container,
    find_separator,
    parser_errors,
    read_npz,
    read_text,
)
from rdl_cli.io.read import RegionSelection
from rdl_cli.rsa.rdms import RDMs
from rdl_cli.rsa.response_distances import RESPONSE_DISTANCES

AXES = {2: ("stimulus", "channel"), 3: ("run", "stimulus", "channel")}


def read_responses(
    paths: Sequence[Path],
    distance: str,
    n: int | None = None,
    axes: Sequence[str] = (),
    regions: Sequence[str] = (),
) -> list[RDMs]:
    """The RDMs of all arrays in the files, one region for each variable; where a region is in several files, each is a subject.

    Arrays are runs × stimuli × channels, or stimuli × channels, unless `axes` names their axes in another order. `distance` is
    one of geometry's RESPONSE_DISTANCES, `regions` chooses as for RDMs. UserError where an array is none of these, or does not
    have `n` stimuli.
    """
    measure = RESPONSE_DISTANCES.find(distance)
    chosen = RegionSelection(regions)
    found: dict[str, list[tuple[Path, np.ndarray]]] = {}
    for path in paths:
        for region, array in _arrays(path).items():
            if name := chosen.name(region):
                found.setdefault(name, []).append((path, array))
    chosen.check()
    out = []
    for region, arrays in found.items():
        laid = [
            (path, _arrange(array, f"{path.name}: {region}", n, axes)) for path, array in arrays
        ]
        if len(sizes := {array.shape[1] for _, array in laid}) > 1:
            raise UserError(
                f"{region} has responses to {' and '.join(map(str, sorted(sizes)))} stimuli in different files"
            )
        values = np.stack([measure(torch.from_numpy(array)).numpy() for _, array in laid])
        subjects = tuple(path.stem for path, _ in laid) if len(laid) > 1 else ("",)
        shapes = "; ".join(
            f"{r} runs × {m} stimuli × {p} channels"
            for r, m, p in dict.fromkeys(array.shape for _, array in laid)
        )
        out.append(
            RDMs(
                values,
                distance,
                region,
                subjects=subjects,
                notes=(f"responses of {shapes}",),
            )
        )
    return out


def _arrays(path: Path) -> dict[str, np.ndarray]:
    container = detect_container(path)
    held: dict[str, np.ndarray] = {}
    if container in ("npy", "npz"):
        held = read_npz(path, container)[0]
    elif container == "matlab":
        held = {
            key: value
            for key, value in matlab_files.read_variables(path).items()
            if isinstance(value, np.ndarray)
        }
    elif container == "text":
        with parser_errors(path, "a table of numbers"):
            lines = read_text(path).splitlines()
            held = {path.stem: np.loadtxt(lines, delimiter=find_separator(lines[0]), ndmin=2)}
    arrays = {
        key: array
        for key, array in held.items()
        if array.dtype.kind in "fiu" and array.ndim in AXES and min(array.shape) > 0
    }
    if not arrays:
        hint = "responses are runs × stimuli × channels, or stimuli × channels, in .npy, .npz, .mat or a table without names"
        raise UserError(f"{path} holds no responses", hint=hint)
    return {
        path.stem if key == "arr_0" else key: array.astype(np.float64)
        for key, array in arrays.items()
    }


def _arrange(array: np.ndarray, what: str, n: int | None, axes: Sequence[str]) -> np.ndarray:
    shape, named = " × ".join(map(str, array.shape)), tuple(axes) or AXES[array.ndim]
    for axis in named:
        if axis not in AXES[3]:
            raise unknown_name("axis of responses", axis, AXES[3])
    if sorted(named) != sorted(AXES[array.ndim]):
        raise UserError(
            f"{what} ({shape}) has {array.ndim} axes; {','.join(named)} are not theirs",
            hint=f"name them: {','.join(AXES[array.ndim])}",
        )
    moved = array.transpose([named.index(axis) for axis in AXES[array.ndim]])
    moved = moved if array.ndim == 3 else moved[None]
    if n not in (None, moved.shape[1]):
        hint = "say which axis is which, for example --axes stimulus,channel,run"
        raise UserError(
            f"{what} ({shape}) read as {' × '.join(named)} has {moved.shape[1]} stimuli, and not {n}",
            hint=hint,
        )
    return np.ascontiguousarray(moved)
