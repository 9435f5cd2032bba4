"""What the HDF5 part of a store says: which arrays it holds, where they lie, and the digests by which damage is noticed."""

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from rdl_cli.core.errors import UserError
from rdl_cli.io.file_types import STORE_FORMAT

VERSION = 1
DIGEST = "sha256"
KINDS = {"activations": "activations", "kernel": "kernels", "rdm": "RDMs"}
"""What can be stored of a layer → what a person calls it."""
RECOPY_HINT = "copy it again from where it was whole, or remove it and make it again"


class Extent(NamedTuple):
    """Where an array lies in the file, and what is noted on it."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype
    attrs: dict[str, Any]

    def read(self, path: Path) -> np.ndarray:
        """The array as a private memory map: nothing is read before it is touched, and nothing written to it reaches the file."""
        if (
            math.prod(self.shape) == 0
        ):  # an empty map is an error; the RDM of a single stimulus has no pair
            return np.empty(self.shape, self.dtype)
        return np.memmap(path, self.dtype, "c", self.offset, self.shape)


class StoreIndex(NamedTuple):
    """Extents by name on disk, layers by true name in the order of their making; `whole` is the digest of all, where there is one."""

    provenance: dict[str, Any]
    stimuli: dict[str, Extent]
    layers: dict[str, dict[str, Extent]]
    whole: dict[str, Extent]


def read_index(path: Path) -> StoreIndex:
    """What the HDF5 part of a file says; UserError where the file is not a whole store of this version."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise UserError(
            f"{path} could not be read: {error.strerror}", hint="a store is one file, not a folder"
        ) from error
    if start != b"\x89HDF\r\n\x1a\n":
        raise UserError(
            f"{path} is not an HDF5 file",
            hint="a store is made by rdl export-rdms or rdl import-rdms",
        )
    try:
        with h5py.File(
            path, "r", locking=False
        ) as file:  # a store never changes; locks fail on some network disks
            if file.attrs.get("format") != STORE_FORMAT:
                raise UserError(
                    f"{path} is an HDF5 file but not a store",
                    hint="if it holds RDMs: rdl import-rdms makes a store of it",
                )
            if file.attrs.get("version") != VERSION:
                fact = f"{path} is a store of version {file.attrs.get('version')}; this rdl reads version {VERSION}"
                raise UserError(
                    fact, hint="make it again with this rdl, or read it with the rdl that made it"
                )
            return _contents(path, file)
    except UserError:
        raise
    except Exception as error:  # h5py raises whatever comes of a flipped bit: an array has become a group, a name is no text
        if shorter := re.search(r"truncated file.*stored_eof = (\d+)", str(error)):
            fact = (
                f"{path} is truncated: it has {path.stat().st_size:,} of {int(shorter[1]):,} bytes"
            )
            raise UserError(fact, hint=RECOPY_HINT) from error
        raise UserError(f"{path} is damaged: {error}", hint=RECOPY_HINT) from error


def array_digest(path: Path, arrays: dict[str, Extent]) -> str:
    """SHA-256 of the arrays of a layer, or of the list of stimuli: names, shapes, types, attributes and bytes.

    Pictures are not among them, they have digests of their own.
    """
    found = hashlib.sha256()
    for name, extent in sorted(arrays.items()):
        if name not in (DIGEST, "images"):
            found.update(_described(name, extent).encode())
            found.update(extent.read(path).reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def manifest_digest(found: StoreIndex) -> str:
    """SHA-256 of the provenance, and of which arrays there are and what is noted on each: of all that the others leave out."""
    groups = {"stimuli": found.stimuli} | {
        f"layers/{layer}": arrays for layer, arrays in found.layers.items()
    }
    listed = [
        [name, *(_described(*each) for each in sorted(arrays.items()))]
        for name, arrays in groups.items()
    ]
    return hashlib.sha256(
        json.dumps([VERSION, found.provenance, listed], sort_keys=True).encode()
    ).hexdigest()


def stored_digest(path: Path, arrays: dict[str, Extent]) -> str:
    """The digest that was taken when the arrays were written; empty for those of an older store."""
    return arrays[DIGEST].read(path)[0].decode("ascii", "replace") if DIGEST in arrays else ""


def _described(name: str, extent: Extent) -> str:
    return json.dumps(
        [name, extent.shape, extent.dtype.str, extent.attrs], sort_keys=True, default=repr
    )


def primary_array(arrays: dict[str, Extent]) -> Extent:
    """The array by which a layer is known."""
    return next(arrays[kind] for kind in KINDS if kind in arrays)


def _contents(path: Path, file: h5py.File) -> StoreIndex:
    stimuli = _extents(path, file["stimuli"])
    n = stimuli["digest"].shape[0]
    layers: dict[str, dict[str, Extent]] = {}
    for group in file["layers"].values():
        arrays = _extents(path, group)
        for kind, axis, length in (
            ("activations", 1, n),
            ("rdm", 1, n * (n - 1) // 2),
            ("kernel", 0, n * (n + 1) // 2),
        ):
            if kind in arrays and arrays[kind].shape[axis : axis + 1] != (length,):
                raise ValueError(
                    f"{group.name}/{kind} has shape {arrays[kind].shape}, which does not fit {n:,} stimuli"
                )
        if not KINDS.keys() & arrays.keys():
            raise ValueError(f"{group.name} holds none of {', '.join(KINDS)}")
        layers[primary_array(arrays).attrs["name"]] = arrays
    whole = {DIGEST: _extent(path, file[DIGEST])} if DIGEST in file else {}
    return StoreIndex(json.loads(file.attrs["provenance"]), stimuli, layers, whole)


def _extents(path: Path, group: h5py.Group) -> dict[str, Extent]:
    return {
        str(name): _extent(path, dataset) for name, dataset in group.items()
    }  # a name with a flipped bit comes as bytes


def _extent(path: Path, dataset: h5py.Dataset) -> Extent:
    offset, dtype = dataset.id.get_offset(), np.dtype(dataset.dtype)
    if offset is None and dataset.size:
        fact = f"{path} has been rewritten: {dataset.name} is stored in chunks"
        raise UserError(fact, hint="undo it: h5repack -l CONTI -f NONE OLD NEW")
    end = (offset or 0) + math.prod(dataset.shape) * dtype.itemsize
    if dtype.hasobject or end > path.stat().st_size:
        raise ValueError(f"{dataset.name} is of {dtype} and would end at byte {end:,}")
    return Extent(
        offset or 0,
        dataset.shape,
        dtype,
        {str(key): _plain(value) for key, value in dataset.attrs.items()},
    )


def _plain(value: Any) -> Any:
    """An attribute as Python has it: a number, a text or a tuple of them."""
    if isinstance(value, np.ndarray):
        return tuple(value.tolist())
    return value.item() if isinstance(value, np.generic) else value
