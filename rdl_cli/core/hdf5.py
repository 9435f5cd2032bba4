"""HDF5 for our own files: equal content is equal bytes, and every text has a fixed length.

HDF5 keeps variable-length text in a heap without a checksum. Fixed-length attributes are part of
object headers, which have checksums in the file format of HDF5 1.8.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

import h5py
import numpy as np
from h5py import h5d, h5f, h5g, h5p, h5s, h5t

PAGE = 4096
"""Each array begins at a multiple of this."""

SIGNATURE = b"\x89HDF\r\n\x1a\n"


def create_file(path: str, in_memory: bool = False) -> h5py.File:
    """Create an empty file without times, on disk or in memory, and return it open."""
    creation, access = h5p.create(h5p.FILE_CREATE), h5p.create(h5p.FILE_ACCESS)
    if in_memory:
        access.set_fapl_core(1 << 20, False)
    creation.set_obj_track_times(False)  # h5py before 3.14 writes the time into every file
    # Of HDF5's older format 1 of 100 flipped bits is a segmentation fault on opening.
    access.set_libver_bounds(h5f.LIBVER_V18, h5f.LIBVER_V18)
    if not in_memory:
        access.set_alignment(1, PAGE)
    access.set_file_locking(False, True)  # writers have locks of their own; some disks have none
    return h5py.File(h5f.create(path.encode(), h5f.ACC_TRUNC, creation, access))


@contextmanager
def raise_disk_errors() -> Iterator[None]:
    """Raise OSError with its number if the disk refuses a write.

    h5py raises RuntimeError, or OSError without a number, if that happens while a file closes.
    """
    try:
        yield
    except (RuntimeError, OSError) as error:
        number = re.search(r"errno = (\d+)", str(error))
        if number is None or getattr(error, "errno", None):
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


@contextmanager
def create_image() -> Iterator[tuple[h5py.File, Callable[[], bytes]]]:
    """Create a file in memory for a block, and a function that returns its bytes.

    HDF5 itself can crash the process on a full disk; so the bytes are written by atomic_write.
    """
    with create_file("image", in_memory=True) as file:

        def read_image() -> bytes:
            file.flush()
            return file.id.get_file_image()

        yield file, read_image


def create_group(file: h5py.File, path: str) -> h5py.Group:
    """Return the group at a path, created if missing. It keeps its members in order."""
    group = file["/"]
    for name in filter(None, path.split("/")):
        if name not in group:
            creation = h5p.create(h5p.GROUP_CREATE)
            creation.set_link_creation_order(h5p.CRT_ORDER_TRACKED | h5p.CRT_ORDER_INDEXED)
            creation.set_obj_track_times(False)
            h5g.create(group.id, name.encode(), gcpl=creation)
        group = group[name]
    return group


def create_array(
    file: h5py.File, path: str, shape: tuple[int, ...], dtype: np.dtype
) -> h5py.Dataset:
    """Create an array in one piece, allocated at once and not filled; return it."""
    folder, _, name = path.rpartition("/")
    creation = h5p.create(h5p.DATASET_CREATE)
    creation.set_layout(h5d.CONTIGUOUS)
    creation.set_alloc_time(h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5d.FILL_TIME_NEVER)
    creation.set_obj_track_times(False)
    kind, space = h5t.py_create(dtype, logical=True), h5s.create_simple(shape)
    group = create_group(file, folder)
    return h5py.Dataset(h5d.create(group.id, name.encode(), kind, space, creation))


def write_attributes(item: h5py.Group | h5py.Dataset, attributes: Mapping[str, Any]) -> None:
    """Write numbers, texts and lists of texts; texts as UTF-8 of fixed length."""
    for name, value in attributes.items():
        if isinstance(value, str):
            value = encode_texts([value]).reshape(())
        elif isinstance(value, Sequence):
            value = encode_texts(value)
        array = np.asarray(value)
        dtype = h5py.string_dtype("utf-8", array.itemsize) if array.dtype.kind == "S" else None
        item.attrs.create(name, array, dtype=dtype)


def read_attributes(item: h5py.Group | h5py.Dataset) -> dict[str, Any]:
    """Return all attributes as numbers, texts and tuples of them."""
    return {str(name): _to_python(value) for name, value in item.attrs.items()}


def encode_texts(texts: Sequence[str] | np.ndarray) -> np.ndarray:
    """Return texts as UTF-8 of one length, that of the longest, padded with zeros."""
    raw = np.char.encode(np.asarray(texts, dtype=str), "utf-8")
    return raw.astype(h5py.string_dtype("utf-8", max(1, raw.dtype.itemsize)))


def iterate_members(group: h5py.Group) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    """Yield the members of a group by name. ValueError for a link, which may leave the file."""
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{group.name}/{name} is a link")
        yield str(name), group[name]


def is_hdf5(file: BinaryIO) -> bool:
    """Return whether a file begins as HDF5 does."""
    return file.read(len(SIGNATURE)) == SIGNATURE


def _to_python(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return tuple(map(_to_python, value.tolist()))
    value = value.item() if isinstance(value, np.generic) else value
    return value.decode("utf-8") if isinstance(value, bytes) else value
