"""An index of image files: path, size, time, shape and digest, beside their folder.

A set of a million images starts in seconds: only files that are new or changed are opened. Names
are one array of bytes: a million Path objects take 0.5 GB, and every worker process copies them.
"""

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, overload
from zipfile import BadZipFile

import numpy as np

from rdl_cli.core.errors import UserError
from rdl_cli.core.files import atomic_write, file_digest
from rdl_cli.datasets.decoding import Header, read_header
from rdl_cli.datasets.folder_walk import FileEntry

VERSION = 1
INDEX_FROM = 1000
"""Images; smaller folders are read faster than they are worth a file."""

KNOWN = ("width", "height", "grey", "peak", "digest", "hashed")
"""Columns that are taken over for a file whose size and time have not changed."""

COLUMNS = ("size", "mtime", *KNOWN)


class FileIndex:
    """The files of one data set, with what is known of them.

    Args:
        home: their folder.
        entries: the files.
        background: the colour behind transparent pixels, which decides what is grey.
    """

    def __init__(self, home: Path, entries: Sequence[FileEntry], background: str):
        self.home, self.background = home, background
        names = [os.fsencode(entry.name) for entry in entries]
        self._blob = np.frombuffer(b"".join(names), np.uint8)
        self._ends = np.cumsum([len(name) for name in names], dtype=np.int64)
        del names
        n = len(entries)
        self.columns: dict[str, np.ndarray] = {
            "size": np.fromiter((entry.size for entry in entries), np.int64, n),
            "mtime": np.fromiter((entry.mtime for entry in entries), np.int64, n),
            "width": np.zeros(n, np.int32),
            "height": np.zeros(n, np.int32),
            "grey": np.zeros(n, bool),
            "peak": np.zeros(n, np.int32),
            "digest": np.zeros((n, 32), np.uint8),
            "hashed": np.zeros(n, bool),
        }
        self.opened = self._read_headers(self._load())
        """How many files were opened: those that an earlier index does not know."""

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def path(self) -> Path:
        """The file of the index, hidden beside the folder."""
        home = self.home.absolute()
        return home.with_name(f".{home.name}.rdl-index.npz")

    @property
    def nbytes(self) -> int:
        """Bytes in memory, and about as many on disk."""
        columns = sum(column.nbytes for column in self.columns.values())
        return columns + self._blob.nbytes + self._ends.nbytes

    def name(self, row: int) -> str:
        """Return the path of a file relative to the folder."""
        start = self._ends[row - 1] if row else 0
        return os.fsdecode(self._blob[start : self._ends[row]].tobytes())

    def digests(self, rows: np.ndarray) -> np.ndarray:
        """Return the digests of some files' bytes, S64 (n,). UserError if one cannot be read."""
        missing = np.unique(rows[~self.columns["hashed"][rows]])
        for block in _blocks(missing):
            hexadecimal = hash_files([self.home / self.name(row) for row in block.tolist()])
            raw = bytes.fromhex(b"".join(hexadecimal.tolist()).decode())
            self.columns["digest"][block] = np.frombuffer(raw, np.uint8).reshape(-1, 32)
            self.columns["hashed"][block] = True
        if len(missing):
            self._save()
        text = self.columns["digest"][rows].tobytes().hex().encode()
        return np.frombuffer(text, "S64").copy()

    def _read_headers(self, missing: np.ndarray) -> int:
        """Open the files of some rows, and return their number."""

        def read(row: int) -> Header:
            return read_header(self.home / self.name(row), self.background)

        with ThreadPoolExecutor() as threads:
            for block in _blocks(missing):
                headers = list(threads.map(read, block.tolist()))
                for column, values in zip(Header._fields, zip(*headers, strict=True), strict=True):
                    self.columns[column][block] = values
        if len(missing):
            self._save()
        return len(missing)

    def _load(self) -> np.ndarray:
        """Take over an earlier index, and return the rows that it does not know."""
        try:
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                if (
                    int(stored["version"]) != VERSION
                    or str(stored["background"]) != self.background
                ):
                    return np.arange(len(self))
                blob, ends = stored["names"], stored["ends"]
                columns = {name: stored[name] for name in COLUMNS}
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return np.arange(len(self))  # none, or damaged
        if np.array_equal(ends, self._ends) and np.array_equal(blob, self._blob):
            before = np.arange(len(self))
        else:
            rows = {name: row for row, name in enumerate(_split(blob, ends))}
            before = np.array([rows.get(n, -1) for n in _split(self._blob, self._ends)], np.int64)
        same = before >= 0
        for name in ("size", "mtime"):
            same[same] &= columns[name][before[same]] == self.columns[name][same]
        for name in KNOWN:
            self.columns[name][same] = columns[name][before[same]]
        return np.flatnonzero(~same)

    def _save(self) -> None:
        """Write the index if the folder is large; do nothing where that is not allowed."""
        if len(self) < INDEX_FROM or not os.access(self.path.parent, os.W_OK):
            return
        buffer = io.BytesIO()
        np.savez(
            buffer,
            version=VERSION,
            background=self.background,
            names=self._blob,
            ends=self._ends,
            **self.columns,  # type: ignore[arg-type]
        )
        with suppress(UserError):  # a full disk: the index only saves time
            atomic_write(self.path, buffer.getbuffer())


