"""Measured responses (stimuli × voxels, neurons or sensors, with runs) as the RDMs of regions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rdl_cli.core.errors import UserError, unknown_name
from rdl_cli.io import matlab as matlab_files
from rdl_cli.io.file_types import (
    STORE_FORMAT,
    detect_container,
    find_separator,
    open_hdf5,
    read_dataset,
    read_npz,
    read_text,
    to_text,
    unique_names,
)
from rdl_cli.io.raw_array import RawArray
from rdl_cli.rsa.rdms import RDMs

AXES = {2: ("stimulus", "channel"), 3: ("run", "stimulus", "channel")}


def read_responses(
    paths: Sequence[Path],
    distance: str,
    n: int | None = None,
    axes: Sequence[str] = (),
    regions: Sequence[str] = (),
) -> list[RDMs]:
    """Return the RDMs of all response arrays in the files, one region for each variable.

    Args:
        paths: the files. If several have a region, each is a subject.
        distance: a name of `RESPONSE_DISTANCES`.
        n: the number of stimuli, None where unknown.
        axes: the axes in order; by default runs × stimuli × channels, or stimuli × channels.
        regions: which regions, as for `read_rdms`.

    Raises:
        UserError: an array has other axes or another number of stimuli.
    """
    import torch

    from rdl_cli.io.child import read_file
    from rdl_cli.io.read import RegionSelection
    from rdl_cli.rsa.response_distances import RESPONSE_DISTANCES, TWO_RUNS_WARNING

    measure = RESPONSE_DISTANCES.find(distance)
    selection = RegionSelection(regions)
    by_region: dict[str, list[tuple[Path, np.ndarray]]] = {}
    for path in paths:
        for raw in read_file("responses", path):
            if name := selection.rename(raw.region):
                array = _arrange(raw.array, f"{path.name}: {raw.region}", n, axes)
                by_region.setdefault(name, []).append((path, array))
    selection.check()
    rdms = []
    for region, responses in by_region.items():
        if len(sizes := {array.shape[1] for _, array in responses}) > 1:
            counts = " and ".join(map(str, sorted(sizes)))
            raise UserError(f"{region} has responses to {counts} stimuli in different files")
        shapes = "; ".join(
            f"{runs} runs × {stimuli} stimuli × {channels} channels"
            for runs, stimuli, channels in dict.fromkeys(array.shape for _, array in responses)
        )
        notes = [f"responses of {shapes}"]
        if distance == "crossnobis" and any(len(array) == 2 for _, array in responses):
            notes.append(TWO_RUNS_WARNING)
        several = len(responses) > 1
        rdms.append(
            RDMs(
                np.stack([measure(torch.from_numpy(array)).numpy() for _, array in responses]),
                distance,
                region,
                subjects=tuple(path.stem for path, _ in responses) if several else (),
                notes=tuple(notes),
            )
        )
    return rdms


def read_response_arrays(path: Path) -> list[RawArray]:
    """Return the arrays of a file that can be responses, in float64."""
    arrays = {
        name: array
        for name, array in _read_arrays(path).items()
        if array.dtype.kind in "fiu" and array.ndim in AXES and min(array.shape) > 0
    }
    if not arrays:
        raise UserError(
            f"{path} holds no responses",
            hint="responses are runs × stimuli × channels, or stimuli × channels, in .npy, .npz,"
            " .mat, .h5 or a table without names",
        )
    return [
        RawArray(path.stem if name == "arr_0" else name, array.astype(np.float64))
        for name, array in arrays.items()
    ]


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    container = detect_container(path)
    if container in ("npy", "npz"):
        return read_npz(path, container)[0]
    if container == "matlab":
        leaves = dict(matlab_files.iterate_leaves(matlab_files.read_variables(path)))
        variables = dict(zip(unique_names(leaves), leaves.values(), strict=True))
        return {name: value for name, value in variables.items() if isinstance(value, np.ndarray)}
    if container == "text":
        lines = read_text(path).splitlines()
        return {path.stem: np.loadtxt(lines, delimiter=find_separator(lines[0]), ndmin=2)}
    if container == "hdf5":
        from rdl_cli.io.formats.hdf5 import list_datasets

        with open_hdf5(path) as file:
            if to_text(file.attrs.get("format", "")) == STORE_FORMAT:
                raise UserError(f"{path} is a store of our own, not a file of responses")
            return {
                name: read_dataset(dataset)
                for name, dataset in list_datasets(file).items()
                if dataset.dtype.kind in "fiu" and dataset.ndim in AXES and dataset.size
            }
    return {}


def _arrange(array: np.ndarray, what: str, n: int | None, axes: Sequence[str]) -> np.ndarray:
    """Return responses as runs × stimuli × channels. UserError if they are not of n stimuli."""
    shape, expected = " × ".join(map(str, array.shape)), AXES[array.ndim]
    names = tuple(axes) or expected
    for axis in names:
        if axis not in AXES[3]:
            raise unknown_name("axis of responses", axis, AXES[3])
    if sorted(names) != sorted(expected):
        raise UserError(
            f"{what} ({shape}) has {array.ndim} axes; --axes names {','.join(names)}",
            hint=f"name them: {','.join(expected)}",
        )
    moved = array.transpose([names.index(axis) for axis in expected])
    moved = moved if array.ndim == 3 else moved[None]
    if n not in (None, moved.shape[1]):
        raise UserError(
            f"{what} ({shape}) read as {' × '.join(names)} has {moved.shape[1]} stimuli, not {n}",
            hint="name the axes in order, for example --axes stimulus,channel,run",
        )
    return np.ascontiguousarray(moved)
