"""How a store comes to be: laid out at once, filled block by block, and given its name only when it is whole.

h5py does nothing but lay the empty file out. Through h5py a kill leaves "bad object header" and a full disk a
segmentation fault at exit; through a memory map a full disk is a SIGBUS. So the room is taken first, blocks are written
by seek and write to where HDF5 says that the array lies, and a sidecar notes how far the rows are durable.
"""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from rdl_cli.core.errors import UserError
from rdl_cli.core.files import cannot_write, commit, file_lock, in_use, make_folder, write_text
from rdl_cli.store.format import (
    DIGEST,
    Extent,
    StoreIndex,
    array_digest,
    manifest_digest,
    read_index,
)
from rdl_cli.store.layout import (
    PlannedArray,
    Specs,
    encode_name,
    plan_arrays,
    planned_bytes,
    resume_key,
    write_empty,
)
from rdl_cli.store.store import Stimuli, partial

BLOCK = 1 << 24  # bytes copied at a time
DISK_FULL_HINT = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))


def free_bytes(path: Path) -> int:
    """Free bytes on the disk where `path` would lie."""
    folder = Path(path).absolute().parent
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


class Writer:
    """Fills a store in any order. `rows` says how many stimuli an interrupted attempt has already made durable."""

    def __init__(self, path: Path, need: int, key: str):
        self.path, self.need, self.key, self.rows = path, need, key, 0
        self.beside, self.sidecar = (
            partial(path),
            partial(path).with_name(f"{partial(path).name}.json"),
        )
        self._file: BinaryIO | None = None
        self._unwritten = 0
        self._contents = StoreIndex({}, {}, {}, {})

    def write(self, layer: str, start: int, block: np.ndarray, view: int = 0) -> None:
        """Activations of the rows from `start` on, seen in one view. UserError where float16 is too narrow for a value."""
        extent = self._contents.layers[layer]["activations"]
        views, n, *shape = extent.shape
        assert list(block.shape[1:]) == shape, (
            f"{layer} was announced as {shape} per picture, not {list(block.shape[1:])}"
        )
        assert start >= 0 and start + len(block) <= n and 0 <= view < views, (
            f"rows {start}+{len(block)} of view {view} lie outside {layer}"
        )
        self._put(
            extent,
            (view * n + start) * int(np.prod(shape, dtype=int)),
            self._narrowed(layer, block, extent.dtype),
        )

    def write_rdm(self, layer: str, index: int, start: int, values: np.ndarray) -> None:
        """Condensed distances of the `index`-th RDM, from position `start` on."""
        extent = self._contents.layers[layer]["rdm"]
        count, pairs = extent.shape
        assert values.ndim == 1 and start >= 0 and start + len(values) <= pairs, (
            f"{values.shape} from {start} on lies outside {layer}"
        )
        assert 0 <= index < count, f"{layer} was announced with {count} RDMs; there is no {index}"
        self._put(extent, index * pairs + start, self._narrowed(layer, values, extent.dtype))

    def write_kernel(self, layer: str, start: int, values: np.ndarray) -> None:
        """Inner products of the packed kernel, from position `start` on."""
        extent = self._contents.layers[layer]["kernel"]
        assert values.ndim == 1 and start >= 0 and start + len(values) <= extent.shape[0], (
            f"{values.shape} from {start} on lies outside {layer}"
        )
        self._put(extent, start, self._narrowed(layer, values, extent.dtype))

    def checkpoint(self, rows: int) -> None:
        """From here on the first `rows` stimuli survive a kill and a power cut."""
        with self._or_abandon():
            self._sync()
            self._note(self.key, rows)

    def _begin(self, plan: list[PlannedArray], provenance: dict[str, Any]) -> None:
        """Go on with what an interrupted attempt of the same plan left, or lay the file out anew."""
        with self._or_abandon():
            self.beside.touch()
            found = self._interrupted()
            if found is None:
                self.sidecar.unlink(
                    missing_ok=True
                )  # first: it speaks of what is now to be overwritten
                os.truncate(self.beside, 0)
                _reserve(
                    self.beside, self.need
                )  # a full disk is met here, where h5py is not yet involved
                write_empty(self.beside, plan, provenance)
                _reserve(self.beside, self.beside.stat().st_size)
                found = read_index(self.beside)
            self._file = self.beside.open("r+b")
            self._contents = found
            if not self.rows:
                arrays = found.whole | {
                    f"stimuli/{name}": extent for name, extent in found.stimuli.items()
                }
                arrays |= {
                    f"layers/{encode_name(layer)}/{name}": e
                    for layer, group in found.layers.items()
                    for name, e in group.items()
                }
                for planned in plan:
                    self._copy(arrays[planned.place], planned.values)
                self._unwritten = sum(planned.nbytes for planned in plan if planned.values is None)
            self.checkpoint(self.rows)

    def _interrupted(self) -> StoreIndex | None:
        try:
            noted = json.loads(self.sidecar.read_text(encoding="utf-8"))
            if noted["fingerprint"] != self.key:
                return None
            found, self.rows = read_index(self.beside), int(noted["rows"])
        except (OSError, ValueError, KeyError, TypeError, UserError):
            return None
        return found

    def _finish(self) -> None:
        assert self._unwritten <= 0, f"{self._unwritten:,} bytes of {self.path} were never written"
        with self._or_abandon():
            self._sync()
            found = self._contents
            for arrays in (
                found.stimuli,
                *found.layers.values(),
            ):  # read once more: rows came view by view, some before a kill
                self._put(arrays[DIGEST], 0, np.array([array_digest(self.beside, arrays)], "S64"))
            self._put(found.whole[DIGEST], 0, np.array([manifest_digest(found)], "S64"))
            self._sync()  # closing says nothing of a disk that fails
            self._close()
            commit(self.beside, self.path)
            self.sidecar.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._file:
            with suppress(
                OSError
            ):  # on a full disk the buffer can't be emptied, and that has been said
                self._file.close()

    def _copy(self, extent: Extent, values: np.ndarray | None) -> None:
        """All of an array in blocks: the pictures may be a memory map that is larger than the memory."""
        if values is None or not values.size:
            return
        step = max(1, BLOCK * len(values) // values.nbytes)
        for start in range(0, len(values), step):
            self._put(extent, start * (values.size // len(values)), values[start : start + step])

    def _put(self, extent: Extent, first: int, block: np.ndarray) -> None:
        assert self._file is not None, "a writer is used inside its with-block only"
        raw = np.ascontiguousarray(block).reshape(-1).view(np.uint8)
        with self._or_abandon():
            self._file.seek(extent.offset + first * extent.dtype.itemsize)
            self._file.write(raw.data)
        self._unwritten -= raw.nbytes

    def _narrowed(self, layer: str, block: np.ndarray, dtype: np.dtype) -> np.ndarray:
        try:
            with np.errstate(over="raise"):
                return block.astype(dtype, copy=False)
        except FloatingPointError:
            self._abandon()
            largest = np.nanmax(np.abs(block[np.isfinite(block)]))
            fact = f"layer `{layer}` holds a value of {largest:.6g}, and {dtype} ends at {np.finfo(dtype).max:.6g}"
            raise UserError(fact, hint="store it as float32") from None

    def _sync(self) -> None:
        assert self._file is not None, "a writer is used inside its with-block only"
        self._file.flush()
        getattr(os, "fdatasync", os.fsync)(self._file.fileno())

    def _note(self, key: str, rows: int) -> None:
        write_text(self.sidecar, json.dumps({"fingerprint": key, "rows": rows}))

    @contextmanager
    def _or_abandon(self) -> Iterator[None]:
        """A disk that refuses leaves nothing half-written behind, and is reported with the bytes needed and free."""
        try:
            yield
        except UserError:
            self._abandon()
            raise
        except OSError as error:
            self._abandon()
            if error.errno not in DISK_FULL_HINT:
                raise cannot_write(self.path, error) from error
            fact = f"{self.path} needs {self.need:,} bytes; {free_bytes(self.path):,} are free ({error.strerror})"
            hint = (
                "free space, choose another disk, or store less: fewer layers, or --dtype float16"
            )
            raise UserError(fact, hint=hint) from error

    def _abandon(self) -> None:
        self._close()
        self.sidecar.unlink(missing_ok=True)
        self.beside.unlink(missing_ok=True)


@contextmanager
def create_store(
    path: Path,
    stimuli: Stimuli,
    provenance: dict[str, Any],
    specs: Specs,
    fingerprint: str,
    overwrite: bool = False,
) -> Iterator[Writer]:
    """A writer for the store at `path`, which exists when the block has ended well.

    After a kill or any exception in the block, what was written stays beside `path`, and the next attempt with the same
    fingerprint, stimuli and specs goes on after `writer.rows` (keeping the first attempt's provenance); any other attempt
    replaces it. UserError where the path exists, another process is writing it, or the disk is too small.
    """
    path = Path(path)
    if path.is_dir() or (path.exists() and not overwrite):
        raise UserError(f"{path} exists already", hint="choose another path, or remove it first")
    plan = plan_arrays(stimuli, specs)
    make_folder(path.parent)
    with _alone(path):
        writer = Writer(path, planned_bytes(plan), resume_key(fingerprint, plan))
        try:
            writer._begin(plan, provenance)
            yield writer
            writer._finish()
        finally:
            writer._close()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """The partial file is this process's own as long as the block lasts."""
    beside = partial(path)
    try:
        held = beside.open("ab")
    except OSError as error:
        raise cannot_write(path, error) from error
    with held, file_lock(held.fileno(), path):
        if not beside.exists() or not os.path.samestat(os.fstat(held.fileno()), beside.stat()):
            raise in_use(path)  # its owner has just finished and renamed it
        yield


def _reserve(path: Path, size: int) -> None:
    """Take the room for `size` bytes where the system can, else look whether it is there. OSError where it is not."""
    if hasattr(os, "posix_fallocate"):
        try:
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, size)
            return
        except OSError as error:
            if error.errno in DISK_FULL_HINT:
                raise
    if free_bytes(path) < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
