"""The variables of a .mat file of any version, in one form.

Numbers are arrays in MATLAB's own order of axes (version 7.3 is HDF5 and lies transposed); a char row is a `str`; cells and
struct arrays are object arrays, whose structs are `dict`s. Function handles, objects and sparse matrices are None.
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io

from rdl_cli.io import matlab5
from rdl_cli.io.file_types import open_hdf5, parser_errors, read_dataset, to_text


def read_variables(path: Path) -> dict[str, Any]:
    if h5py.is_hdf5(path):
        with open_hdf5(path) as file:
            return {name: _of_hdf5(file[name], file) for name in file if not name.startswith("#")}
    with parser_errors(path, "MATLAB file"):
        data = path.read_bytes()
        if 0 not in data[:4]:
            return {name: value for name, value in matlab5.variables(data).items() if name}
        numbers = scipy.io.loadmat(
            path, appendmat=False
        )  # version 4, which has a zero there, and knows numbers and text only
        return {
            name: value
            for name, value in numbers.items()
            if not name.startswith("__") and isinstance(value, np.ndarray)
        }


def list_variables(path: Path) -> list[str]:
    """The variables' names, without reading them."""
    if h5py.is_hdf5(path):
        with open_hdf5(path) as file:
            return [name for name in file if not name.startswith("#")]
    with parser_errors(path, "MATLAB file"):
        data = path.read_bytes()
        return (
            matlab5.names(data)
            if 0 not in data[:4]
            else [name for name, _, _ in scipy.io.whosmat(path, appendmat=False)]
        )


def to_strings(value: Any) -> tuple[str, ...] | None:
    """A cell of strings or a char matrix as a tuple; None for anything else."""
    if isinstance(value, str):
        return (value,)
    if (
        isinstance(value, np.ndarray)
        and value.size
        and (value.dtype.kind == "U" or all(isinstance(v, str) for v in value.flat))
    ):
        return tuple(str(v).strip() for v in value.flat)
    return None


def to_structs(value: Any) -> bool:
    """Whether a value is a struct array."""
    return (
        isinstance(value, np.ndarray)
        and value.dtype == object
        and value.size > 0
        and all(isinstance(v, dict) for v in value.flat)
    )


def _of_hdf5(value: Any, file: h5py.File) -> Any:
    if isinstance(value, h5py.Group):
        fields = dict(value.items())
        if "MATLAB_sparse" in value.attrs:
            return None
        of_structs = [
            isinstance(f, h5py.Dataset)
            and h5py.check_ref_dtype(f.dtype)
            and "MATLAB_class" not in f.attrs
            for f in fields.values()
        ]
        if fields and all(of_structs):  # a struct array: each field is an array of references
            refs = {name: read_dataset(field).T for name, field in fields.items()}
            out = np.empty(next(iter(refs.values())).shape, dtype=object)
            for at in np.ndindex(out.shape):
                out[at] = {name: _of_hdf5(file[ref[at]], file) for name, ref in refs.items()}
            return out
        out = np.empty((1, 1), dtype=object)
        out[0, 0] = {name: _of_hdf5(field, file) for name, field in fields.items()}
        return out
    if not isinstance(value, h5py.Dataset):
        return None
    matlab_class = to_text(value.attrs.get("MATLAB_class", ""))
    if "MATLAB_empty" in value.attrs:
        return "" if matlab_class == "char" else np.empty((0, 0))
    array = np.asarray(read_dataset(value))
    if h5py.check_ref_dtype(value.dtype):
        return _each(array.T, lambda ref: _of_hdf5(file[ref], file))
    if matlab_class == "char":
        rows = ["".join(map(chr, row)).strip() for row in np.atleast_2d(array.T)]
        return rows[0] if len(rows) == 1 else np.array(rows)
    if array.dtype.kind in "SO":
        return np.array([to_text(v) for v in array.flat])
    return array.T


def _each(array: np.ndarray, change: Any) -> np.ndarray:
    out = np.empty(array.shape, dtype=object)
    for at in np.ndindex(array.shape):
        out[at] = change(array[at])
    return out
