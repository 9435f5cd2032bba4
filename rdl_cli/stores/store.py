"""What is known of a teacher, in one HDF5 file that any HDF5 reader opens: its stimuli, activations, RDMs and kernels.

    /                        attrs: format, version, provenance (JSON)
    /stimuli/                digest [n] · name [n] · label [n] · images [n,c,h,w] uint8 · sha256 [1] of the first three
    /layers/NAME/activations [views,n,...]     attrs: name, views, and what the writer adds (projection and its distortion)
    /layers/NAME/rdm         [k, n(n-1)/2]     attrs: name, distance, region, unit; beside it subject, session, time [k]
    /layers/NAME/kernel      [n(n+1)/2]        attrs: name, distance, units; inner products, the upper triangle with its diagonal by rows
    /layers/NAME/sha256      [1]               of all of the layer, see `digest_of`

NAME is percent-encoded ("." and "/" are not safe in HDF5), the attribute `name` holds the truth. NaN is not measured.
Numbers are compared with their digest before they are handed out, a layer once: 0.7 s for 1 GB, in which a flipped bit
would teach, or be compared, as if the teacher had said so. Pictures are compared with `digest`.
Every array lies in one piece, so HDF5 only says where, and a memory map reads: gathering a batch takes 0.1 ms warm
against 1.6 ms through h5py. How the file is written stands in writer.py.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from rdl_cli.core.errors import UserError, unknown
from rdl_cli.core.pixels import picture_digests

FORMAT, VERSION = "rdl-store", 1
DIGEST = "sha256"
KINDS = {"activations": "activations", "kernel": "kernels", "rdm": "RDMs"}
"""What can be stored of a layer → what a person calls it."""
AGAIN = "copy it again from where it was whole, or remove it and make it again"


class Stimuli(NamedTuple):
    """One row per picture. `digests` S64 (n,), empty where only the name of a picture is known; `images` may be a memory map."""

    digests: np.ndarray
    names: np.ndarray | None = None
    labels: np.ndarray | None = None
    images: np.ndarray | None = None


class RdmStack(NamedTuple):
    """The RDMs of a layer or region: `values` (k, n(n-1)/2) in SciPy's condensed order, and of whom and when each is.

    `unit` is that of the values. `subject` and `session` are "" and `time` is NaN where the source does not say.
    """

    values: np.ndarray
    distance: str
    region: str
    unit: str
    subject: tuple[str, ...]
    session: tuple[str, ...]
    time: tuple[float, ...]


class StoredKernel(NamedTuple):
    """The inner products of a layer's activations as they are, over so many units: `values` (n(n+1)/2,), see `geometry.kernels.among`.

    `distance` is noted for those who make distances of them.
    """

    values: np.ndarray
    distance: str
    units: int


class Extent(NamedTuple):
    """Where an array lies in the file, and what is noted on it."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype
    attrs: dict[str, Any]

    def read(self, path: Path) -> np.ndarray:
        """The array as a private memory map: nothing is read before it is touched, and nothing written to it reaches the file."""
        if math.prod(self.shape) == 0:  # an empty map is an error; the RDM of a single stimulus has no pair
            return np.empty(self.shape, self.dtype)
        return np.memmap(path, self.dtype, "c", self.offset, self.shape)


class Contents(NamedTuple):
    """What a store's HDF5 part says: extents by name on disk, layers by true name in the order of their making."""

    provenance: dict[str, Any]
    stimuli: dict[str, Extent]
    layers: dict[str, dict[str, Extent]]