class IndexColumn(Sequence[Any]):
    """Values of some rows of an index, made when they are asked for."""

    def __init__(self, index: FileIndex, rows: np.ndarray):
        self.source, self.rows = index, rows.astype(np.int32, copy=False)

    def __len__(self) -> int:
        return len(self.rows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__} of {len(self):,}"

    def take(self, rows: np.ndarray) -> Any:
        """Return the values of some of these rows."""
        return type(self)(self.source, self.rows[rows])

    def join(self, others: "Sequence[IndexColumn]") -> Any:
        """Return the values of these rows and then of others of the same index."""
        return type(self)(self.source, np.concatenate([self.rows, *(o.rows for o in others)]))


class FileNames(IndexColumn, Sequence[str]):
    """Paths of files relative to their folder."""

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> "FileNames": ...
    def __getitem__(self, row: int | slice) -> "str | FileNames":
        if isinstance(row, slice):
            return FileNames(self.source, self.rows[row])
        return self.source.name(int(self.rows[row]))


class FilePaths(IndexColumn, Sequence[Path]):
    """Paths of files."""

    @overload
    def __getitem__(self, row: int) -> Path: ...
    @overload
    def __getitem__(self, row: slice) -> "FilePaths": ...
    def __getitem__(self, row: int | slice) -> "Path | FilePaths":
        if isinstance(row, slice):
            return FilePaths(self.source, self.rows[row])
        return self.source.home / self.source.name(int(self.rows[row]))

    def digests(self) -> np.ndarray:
        """Return the digest of every file's bytes, S64 (n,)."""
        return self.source.digests(self.rows)


def hash_files(files: Sequence[Path]) -> np.ndarray:
    """Return the digest of every file's bytes, S64 (n,). UserError if one cannot be read."""
    try:
        with ThreadPoolExecutor() as threads:  # hashlib releases the interpreter's lock
            return np.array(list(threads.map(file_digest, files)), dtype="S64")
    except OSError as error:
        raise UserError(f"{error.filename} could not be read: {error.strerror}") from error


def _blocks(rows: np.ndarray, size: int = 10_000) -> list[np.ndarray]:
    """Return the rows in blocks: a million tasks at once take a gigabyte."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _split(blob: np.ndarray, ends: np.ndarray) -> list[bytes]:
    data, starts = blob.tobytes(), [0, *ends[:-1].tolist()]
    return [data[start:end] for start, end in zip(starts, ends.tolist(), strict=True)]
