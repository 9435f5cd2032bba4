"""Tell what a file is by its first bytes, and read text, NumPy and HDF5 within safe bounds.

The suffix is no guide (`.mat` is two formats, `.h5` five). Pickles can run any program, so no
parser ever gets one. Errors of a parser become a UserError in `io.child`.
"""

import codecs
import io
import pickle
import re
import stat
import zipfile
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from rdl_cli.core.errors import UserError

Container = Literal["npy", "npz", "torch", "matlab", "hdf5", "json", "text"]

STORE_FORMAT = "rdl-store"
"""The root attribute `format` of our own stores."""

DAMAGED = "the file is damaged or was cut short; fetch or save it again"
CONVERT = (
    "a pickle can run any program when it is opened, so it is never loaded; if you trust it,"
    " convert it once in Python: np.savez('rdms.npz', IT=array) with plain arrays,"
    " or rdms.save('rdms.h5', file_type='hdf5') for rsatoolbox"
)

MAX_RATIO = 2000
"""Values per byte of a file; deflate reaches 1032."""


def detect_container(path: Path) -> Container:
    """Return the container that the bytes show. UserError for a pickle or an unknown file."""
    check_regular(path)
    with path.open("rb") as file:
        head = file.read(4096)
    if not head:
        raise UserError(f"{path} is empty", hint=DAMAGED)
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    if head.startswith(b"PK\x03\x04"):
        return _detect_archive(path)
    if head.startswith((b"MATLAB 5.0", b"MATLAB 7.3")):
        return "matlab"
    if head[0] == 0x80 and head[1:2] <= bytes([pickle.HIGHEST_PROTOCOL]):
        raise UserError(f"{path} is a pickle", hint=CONVERT)
    is_mat = path.suffix.lower() == ".mat"  # version 4 has no signature, 7.3 may have lost its
    if h5py.is_hdf5(path):
        return "matlab" if is_mat else "hdf5"
    if is_mat:
        return "matlab"
    text = read_text(path)
    if "\0" in text:
        raise _unknown_format(path)
    return "json" if text.lstrip()[:1] == "{" else "text"


def check_regular(path: Path) -> None:
    """Raise UserError if a path is missing, unreadable or no regular file (FIFO, device)."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            path.open("rb").close()
    except OSError as error:
        raise UserError(f"{path} could not be opened: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a device or pipe"
        raise UserError(f"{path} is {what}, not a file")


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 with a byte order mark, as of spreadsheets.

    UserError for another encoding.
    """
    check_regular(path)
    data = path.read_bytes()
    marks = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    try:
        return data.decode("utf-16" if data.startswith(marks) else "utf-8-sig")
    except UnicodeDecodeError as error:
        printable = len(re.findall(rb"[ -~]", data))
        if re.search(rb"[\0-\x08\x0e-\x1f]", data) or 2 * printable < len(data):
            raise _unknown_format(path) from error
        raise UserError(
            f"{path} is text in another encoding than UTF-8:"
            f" byte {error.start + 1:,} is {data[error.start]:#04x}",
            hint=f"save it as UTF-8; if it is Latin-1: iconv -f latin1 -t utf-8 {path.name} > NEW",
        ) from error


def find_separator(line: str) -> str | None:
    """Return what separates a line's cells: tab, semicolon or comma; None for spaces.

    A separator within quotes is text.
    """
    unquoted = re.sub(r'"[^"]*"', "", line)
    return next((mark for mark in "\t;," if mark in unquoted), None)


def check_size(name: str, size: int, path: Path) -> None:
    """Raise UserError if an array needs more bytes than a file of this size can hold.

    A damaged or hostile header would otherwise be filled with zeros in memory.
    """
    if size > max(2**20, MAX_RATIO * path.stat().st_size):
        raise UserError(
            f"{path}: {name} claims {size:,} bytes in a file of {path.stat().st_size:,}",
            hint=DAMAGED,
        )


def read_npz(path: Path, container: Container) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the arrays of a .npy (named by the file) or .npz, and the names of pickled objects."""
    if container == "npy":
        members = {path.stem: path.read_bytes()}
    else:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
            check_size("its arrays", sum(entry.file_size for entry in entries), path)
            members = {e.filename.removesuffix(".npy"): archive.read(e) for e in entries}
    arrays: dict[str, np.ndarray] = {}
    objects: list[str] = []
    for name, data in members.items():
        try:
            arrays[name] = np.load(io.BytesIO(data), allow_pickle=False)
        except ValueError as error:
            if "Object arrays" not in str(error):
                raise
            objects.append(name)
    if not arrays:
        raise UserError(f"{path} holds only pickled objects: {', '.join(objects)}", hint=CONVERT)
    return arrays, objects


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file. UserError if a link in it leads to another file."""

    with h5py.File(path, "r") as file:
        if name := file.id.links.visit(_find_external, info=True):
            raise UserError(
                f"{path}: `{to_text(name)}` is a link to another file",
                hint="save a file that holds its own data, for example with h5repack",
            )
        yield file


def read_dataset(dataset: h5py.Dataset) -> Any:
    """Return the values of a dataset. UserError if they are in other files, or too many."""
    path = Path(dataset.file.filename)
    if dataset.shape is None:
        return np.empty(0)
    if dataset.external or dataset.is_virtual:
        raise UserError(
            f"{path}: the values of `{dataset.name}` are in other files",
            hint="save a file that holds its own data",
        )
    check_size(f"`{dataset.name}`", dataset.size * dataset.dtype.itemsize, path)
    return dataset[()]


def unique_names(paths: Collection[tuple[str, ...]]) -> list[str]:
    """Return a name for each path in a tree: its last part, or all parts where that repeats."""
    ends = Counter(path[-1] for path in paths)
    return [path[-1] if ends[path[-1]] == 1 else ".".join(path) for path in paths]


def to_text(value: Any) -> str:
    """Return a string of HDF5, which comes as bytes, str or NumPy's own."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _find_external(name: bytes, info: h5py.h5l.LinkInfo) -> bytes | None:
    """Return the name of a link to another file, which ends a visit of all links."""
    return name if info.type == h5py.h5l.TYPE_EXTERNAL else None


def _detect_archive(path: Path) -> Container:
    with zipfile.ZipFile(path) as archive:
        members = archive.namelist()
    if any(member.endswith("data.pkl") for member in members):
        return "torch"
    if any(member.endswith(".npy") for member in members):
        return "npz"
    raise UserError(
        f"{path} is a zip archive without arrays: {', '.join(members[:5])}",
        hint="unpack it and give its files",
    )


def _unknown_format(path: Path) -> UserError:
    return UserError(
        f"{path} is in no format that is known here",
        hint="known: .npy .npz .csv .tsv .mat .h5 and Meadows .json; text must be UTF-8",
    )