@dataclass(frozen=True, eq=False)
class Store:
    """A finished store, its arrays as memory maps. It holds no open file, so it can be handed to other processes."""

    path: Path
    provenance: dict[str, Any]
    stimuli: Stimuli
    _about_stimuli: dict[str, Extent]
    _layers: dict[str, dict[str, Extent]]
    _checked: set[str] = field(default_factory=set)

    @classmethod
    def open(cls, path: Path) -> "Store":
        """The store at `path`. UserError where there is none, or where it is unfinished, foreign, of another version or damaged."""
        path = Path(path)
        if not path.exists():
            if partial(path).exists():
                raise UserError(
                    f"the store {path} was never finished", hint="run the command that makes it again; it goes on where it stopped"
                )
            raise UserError(f"there is no store at {path}", hint="make one: rdl export-rdms, or rdl import-rdms for RDMs of a brain")
        found = contents(path)
        if not _as_written(path, found.stimuli):
            raise UserError(f"{path} is damaged: the list of its stimuli is not what was written", hint=AGAIN)
        arrays = {name: extent.read(path) for name, extent in found.stimuli.items()}
        names = np.char.decode(arrays["name"], "utf-8") if "name" in arrays else None
        stimuli = Stimuli(np.array(arrays["digest"]), names, np.array(arrays["label"]) if "label" in arrays else None, arrays.get("images"))
        return cls(path, found.provenance, stimuli, found.stimuli, found.layers)

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(self._layers)

    def has_activations(self, layer: str) -> bool:
        return "activations" in self._layer(layer)

    def has_rdm(self, layer: str) -> bool:
        return "rdm" in self._layer(layer)

    def has_kernel(self, layer: str) -> bool:
        return "kernel" in self._layer(layer)

    def extent(self, layer: str) -> Extent:
        """The shape, width and attributes of a layer's activations, or of its kernel or RDMs where it has none, unread."""
        return _main(self._layer(layer))

    def rdms(self, layer: str) -> int:
        """How many RDMs of a layer are held."""
        found = self._layer(layer)
        return found["rdm"].shape[0] if "rdm" in found else 0

    def activations(self, layer: str) -> np.ndarray:
        """Activations (views, n, ...). UserError where the layer holds RDMs only, or is damaged."""
        extent = self._holding(layer, "activations")
        self._check(layer)
        return extent.read(self.path)

    def views(self, layer: str) -> tuple[str, ...]:
        """The views of every picture whose activations are held, in the order of the first axis."""
        return self._holding(layer, "activations").attrs["views"]

    def rdm(self, layer: str) -> RdmStack:
        """The layer's stored RDMs. UserError where it holds none, or is damaged."""
        self._holding(layer, "rdm")
        self._check(layer)
        found = self._layer(layer)
        about, count = found["rdm"].attrs, found["rdm"].shape[0]
        who = {
            key: tuple(np.char.decode(found[key].read(self.path), "utf-8").tolist()) if key in found else ("",) * count
            for key in ("subject", "session")
        }
        time = tuple(found["time"].read(self.path).tolist()) if "time" in found else (math.nan,) * count
        values = found["rdm"].read(self.path)
        return RdmStack(values, about["distance"], about["region"], about["unit"], who["subject"], who["session"], time)

    def kernel(self, layer: str) -> StoredKernel:
        """The layer's stored kernel. UserError where it holds none, or is damaged."""
        extent = self._holding(layer, "kernel")
        self._check(layer)
        return StoredKernel(extent.read(self.path), extent.attrs["distance"], extent.attrs["units"])

    def attrs(self, layer: str) -> dict[str, Any]:
        """What is noted on the layer: views, projection and its distortion; distance, region and unit of its RDMs; units of its kernel."""
        found = self._layer(layer)
        return {key: value for array in ("rdm", "kernel", "activations") if array in found for key, value in found[array].attrs.items()}

    def pictures(self, rows: Any = slice(None)) -> np.ndarray:
        """Some of the stimuli's pictures, uint8 (n, c, h, w). UserError where a picture is not the one of its digest."""
        assert self.stimuli.images is not None, f"{self.path} holds no pictures"
        found = np.array(self.stimuli.images[rows])
        if bad := int((picture_digests(found) != self.stimuli.digests[rows]).sum()):
            raise UserError(f"{self.path} is damaged: {bad:,} of {len(found):,} pictures are not those of their digests", hint=AGAIN)
        return found

    def verify(self) -> tuple[str, ...]:
        """Read every number. UserError where one is not what was written; the layers of which nothing is known, for they are older."""
        for layer in self.layers:
            self._check(layer)
        if self.stimuli.images is not None:
            for start in range(0, len(self.stimuli.digests), 1000):
                self.pictures(slice(start, start + 1000))
        return tuple(layer for layer, arrays in self._layers.items() if DIGEST not in arrays)

    def _check(self, layer: str) -> None:
        if layer not in self._checked and not _as_written(self.path, self._layers[layer]):
            raise UserError(f"{self.path} is damaged: layer `{layer}` is not what was written", hint=AGAIN)
        self._checked.add(layer)

    def _layer(self, layer: str) -> dict[str, Extent]:
        if layer not in self._layers:
            raise unknown("layer", layer, self._layers, hint=f"{self.path} holds: {', '.join(self._layers)}")
        return self._layers[layer]

    def _holding(self, layer: str, kind: str) -> Extent:
        found = self._layer(layer)
        if kind not in found:
            held = " and ".join(said for each, said in KINDS.items() if each in found)
            raise UserError(f"layer `{layer}` of {self.path} holds {held}, no {KINDS[kind]}", hint=f"export it again with --as {kind}")
        return found[kind]


def _main(arrays: dict[str, Extent]) -> Extent:
    """The array by which a layer is known."""
    return next(arrays[kind] for kind in KINDS if kind in arrays)


