"""What is known of a teacher, in one HDF5 file that any HDF5 reader opens: its stimuli, activations, RDMs and kernels.

    /                        attrs: format, version, provenance (JSON)
    /sha256                  [1] of the provenance, and of which arrays there are, see `digest_of_whole`
    /stimuli/                digest [n] · name [n] · label [n] · images [n,c,h,w] uint8 · sha256 [1] of the first three
    /layers/NAME/activations [views,n,...]     attrs: name, views, distance
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
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rdl_cli.core.errors import UserError, unknown_name
from rdl_cli.core.pixels import pixel_digests
from rdl_cli.rsa.rdms import RDMs
from rdl_cli.store.format import (
    DIGEST,
    KINDS,
    RECOPY_HINT,
    VERSION,
    Extent,
    StoreIndex,
    array_digest,
    manifest_digest,
    primary_array,
    read_index,
    stored_digest,
)


class Stimuli(NamedTuple):
    """One row per picture. `digests` S64 (n,), empty where only the name of a picture is known; `images` may be a memory map."""

    digests: np.ndarray
    names: np.ndarray | None = None
    labels: np.ndarray | None = None
    images: np.ndarray | None = None


class StoredKernel(NamedTuple):
    """The inner products of a layer's activations as they are, over so many units: `values` (n(n+1)/2,), see `geometry.kernels.among`.

    `distance` is noted for those who make distances of them.
    """

    values: np.ndarray
    distance: str
    units: int


@dataclass(frozen=True, eq=False)
class Store:
    """A finished store, its arrays as memory maps. It holds no open file, so it can be handed to other processes."""

    path: Path
    provenance: dict[str, Any]
    stimuli: Stimuli
    _contents: StoreIndex
    _checked: set[str] = field(default_factory=set)

    @classmethod
    def open(cls, path: Path) -> "Store":
        """The store at `path`. UserError where there is none, or where it is unfinished, foreign, of another version or damaged."""
        path = Path(path)
        if not path.exists():
            if partial(path).exists():
                raise UserError(
                    f"the store {path} was never finished",
                    hint="run the command that makes it again; it goes on where it stopped",
                )
            raise UserError(
                f"there is no store at {path}",
                hint="make one: rdl export-rdms, or rdl import-rdms for RDMs of a brain",
            )
        found = read_index(path)
        if not _as_written(path, found.stimuli):
            raise UserError(
                f"{path} is damaged: the list of its stimuli is not what was written",
                hint=RECOPY_HINT,
            )
        if found.whole and stored_digest(path, found.whole) != manifest_digest(found):
            raise UserError(
                f"{path} is damaged: its provenance, or what it says of its layers, is not what was written",
                hint=RECOPY_HINT,
            )
        arrays = {name: extent.read(path) for name, extent in found.stimuli.items()}
        names = np.char.decode(arrays["name"], "utf-8") if "name" in arrays else None
        stimuli = Stimuli(
            np.array(arrays["digest"]),
            names,
            np.array(arrays["label"]) if "label" in arrays else None,
            arrays.get("images"),
        )
        return cls(path, found.provenance, stimuli, found)

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(self._contents.layers)

    def has_activations(self, layer: str) -> bool:
        return "activations" in self._layer(layer)

    def has_rdm(self, layer: str) -> bool:
        return "rdm" in self._layer(layer)

    def has_kernel(self, layer: str) -> bool:
        return "kernel" in self._layer(layer)

    def extent(self, layer: str) -> Extent:
        """The shape, width and attributes of a layer's activations, or of its kernel or RDMs where it has none, unread."""
        return primary_array(self._layer(layer))

    def n_rdms(self, layer: str) -> int:
        """Return how many RDMs of a layer the store holds."""
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

    def rdms(self, layer: str) -> RDMs:
        """Return the layer's stored RDMs. UserError if it has none, or is damaged."""
        self._holding(layer, "rdm")
        self._check(layer)
        arrays = self._layer(layer)
        attrs = arrays["rdm"].attrs
        subjects, sessions = (
            tuple(np.char.decode(arrays[key].read(self.path), "utf-8").tolist())
            if key in arrays
            else ()
            for key in ("subject", "session")
        )
        times = tuple(arrays["time"].read(self.path).tolist()) if "time" in arrays else ()
        return RDMs(
            arrays["rdm"].read(self.path),
            attrs["distance"],
            attrs["region"],
            attrs["unit"],
            None if self.stimuli.names is None else tuple(map(str, self.stimuli.names)),
            subjects,
            sessions,
            times,
        )

    def kernel(self, layer: str) -> StoredKernel:
        """The layer's stored kernel. UserError where it holds none, or is damaged."""
        extent = self._holding(layer, "kernel")
        self._check(layer)
        return StoredKernel(extent.read(self.path), extent.attrs["distance"], extent.attrs["units"])

    def attrs(self, layer: str) -> dict[str, Any]:
        """What is noted on the layer: views; distance, region and unit of its RDMs; units of its kernel."""
        found = self._layer(layer)
        return {
            key: value
            for array in ("rdm", "kernel", "activations")
            if array in found
            for key, value in found[array].attrs.items()
        }

    def pictures(self, rows: Any = slice(None)) -> np.ndarray:
        """Some of the stimuli's pictures, uint8 (n, c, h, w). UserError where a picture is not the one of its digest."""
        assert self.stimuli.images is not None, f"{self.path} holds no pictures"
        found = np.array(self.stimuli.images[rows])
        if bad := int((pixel_digests(found) != self.stimuli.digests[rows]).sum()):
            raise UserError(
                f"{self.path} is damaged: {bad:,} of {len(found):,} pictures are not those of their digests",
                hint=RECOPY_HINT,
            )
        return found

    def verify(self) -> tuple[str, ...]:
        """Read every number. UserError where one is not what was written; what nothing is known of, for it is older, in words."""
        for layer in self.layers:
            self._check(layer)
        if self.stimuli.images is not None:
            for start in range(0, len(self.stimuli.digests), 1000):
                self.pictures(slice(start, start + 1000))
        older = tuple(
            layer for layer, arrays in self._contents.layers.items() if DIGEST not in arrays
        )
        return older if self._contents.whole else ("the provenance", *older)

    def _check(self, layer: str) -> None:
        if layer not in self._checked and not _as_written(self.path, self._contents.layers[layer]):
            raise UserError(
                f"{self.path} is damaged: layer `{layer}` is not what was written", hint=RECOPY_HINT
            )
        self._checked.add(layer)

    def _layer(self, layer: str) -> dict[str, Extent]:
        if layer not in self._contents.layers:
            raise unknown_name(
                "layer",
                layer,
                self._contents.layers,
                hint=f"{self.path} holds: {', '.join(self._contents.layers)}",
            )
        return self._contents.layers[layer]

    def _holding(self, layer: str, kind: str) -> Extent:
        found = self._layer(layer)
        if kind not in found:
            held = " and ".join(said for each, said in KINDS.items() if each in found)
            raise UserError(
                f"layer `{layer}` of {self.path} holds {held}, no {KINDS[kind]}",
                hint=f"export it again with --as {kind}",
            )
        return found[kind]


def store_fingerprint(store: Store, layers: Iterable[str] = ()) -> str:
    """SHA-256 of some layers, or of all, and of the list of stimuli; a copy has the same, and so has a store with more layers.

    It is that of the digests that stand in the store, so nothing large is read; of an older store, which has none, they
    are taken now.
    """
    held = {layer: store._layer(layer) for layer in layers} or store._contents.layers
    digests = [
        [layer, stored_digest(store.path, arrays) or array_digest(store.path, arrays)]
        for layer, arrays in sorted(held.items())
    ]
    stimuli = stored_digest(store.path, store._contents.stimuli) or array_digest(
        store.path, store._contents.stimuli
    )
    return hashlib.sha256(json.dumps([VERSION, stimuli, digests]).encode()).hexdigest()


def partial(path: Path) -> Path:
    """Where a store lies until it is whole."""
    return path.with_name(f".{path.name}.partial")


def _as_written(path: Path, arrays: dict[str, Extent]) -> bool:
    return DIGEST not in arrays or stored_digest(path, arrays) == array_digest(path, arrays)
