"""Write a store: lay the file out, fill it block by block, rename it when it is whole.

h5py only lays out the empty file. Through h5py a kill leaves "bad object header", and a full disk a
segmentation fault at exit; through a memory map a full disk is a SIGBUS. So the room is reserved
first, blocks are written by seek and write, and a sidecar records how many rows are durable.
"""

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from rdl_cli.core.checksum import format_manifest
from rdl_cli.core.errors import UserError
from rdl_cli.core.files import (
    DISK_FULL,
    cannot_write,
    commit,
    file_lock,
    in_use,
    make_folder,
    remove_partials,
    write_text,
)
from rdl_cli.store.format import (
    Extent,
    StoreIndex,
    group_digest,
    index_digest,
    read_index,
    text_digest,
)
from rdl_cli.store.layout import Plan, Specs, encode_name, plan_store, write_empty
from rdl_cli.store.store import Stimuli, partial

BLOCK = 1 << 24  # bytes copied at a time


def free_bytes(path: Path) -> int:
    """Return the free bytes on the disk of `path`, which need not exist."""
    folder = Path(path).absolute().parent
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


class Writer:
    """Fills a store in any order. The first `rows` stimuli are durable from an earlier attempt."""

    def __init__(self, path: Path, size: int, key: str):
        self.path, self.size, self.key, self.rows = path, size, key, 0
        self._partial = partial(path)
        self._sidecar = self._partial.with_name(f"{self._partial.name}.json")
        self._file: BinaryIO | None = None
        self._unwritten = 0
        self._index: StoreIndex

    def write(self, layer: str, start: int, block: np.ndarray, view: int = 0) -> None:
        """Write activations of the rows from `start` on, in one view.

        UserError if a value is too large for float16.
        """
        extent = self._extent(layer, "activations")
        views, n, *shape = extent.shape
        assert list(block.shape[1:]) == shape, (
            f"{layer} was announced as {shape} per image, not {list(block.shape[1:])}"
        )
        assert start >= 0 and start + len(block) <= n and 0 <= view < views, (
            f"rows {start}+{len(block)} of view {view} are outside {layer}"
        )
        first = (view * n + start) * int(np.prod(shape, dtype=int))
        self._put(extent, first, self._narrow(layer, block, extent.dtype))

    def read(self, layer: str, stop: int) -> np.ndarray:
        """Return the first view's rows up to `stop` as they were written: (stop, ...)."""
        extent = self._extent(layer, "activations")
        if not stop:
            return np.empty((0, *extent.shape[2:]), extent.dtype)
        shape = (stop, *extent.shape[2:])
        return np.memmap(self._partial, extent.dtype, "r", extent.offset, shape)

    def write_rdm(self, layer: str, index: int, start: int, values: np.ndarray) -> None:
        """Write condensed distances of the `index`-th RDM, from position `start` on."""
        extent = self._extent(layer, "rdm")
        count, pairs = extent.shape
        assert 0 <= index < count, f"{layer} was announced with {count} RDMs; there is no {index}"
        assert values.ndim == 1 and start >= 0 and start + len(values) <= pairs, (
            f"{values.shape} from {start} on is outside {layer}"
        )
        self._put(extent, index * pairs + start, self._narrow(layer, values, extent.dtype))

    def write_kernel(self, layer: str, start: int, values: np.ndarray) -> None:
        """Write inner products of the packed kernel, from position `start` on."""
        extent = self._extent(layer, "kernel")
        assert values.ndim == 1 and start >= 0 and start + len(values) <= extent.shape[0], (
            f"{values.shape} from {start} on is outside {layer}"
        )
        self._put(extent, start, self._narrow(layer, values, extent.dtype))

    def checkpoint(self, rows: int) -> None:
        """Make the first `rows` stimuli durable: they survive a kill and a power cut."""
        with self._discard_on_error():
            self._sync()
            self._record(rows)

    def discard(self) -> None:
        """Remove what was written so far, so that no attempt resumes from it."""
        self._close()
        remove_partials(self._sidecar)
        self._sidecar.unlink(missing_ok=True)
        self._partial.unlink(missing_ok=True)

    def _begin(self, plan: Plan) -> None:
        """Resume an interrupted attempt of the same plan, or lay out the file anew."""
        with self._discard_on_error():
            index = self._read_interrupted()
            if index is None:
                # The sidecar goes first: it describes what is now overwritten.
                self._sidecar.unlink(missing_ok=True)
                os.truncate(self._partial, 0)
                # A full disk shows here, before h5py is involved.
                _reserve(self._partial, self.size)
                write_empty(self._partial, plan)
                _reserve(self._partial, self._partial.stat().st_size)
                index = read_index(self._partial)
                self._open(index)
                for array in plan.arrays:
                    self._copy(self._find(array.path), array.values)
            else:
                self._open(index)
            if not self.rows:
                self._unwritten = sum(a.nbytes for a in plan.arrays if a.values is None)
            self.checkpoint(self.rows)

    def _open(self, index: StoreIndex) -> None:
        self._index, self._file = index, self._partial.open("r+b")

    def _read_interrupted(self) -> StoreIndex | None:
        try:
            record = json.loads(self._sidecar.read_text(encoding="utf-8"))
            if record["key"] != self.key:
                return None
            index, self.rows = read_index(self._partial), int(record["rows"])
        except (OSError, ValueError, KeyError, TypeError, UserError):
            return None
        return index

    def _finish(self) -> None:
        assert self._unwritten <= 0, f"{self._unwritten:,} bytes of {self.path} were never written"
        with self._discard_on_error():
            self._sync()
            index = self._index
            # Values are read once more: rows came view by view, some before a kill.
            checksums = {
                "provenance": text_digest(index.root.arrays["provenance"]),
                "index": index_digest(index),
            } | {name: group_digest(group) for name, group in index.groups.items()}
            text = format_manifest(checksums).encode()
            self._put(index.root.arrays["checksums"], 0, np.frombuffer(text, np.uint8))
            self._sync()  # closing reports no error of the disk
            self._close()
            # The sidecar goes first: after a kill between the two, nothing would remove it.
            self._sidecar.unlink(missing_ok=True)
            commit(self._partial, self.path)

    def _close(self) -> None:
        if self._file:
            with suppress(OSError):  # a full disk has been reported already
                self._file.close()

    def _find(self, path: str) -> Extent:
        folder, _, name = path.rpartition("/")
        return (self._index.groups[folder] if folder else self._index.root).arrays[name]

    def _extent(self, layer: str, kind: str) -> Extent:
        return self._index.layers[encode_name(layer)].arrays[kind]

    def _copy(self, extent: Extent, values: np.ndarray | None) -> None:
        """Write a whole array in blocks: images may be a memory map larger than the memory."""
        if values is None or not values.size:
            return
        step = max(1, BLOCK * len(values) // values.nbytes)
        for start in range(0, len(values), step):
            first = start * (values.size // len(values))
            self._put(extent, first, values[start : start + step])

    def _put(self, extent: Extent, first: int, block: np.ndarray) -> None:
        assert self._file is not None, "a writer is used inside its with-block only"
        raw = np.ascontiguousarray(block).reshape(-1).view(np.uint8)
        with self._discard_on_error():
            self._file.seek(extent.offset + first * extent.dtype.itemsize)
            self._file.write(raw.data)
        self._unwritten -= raw.nbytes

    def _narrow(self, layer: str, block: np.ndarray, dtype: np.dtype) -> np.ndarray:
        try:
            with np.errstate(over="raise"):
                return block.astype(dtype, copy=False)
        except FloatingPointError:
            self.discard()
            largest, limit = np.nanmax(np.abs(block[np.isfinite(block)])), np.finfo(dtype).max
            raise UserError(
                f"layer `{layer}` holds a value of {largest:.6g}, and {dtype} ends at {limit:.6g}",
                hint="store it as float32",
            ) from None

    def _sync(self) -> None:
        assert self._file is not None, "a writer is used inside its with-block only"
        self._file.flush()
        getattr(os, "fdatasync", os.fsync)(self._file.fileno())

    def _record(self, rows: int) -> None:
        write_text(self._sidecar, json.dumps({"key": self.key, "rows": rows}))

    @contextmanager
    def _discard_on_error(self) -> Iterator[None]:
        """Leave nothing half-written if the disk refuses; report the bytes needed and free."""
        try:
            yield
        except UserError:
            self.discard()
            raise
        except OSError as error:
            self.discard()
            if error.errno not in DISK_FULL:
                raise cannot_write(self.path, error) from error
            raise UserError(
                f"{self.path} needs {self.size:,} bytes; {free_bytes(self.path):,} are free"
                f" ({error.strerror})",
                hint="free space, choose another disk, or store less: fewer layers, or"
                " --dtype float16",
            ) from error


@contextmanager
def create_store(
    path: Path,
    stimuli: Stimuli,
    provenance: Mapping[str, Any],
    specs: Specs,
    fingerprint: str,
    overwrite: bool = False,
) -> Iterator[Writer]:
    """Yield a writer for the store at `path`, which exists once the block has ended well.

    After a kill or an exception in the block, the written rows stay beside `path`. The next attempt
    with the same fingerprint, stimuli and specs resumes after `writer.rows`, with the provenance of
    the first; any other attempt replaces them. UserError if the path exists, if another process is
    writing it, or if the disk is too small.
    """
    path = Path(path)
    if path.is_dir() or (path.exists() and not overwrite):
        raise UserError(f"{path} exists already", hint="choose another path, or remove it first")
    plan = plan_store(stimuli, specs, provenance)
    make_folder(path.parent)
    with _locked_partial(path):
        writer = Writer(path, plan.nbytes, plan.key(fingerprint))
        try:
            writer._begin(plan)
            yield writer
            writer._finish()
        finally:
            writer._close()


@contextmanager
def _locked_partial(path: Path) -> Iterator[None]:
    """Create the partial file if it is missing, and lock it for a block."""
    try:
        file = partial(path).open("ab")
    except OSError as error:
        raise cannot_write(path, error) from error
    with file, file_lock(file.fileno(), path):
        here = partial(path)
        if not here.exists() or not os.path.samestat(os.fstat(file.fileno()), here.stat()):
            raise in_use(path)  # its owner has just finished and renamed it
        yield


def _reserve(path: Path, size: int) -> None:
    """Take room for `size` bytes where the system can, else check that it is free.

    OSError if it is not.
    """
    if hasattr(os, "posix_fallocate"):
        try:
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, size)
            return
        except OSError as error:
            if error.errno in DISK_FULL:
                raise
    if free_bytes(path) < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
