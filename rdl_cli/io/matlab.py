"""The variables of a .mat file of any version, in one form.

Numbers are arrays in MATLAB's order of axes (version 7.3 is HDF5 and holds them transposed) and in
the width that is stored. A char row is a `str`, a char matrix an array of its rows. Cells and
struct arrays are object arrays; their structs are `dict`s. Everything else is an `Unread`.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rdl_cli.io.file_types import check_size, open_hdf5, read_dataset, to_text


@dataclass(frozen=True)
class Unread:
    """A value that is left out, and its kind: a string array, table, object or function."""

    kind: str


def read_variables(path: Path) -> dict[str, Any]:
    """Return the variables by name. Damaged files raise the errors of SciPy and h5py."""
    if h5py.is_hdf5(path):
        with open_hdf5(path) as file:
            walk = _Hdf5Walk(file)
            return {name: walk.convert(file[name]) for name in file if not name.startswith("#")}
    import scipy.io

    with warnings.catch_warnings(record=True) as repeated:
        # SciPy calls objects and functions "None", so of several only the last is named
        warnings.filterwarnings("always", "Duplicate variable name .None")
        _check_declared_sizes(path)
        content = scipy.io.loadmat(path, appendmat=False, squeeze_me=False, mat_dtype=False)
    converted = [
        _convert(name, value)
        for name, value in content.items()
        if not (name.startswith("__") and name.endswith("__"))
    ]
    if repeated:
        converted.append((f"{len(repeated)} more", Unread("objects")))
    return dict(converted)


def to_strings(value: Any) -> tuple[str, ...] | None:
    """Return a cell of strings or a char matrix as a tuple; None for anything else."""
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, np.ndarray) or not value.size:
        return None
    if value.dtype.kind == "U" or all(isinstance(v, str) for v in value.flat):
        return tuple(str(v).strip() for v in value.flat)
    return None


def is_struct_array(value: Any) -> bool:
    """Return whether a value is a struct array."""
    return (
        isinstance(value, np.ndarray)
        and value.dtype == object
        and value.size > 0
        and all(isinstance(v, dict) for v in value.flat)
    )


def iterate_leaves(
    variables: dict[str, Any], above: tuple[str, ...] = (), stop: str = "RDM"
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield variables with their paths; of a lone struct without a field `stop`, its fields."""
    for name, value in variables.items():
        if is_struct_array(value) and value.size == 1 and stop not in value.flat[0]:
            yield from iterate_leaves(value.flat[0], (*above, name), stop)
        else:
            yield (*above, name), value


def _check_declared_sizes(path: Path) -> None:
    """Raise UserError if a variable's dimensions are more than the file can hold."""
    import scipy.io

    try:
        variables = scipy.io.whosmat(path, appendmat=False)
    except TypeError:  # SciPy fails to list objects, but reads them
        return
    for name, shape, kind in variables:
        if kind != "sparse":
            check_size(f"`{name}` ({kind})", 8 * math.prod(shape), path)


def _convert(name: str, value: Any) -> tuple[str, Any]:
    """Return a variable of `loadmat` under its own name."""
    from scipy.io.matlab import MatlabOpaque

    if isinstance(value, MatlabOpaque):
        record = value.flat[0]
        return to_text(record["s0"]), Unread(to_text(record["s2"]))
    return name, _convert_value(value)


def _convert_value(value: Any) -> Any:
    from scipy.io.matlab import MatlabFunction, MatlabOpaque
    from scipy.sparse import issparse

    if isinstance(value, MatlabFunction | MatlabOpaque):
        return Unread("function or object")
    if issparse(value):
        return value.toarray()
    if not isinstance(value, np.ndarray):
        return Unread("struct without fields")
    if value.dtype.names:
        fields = value.dtype.names
        return _each(
            value, lambda at: {field: _convert_value(value[field][at]) for field in fields}
        )
    if value.dtype == object:
        return _each(value, lambda at: _convert_value(value[at]))
    if value.dtype.kind == "U":
        return _to_rows([str(row) for row in value.flat])
    return _to_real(value)


