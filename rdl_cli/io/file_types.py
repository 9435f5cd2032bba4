"""What a foreign file is made of, told by its first bytes, and its parsers held on a leash.

A suffix lies (`.mat` is two formats, `.h5` five), the first bytes do not. Whatever a parser raises about a damaged file
becomes a UserError here, and nothing that could run code (pickle) is ever given to a parser.
"""

import codecs
import io
import pickle
import re
import warnings
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
"""The root attribute `format` of a store of our own."""
DAMAGED = "the file is damaged or was cut short; fetch or save it again"
CONVERT = (
    "a pickle can run any program when it is opened, so it is never loaded; where you trust it, convert it once in Python: "
    "np.savez('rdms.npz', IT=array) with plain arrays, or rdms.save('rdms.h5', file_type='hdf5') for rsatoolbox"
)


def detect_container(path: Path) -> Container:
    """The container that the file's bytes show; UserError for a pickle, an empty file and anything unknown."""
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise UserError(f"{path} could not be opened: {error.strerror}") from error
    if not head:
        raise UserError(f"{path} is empty", hint=DAMAGED)
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    if head.startswith(b"PK\x03\x04"):
        with parser_errors(path, "zip archive"), zipfile.ZipFile(path) as archive:
            members = archive.namelist()
        if any(m.endswith("data.pkl") for m in members):
            return "torch"
        if any(m.endswith(".npy") for m in members):
            return "npz"
        raise UserError(
            f"{path} is a zip archive without arrays: {', '.join(members[:5])}",
            hint="unpack it and give its files",
        )
    if head.startswith((b"MATLAB 5.0", b"MATLAB 7.3")):
        return "matlab"
    if head[0] == 0x80 and head[1:2] <= bytes([pickle.HIGHEST_PROTOCOL]):
        raise UserError(f"{path} is a pickle", hint=CONVERT)
    if h5py.is_hdf5(path):
        return "hdf5"
    if path.suffix == ".mat":
        return "matlab"  # version 4 has no signature
    to_text = read_text(path)
    if "\0" in to_text:
        raise _no_format(path)
    return "json" if to_text.lstrip()[:1] == "{" else "text"


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 where its first bytes say so, as spreadsheets save it. UserError for another encoding."""
    data = path.read_bytes()
    try:
        return data.decode(
            "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
        )
    except UnicodeDecodeError as error:
        if re.search(rb"[\0-\x08\x0e-\x1f]", data) or 2 * len(re.findall(rb"[ -~]", data)) < len(
            data
        ):
            raise _no_format(path) from error
        raise UserError(
            f"{path} is text in another encoding than UTF-8: byte {error.start + 1:,} is {data[error.start]:#04x}",
            hint=f"save it as UTF-8; if it is Latin-1: iconv -f latin1 -t utf-8 {path.name} > NEW",
        ) from error


def find_separator(line: str) -> str | None:
    """What keeps the cells of a table's line apart: tab, semicolon or comma; None where spaces do. Within quotes each is text."""
    outside = re.sub(r'"[^"]*"', "", line)
    return next((mark for mark in "\t;," if mark in outside), None)


def _no_format(path: Path) -> UserError:
    return UserError(
        f"{path} is in no format that is known here",
        hint="known: .npy .npz .csv .tsv .mat .h5 and Meadows .json; text must be UTF-8",
    )


@contextmanager
def parser_errors(path: Path, what: str) -> Iterator[None]:
    """A block in which every error is the file's: it comes out as a UserError that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "error"
            )  # scipy warns of an unreadable variable and hands its error text on as the value
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    except UserError:
        raise
    except Exception as error:
        said = str(error).strip().split("\n")[0][:200]
        raise UserError(
            f"{path} could not be read as {what}: {type(error).__name__}{': ' + said if said else ''}",
            hint=DAMAGED,
        ) from error


def read_npz(path: Path, container: Container) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays of a .npy (named by the file) or .npz, and the names of those skipped because they are pickled objects."""
    arrays: dict[str, np.ndarray] = {}
    objects: list[str] = []
    with parser_errors(path, "NumPy file"):
        if container == "npy":
            members = {path.stem: path.read_bytes()}
        else:
            with zipfile.ZipFile(path) as archive:
                members = {
                    m.removesuffix(".npy"): archive.read(m)
                    for m in archive.namelist()
                    if m.endswith(".npy")
                }
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
    with parser_errors(path, "HDF5"), h5py.File(path, "r") as file:
        yield file


def read_dataset(dataset: h5py.Dataset) -> Any:
    """The values of a dataset. ValueError where a damaged header claims more than the file could hold."""
    if dataset.shape is None:
        return np.empty(0)
    size = dataset.size * dataset.dtype.itemsize
    there = Path(dataset.file.filename).stat().st_size
    if size > max(
        2**20, 2000 * there
    ):  # deflate packs 1032 : 1 at most; what is missing would be filled with zeros in memory
        raise ValueError(f"{dataset.name} claims {size:,} bytes in a file of {there:,}")
    return dataset[()]


def unique_names(paths: Collection[tuple[str, ...]]) -> list[str]:
    """What the variables at these places of a tree are called: by their own names, or with all above them where two would be alike."""
    ends = Counter(path[-1] for path in paths)
    return [path[-1] if ends[path[-1]] == 1 else ".".join(path) for path in paths]


def to_text(value: Any) -> str:
    """A string of HDF5, which comes as bytes, str or NumPy's own."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
