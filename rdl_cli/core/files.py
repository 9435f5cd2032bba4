"""Write files whole: beside the target, synced to disk, then renamed."""

import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

from rdl_cli.core.errors import UserError

try:
    import fcntl
except ImportError:  # Windows: two writers at once are not noticed there
    fcntl = None  # type: ignore[assignment]

PARTIAL = ".rdl-partial"
"""The suffix of our unfinished files: `.NAME.` + 8 hexadecimal digits + this."""

DISK_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))


def atomic_write(path: Path, data: bytes | bytearray | memoryview) -> None:
    """Write the bytes to `path`, whole or not at all. After a UserError the old file is intact.

    All our files are written here, but stores, which may be larger than memory. Half-written files
    that killed processes left of this path are removed first.
    """
    remove_partials(path)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL}")
    try:
        with partial.open("xb", buffering=0) as file, file_lock(file.fileno(), path):
            view = memoryview(data).cast("B")
            while view:
                view = view[file.write(view) :]
            commit(partial, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            partial.unlink()


def refuse_existing(path: Path) -> None:
    """Raise UserError if there is something at a path that is to be made."""
    if path.exists():
        raise UserError(f"{path} exists already", hint="choose another path, or remove it first")


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8, whole or not at all."""
    atomic_write(path, text.encode("utf-8"))


def remove_partials(path: Path) -> None:
    """Remove what killed processes left of `path`: only files of our naming, and none in use."""
    for partial in path.parent.glob(f".{escape(path.name)}.{'[0-9a-f]' * 8}{PARTIAL}"):
        with (
            suppress(OSError, UserError),
            partial.open("rb") as file,
            file_lock(file.fileno(), partial),
        ):
            partial.unlink()


def commit(partial: Path, path: Path) -> None:
    """Make a file durable, then give it its name."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def make_folder(path: Path) -> None:
    """Create a folder with its parents if missing. UserError if that is impossible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


@contextmanager
def file_lock(descriptor: int, path: Path) -> Iterator[None]:
    """Lock an open file or folder for a block. UserError, which names `path`, if another has it.

    Does nothing on systems without flock and on network disks without locks.
    """
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise in_use(path) from None
        except OSError:
            pass
    try:
        yield
    finally:
        if fcntl is not None:
            with suppress(OSError):  # closing is not enough: forked data loaders hold the file too
                fcntl.flock(descriptor, fcntl.LOCK_UN)


@contextmanager
def locked_folder(path: Path) -> Iterator[None]:
    """Create and lock a folder for a block. UserError if another process has it."""
    make_folder(path)
    if os.name != "posix":  # folders cannot be opened there
        yield
        return
    folder = os.open(path, os.O_RDONLY)
    try:
        with file_lock(folder, path):
            yield
    finally:
        os.close(folder)


def in_use(path: Path) -> UserError:
    """Return the error of two processes that write the same file."""
    return UserError(
        f"{path} is being written by another process",
        hint="wait until it ends, or choose another path",
    )


def is_free(path: Path) -> bool:
    """Return whether there is nothing at the path, or an empty folder."""
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))


def cannot_write(path: Path, error: OSError) -> UserError:
    """Return the error of a full disk or a folder without permission."""
    return UserError(
        f"{path} could not be written: {error.strerror or error}",
        hint="nothing was left half-written; free space or choose another path",
    )


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(url: str, path: Path, digest: str) -> None:
    """Fetch the file at `url` to `path` if it has this SHA-256. UserError otherwise."""
    # these two take longer to import than all else in this file
    from http.client import HTTPException
    from urllib.request import urlopen

    by_hand = f"fetch it in another way to {path}, or pass its folder with --data-root"
    try:
        with urlopen(url, timeout=30) as answer:
            data = answer.read()
    except (OSError, HTTPException) as error:  # URLError is an OSError
        raise UserError(f"{url} could not be downloaded: {error}", hint=by_hand) from error
    if (actual := hashlib.sha256(data).hexdigest()) != digest:
        raise UserError(
            f"{url} returned another file: {len(data):,} bytes of SHA-256 {actual};"
            f" expected {digest}",
            hint=by_hand,
        )
    make_folder(path.parent)
    atomic_write(path, data)
