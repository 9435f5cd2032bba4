"""A file exists only when it is whole: written beside itself, fsynced, renamed."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rdl_cli.core.errors import UserError

try:
    import fcntl
except ImportError:  # Windows: two writers at once are not noticed there
    fcntl = None  # type: ignore[assignment]

PART = ".part"


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which becomes `path` when the block ends well and disappears when it does not."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=PART, dir=path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        commit(beside, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        beside.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """A folder at the path, with those above it, where there is none yet. UserError where there can't be one."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


@contextmanager
def file_lock(opened: int, path: Path) -> Iterator[None]:
    """A block during which an open file or folder is this process's own. UserError, which names `path`, where another has it.

    Nothing to do where the system has no flock, or a network disk no locks.
    """
    if fcntl is not None:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise in_use(path) from None
        except OSError:
            pass
    try:
        yield
    finally:
        if fcntl is not None:
            with suppress(OSError):
                fcntl.flock(
                    opened, fcntl.LOCK_UN
                )  # closing is not enough: forked data loaders hold the file as well


@contextmanager
def locked_folder(path: Path) -> Iterator[None]:
    """A folder at the path that is this process's own as long as the block lasts. UserError where another process has it."""
    make_folder(path)
    if os.name != "posix":  # where folders can't be opened
        yield
        return
    folder = os.open(path, os.O_RDONLY)
    try:
        with file_lock(folder, path):
            yield
    finally:
        os.close(folder)


def in_use(path: Path) -> UserError:
    """The error of two processes that want to write the same."""
    return UserError(
        f"{path} is being written by another process",
        hint="wait until it ends, or choose another path",
    )


def is_free(path: Path) -> bool:
    """Whether nothing lies at the path, or an empty folder."""
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))


def remove_partials(folder: Path) -> None:
    """Remove what killed processes left in a folder of the files that they were writing there."""
    for left in folder.glob(f".*{PART}"):
        left.unlink(missing_ok=True)


def commit(beside: Path, path: Path) -> None:
    """Make what was written durable, then give it its name."""
    umask = os.umask(0)
    os.umask(umask)
    beside.chmod(0o666 & ~umask)  # mkstemp's 0600 would keep the file from the user's group
    with beside.open("rb") as file:
        os.fsync(file.fileno())
    beside.replace(path)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_text(path: Path, text: str) -> None:
    with atomic_write(path) as beside:
        beside.write_text(text, encoding="utf-8")


def cannot_write(path: Path, error: OSError) -> UserError:
    """The error of a disk that is full or a folder that is not ours."""
    return UserError(
        f"{path} could not be written: {error.strerror or error}",
        hint="nothing was left half-written; free space or choose another path",
    )


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(url: str, path: Path, digest: str) -> None:
    """The file at `url`, kept at `path` where it has this SHA-256, and only then. UserError where it can't be fetched or is another."""
    from http.client import (
        HTTPException,  # these two take longer to import than all else in this file
    )
    from urllib.request import urlopen

    by_hand = f"fetch it in another way and put it at {path}, or say with --data-root where it lies"
    try:
        with urlopen(url, timeout=30) as answer:
            data = answer.read()
    except (OSError, HTTPException) as error:  # URLError is an OSError
        raise UserError(f"{url} could not be downloaded: {error}", hint=by_hand) from error
    if (found := hashlib.sha256(data).hexdigest()) != digest:
        raise UserError(
            f"{url} gave another file: {len(data):,} bytes of SHA-256 {found}, expected was {digest}",
            hint=by_hand,
        )
    make_folder(path.parent)
    with atomic_write(path) as beside:
        beside.write_bytes(data)
