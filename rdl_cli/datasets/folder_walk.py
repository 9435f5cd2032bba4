"""List the image files below a folder, and count what is left out."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from rdl_cli.core.errors import UserError

SYSTEM_FOLDERS = ("__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found")
"""Folders of copies and thumbnails, by archives of macOS, and by network storage."""

LeftOut = Counter[str]
"""How many of each kind were left out."""


Identity = tuple[int, int]
"""Device and inode: equal for two paths of one folder."""


class FileEntry(NamedTuple):
    """An image file: its path relative to the folder, its size in bytes and its time in ns."""

    name: str
    size: int
    mtime: int


def describe_left_out(left_out: LeftOut) -> str:
    """Return in words what was left out, "" for nothing.

    >>> describe_left_out(Counter({"hidden files": 1, "files that are not images": 2}))
    'left out: 2 files that are not images, 1 hidden files'
    """
    if not left_out:
        return ""
    return "left out: " + ", ".join(f"{count:,} {kind}" for kind, count in sorted(left_out.items()))


def list_folders(home: Path, left_out: LeftOut) -> list[str]:
    """Return the names of the visible folders in a folder, in natural order."""
    above = _identify_above(home)
    folders = [entry for entry in _scan(home) if entry.is_dir()]
    return natural_sort(e.name for e in folders if not _is_left_out(e, above, left_out))


def list_images(home: Path, folder: str, left_out: LeftOut, deep: bool = True) -> list[FileEntry]:
    """Return the image files below `home/folder` in natural order, names relative to `home`.

    Links are followed, but not those to a folder above: they would give every image all classes, or
    never end. Without `deep`, only files in the folder
    itself are listed.
    """
    above = _identify_above(home) | {_identify(home / folder)}
    entries = {entry.name: entry for entry in _walk(home / folder, folder, above, left_out, deep)}
    return [entries[name] for name in natural_sort(entries)]


def _walk(
    path: Path, prefix: str, above: frozenset[Identity], left_out: LeftOut, deep: bool
) -> Iterator[FileEntry]:
    for entry in _scan(path):
        name = f"{prefix}/{entry.name}" if prefix else entry.name
        if entry.is_dir():
            if deep and not _is_left_out(entry, above, left_out):
                here = Path(entry.path)
                yield from _walk(here, name, above | {_identify(here)}, left_out, deep)
        elif entry.name.startswith("."):
            left_out["hidden files"] += 1
        elif not is_image_name(entry.name) or not entry.is_file():
            left_out["files that are not images"] += 1
        else:
            status = entry.stat()
            yield FileEntry(name, status.st_size, status.st_mtime_ns)


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise UserError(f"{folder} could not be read: {error.strerror}") from error


def _is_left_out(entry: os.DirEntry[str], above: frozenset[Identity], left_out: LeftOut) -> bool:
    """Return True for hidden folders, those of the system, and links to a folder above."""
    if entry.name in SYSTEM_FOLDERS:
        left_out[f"folders {entry.name}"] += 1
    elif entry.name.startswith("."):
        left_out["hidden folders"] += 1
    elif entry.is_symlink() and _identify(Path(entry.path)) in above:
        left_out["links to a folder above"] += 1
    else:
        return False
    return True


def _identify_above(folder: Path) -> frozenset[Identity]:
    """Return the identities of a folder and of all folders that it is in."""
    home = folder.resolve()
    return frozenset(_identify(path) for path in (home, *home.parents))


def _identify(folder: Path) -> Identity:
    status = folder.stat()
    return status.st_dev, status.st_ino


def natural_sort(names: Iterable[str]) -> list[str]:
    """Return names in alphabetical order, but numbers by value: 2.png before 10.png."""

    def key(name: str) -> tuple[list[int | str], str]:
        parts = re.split(r"(\d+)", name)
        return [int(part) if part.isdecimal() else part.casefold() for part in parts], name

    return sorted(names, key=key)


def is_image_name(name: str) -> bool:
    """Return True for a name with a suffix that Pillow reads."""
    return os.path.splitext(name)[1].lower() in _suffixes()  # noqa: PTH122 - of millions


@cache
def _suffixes() -> set[str]:
    stubs = {"BUFR", "GRIB", "HDF5", "MPEG"}  # formats that Pillow identifies but cannot read
    suffixes = Image.registered_extensions()  # loads all readers
    return {suffix for suffix, kind in suffixes.items() if kind in Image.OPEN.keys() - stubs}