def _each(array: np.ndarray, function: Callable[[tuple[int, ...]], Any]) -> np.ndarray:
    """Return an object array of what a function returns for each place of an array."""
    out = np.empty(array.shape, dtype=object)
    for at in np.ndindex(array.shape):
        out[at] = function(at)
    return out


def _to_rows(rows: list[str]) -> Any:
    stripped = [row.strip() for row in rows]
    return "".join(stripped) if len(rows) < 2 else np.array(stripped)


def _to_real(numbers: np.ndarray) -> np.ndarray:
    """Return numbers in the machine's byte order; complex ones without imaginary part as real."""
    if numbers.dtype.kind == "c" and not numbers.imag.any():
        numbers = numbers.real
    return numbers.astype(numbers.dtype.newbyteorder("="), copy=False)


class _Hdf5Walk:
    """Converts the objects of a version 7.3 file, also those referenced twice, once."""

    def __init__(self, file: h5py.File):
        self._file = file
        self._converted: dict[int, Any] = {}

    def convert(self, item: Any) -> Any:
        if not isinstance(item, h5py.Group | h5py.Dataset):
            return Unread("type")
        address = h5py.h5o.get_info(item.id).addr
        if address not in self._converted:
            self._converted[address] = Unread("reference to itself")
            to_value = self._group if isinstance(item, h5py.Group) else self._dataset
            self._converted[address] = to_value(item)
        return self._converted[address]

    def _group(self, group: h5py.Group) -> Any:
        if "MATLAB_sparse" in group.attrs:
            return self._sparse(group)
        fields = dict(group.items())
        # a struct array: each field is an array of references
        if fields and all(_is_references(field) for field in fields.values()):
            references = {name: read_dataset(field).T for name, field in fields.items()}
            first = next(iter(references.values()))
            return _each(
                first,
                lambda at: {
                    name: self.convert(self._file[array[at]]) for name, array in references.items()
                },
            )
        out = np.empty((1, 1), dtype=object)
        out[0, 0] = {name: self.convert(field) for name, field in fields.items()}
        return out

    def _dataset(self, dataset: h5py.Dataset) -> Any:
        kind = to_text(dataset.attrs.get("MATLAB_class", ""))
        if "MATLAB_object_decode" in dataset.attrs:
            return Unread(kind)
        if "MATLAB_empty" in dataset.attrs:
            return "" if kind == "char" else np.empty((0, 0))
        array = np.asarray(read_dataset(dataset))
        if h5py.check_ref_dtype(dataset.dtype):
            references = array.T
            return _each(references, lambda at: self.convert(self._file[references[at]]))
        if kind == "char":
            if array.ndim > 2:
                return Unread(f"{array.ndim}-D char")
            return _to_rows(["".join(map(chr, row)) for row in np.atleast_2d(array.T)])
        if array.dtype.kind in "SO":
            return np.array([to_text(text) for text in array.flat])
        if array.dtype.names == ("real", "imag"):
            array = array["real"] + 1j * array["imag"]
        return _to_real(array.T)

    def _sparse(self, group: h5py.Group) -> np.ndarray:
        from scipy.sparse import csc_matrix

        starts = read_dataset(group["jc"])
        shape = (int(group.attrs["MATLAB_sparse"]), len(starts) - 1)
        if "data" not in group:
            return np.zeros(shape)
        values = (read_dataset(group[part]) for part in ("data", "ir"))
        return np.asarray(csc_matrix((*values, starts), shape=shape).toarray())


def _is_references(field: Any) -> bool:
    return (
        isinstance(field, h5py.Dataset)
        and h5py.check_ref_dtype(field.dtype) is not None
        and "MATLAB_class" not in field.attrs
    )