def fingerprint(store: Store, layers: Iterable[str] = ()) -> str:
    """SHA-256 of some layers, or of all, and of the list of stimuli; a copy has the same, and so has a store with more layers.

    It is that of the digests that stand in the store, so nothing large is read; of an older store, which has none, they
    are taken now.
    """
    held = {layer: store._layer(layer) for layer in layers} or store._layers
    digests = [[layer, _recorded(store.path, arrays) or digest_of(store.path, arrays)] for layer, arrays in sorted(held.items())]
    stimuli = _recorded(store.path, store._about_stimuli) or digest_of(store.path, store._about_stimuli)
    return hashlib.sha256(json.dumps([VERSION, stimuli, digests]).encode()).hexdigest()


def digest_of(path: Path, arrays: dict[str, Extent]) -> str:
    """SHA-256 of the arrays of a layer, or of the list of stimuli: names, shapes, types, attributes and bytes.

    Pictures are not among them, they have digests of their own.
    """
    whole = hashlib.sha256()
    for name, extent in sorted(arrays.items()):
        if name not in (DIGEST, "images"):
            whole.update(json.dumps([name, extent.shape, extent.dtype.str, extent.attrs], sort_keys=True, default=repr).encode())
            whole.update(extent.read(path).reshape(-1).view(np.uint8).data)
    return whole.hexdigest()


def _recorded(path: Path, arrays: dict[str, Extent]) -> str:
    """The digest that was taken when the arrays were written; empty for those of an older store."""
    return arrays[DIGEST].read(path)[0].decode("ascii", "replace") if DIGEST in arrays else ""


def _as_written(path: Path, arrays: dict[str, Extent]) -> bool:
    return DIGEST not in arrays or _recorded(path, arrays) == digest_of(path, arrays)


def partial(path: Path) -> Path:
    """Where a store lies until it is whole."""
    return path.with_name(f".{path.name}.partial")


def contents(path: Path) -> Contents:
    """What the HDF5 part of a file says; UserError where the file is not a whole store of this version."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise UserError(f"{path} could not be read: {error.strerror}", hint="a store is one file, not a folder") from error
    if start != b"\x89HDF\r\n\x1a\n":
        raise UserError(f"{path} is not an HDF5 file", hint="a store is made by rdl export-rdms or rdl import-rdms")
    again = "copy it again from where it was whole, or make it again"
    try:
        with h5py.File(path, "r", locking=False) as file:  # a store never changes; locks fail on some network disks
            if file.attrs.get("format") != FORMAT:
                raise UserError(f"{path} is an HDF5 file but not a store", hint="if it holds RDMs: rdl import-rdms makes a store of it")
            if file.attrs.get("version") != VERSION:
                fact = f"{path} is a store of version {file.attrs.get('version')}; this rdl reads version {VERSION}"
                raise UserError(fact, hint="make it again with this rdl, or read it with the rdl that made it")
            return _contents(path, file)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        if shorter := re.search(r"truncated file.*stored_eof = (\d+)", str(error)):
            fact = f"{path} is truncated: it has {path.stat().st_size:,} of {int(shorter[1]):,} bytes"
            raise UserError(fact, hint=again) from error
        raise UserError(f"{path} is damaged: {error}", hint=again) from error


def _contents(path: Path, file: h5py.File) -> Contents:
    stimuli = {name: _extent(path, dataset) for name, dataset in file["stimuli"].items()}
    n = stimuli["digest"].shape[0]
    layers: dict[str, dict[str, Extent]] = {}
    for group in file["layers"].values():
        arrays = {name: _extent(path, dataset) for name, dataset in group.items()}
        for kind, axis, length in (("activations", 1, n), ("rdm", 1, n * (n - 1) // 2), ("kernel", 0, n * (n + 1) // 2)):
            if kind in arrays and arrays[kind].shape[axis : axis + 1] != (length,):
                raise ValueError(f"{group.name}/{kind} has shape {arrays[kind].shape}, which does not fit {n:,} stimuli")
        if not KINDS.keys() & arrays.keys():
            raise ValueError(f"{group.name} holds none of {', '.join(KINDS)}")
        layers[_main(arrays).attrs["name"]] = arrays
    return Contents(json.loads(file.attrs["provenance"]), stimuli, layers)


def _extent(path: Path, dataset: h5py.Dataset) -> Extent:
    offset = dataset.id.get_offset()
    if offset is None and dataset.size:
        fact = f"{path} has been rewritten: {dataset.name} is stored in chunks"
        raise UserError(fact, hint="undo it: h5repack -l CONTI -f NONE OLD NEW")
    return Extent(offset or 0, dataset.shape, np.dtype(dataset.dtype), {key: _plain(value) for key, value in dataset.attrs.items()})


def _plain(value: Any) -> Any:
    """An attribute as Python has it: a number, a text or a tuple of them."""
    if isinstance(value, np.ndarray):
        return tuple(value.tolist())
    return value.item() if isinstance(value, np.generic) else value
