"""Read the tensors of a .pt file without torch, and without running what is pickled in it.

The file is a zip archive of a pickle and one member for each tensor's storage. The pickle may name
only the few functions and types below. The archive's checksums are verified on the way.
"""

import collections
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rdl_cli.core.errors import UserError
from rdl_cli.io.file_types import CONVERT, check_size

STORAGES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
"""The storage types that NumPy has; bfloat16 is not among them."""


class _StorageType(NamedTuple):
    dtype: np.dtype


def read_tensors(path: Path) -> dict[str, Any]:
    """Return the dictionary that a .pt file holds, its tensors as arrays.

    UserError if there is anything else than tensors, texts, numbers, lists and dictionaries.
    """
    with zipfile.ZipFile(path) as archive:
        check_size("its tensors", sum(entry.file_size for entry in archive.infolist()), path)
        (name,) = (member for member in archive.namelist() if member.endswith("data.pkl"))
        content = _TensorUnpickler(archive, name.removesuffix("data.pkl"), path).load()
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no dictionary of tensors", hint=CONVERT)
    return {str(key): value for key, value in content.items()}


class _TensorUnpickler(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile, folder: str, path: Path):
        super().__init__(io.BytesIO(archive.read(f"{folder}data.pkl")))
        self._archive, self._folder, self._path = archive, folder, path
        order = f"{folder}byteorder"
        is_big = order in archive.namelist() and archive.read(order) == b"big"
        self._order = ">" if is_big else "<"

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in STORAGES:
            return _StorageType(np.dtype(self._order + STORAGES[name]))
        raise UserError(
            f"{self._path} can't be opened without running what is pickled in it ({module}.{name})",
            hint=CONVERT,
        )

    def persistent_load(self, pid: Any) -> np.ndarray:
        _, storage_type, key, *_ = pid
        data = self._archive.read(f"{self._folder}data/{key}")
        return np.frombuffer(data, storage_type.dtype)


def _rebuild_tensor(
    storage: np.ndarray, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> np.ndarray:
    last = offset + sum((length - 1) * step for length, step in zip(shape, strides, strict=True))
    if 0 in shape:
        return np.empty(shape, storage.dtype)
    if min((offset, *shape, *strides)) < 0 or last >= len(storage):
        raise ValueError(f"a tensor of shape {shape} needs {last + 1} of {len(storage)} values")
    byte_strides = [step * storage.itemsize for step in strides]
    view = np.lib.stride_tricks.as_strided(storage[offset:], shape, byte_strides, writeable=False)
    return view.astype(storage.dtype.newbyteorder("="))
