"""Open a store: one HDF5 file with stimuli, and the activations, RDMs or kernels of layers.

    /stimuli/      digest [n] · name [n] · label [n] · pixel_digest [n] · images [n,c,h,w] ·
                   image_digest [n]
    /layers/NAME/  activations [views,n,...] | kernel [n(n+1)/2] | rdm [k,n(n-1)/2]
    /provenance · /checksums

docs/store-format.md describes every array and attribute. A flipped bit would otherwise be used like
any number: values are verified before they are first returned.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rdl_cli.core.checksum import pixel_digests
from rdl_cli.core.errors import UserError, unknown_name
from rdl_cli.core.files import PARTIAL
from rdl_cli.rsa.rdms import RDMs
from rdl_cli.store.format import (
    RECOPY_HINT,
    VERSION,
    StoreIndex,
    group_digest,
    index_digest,
    read_checksums,
    read_index,
    text_digest,
)
from rdl_cli.store.layers import StoredLayer


class Stimuli(NamedTuple):
    """One row for each stimulus.

    Args:
        digests: S64 (n,), empty for stimuli of which only the name is known.
        names: texts (n,).
        labels: int64 (n,).
        images: uint8 (n, c, h, w), in memory or a memory map.
        pixel_digests: S64 (n,), of the image at its own size, where `digests` are of other bytes.
        digest_kind: `pixels` or `file`, the source of `digests`.
        decode: how image files became pixels: orientation, background, grey.
        preprocessing: the preprocessing of the teacher, as text.
        image_digests: S64 (n,), of `images`, where these are not of the images' own size.
    """

    digests: np.ndarray
    names: np.ndarray | None = None
    labels: np.ndarray | None = None
    images: np.ndarray | None = None
    pixel_digests: np.ndarray | None = None
    digest_kind: str = "pixels"
    decode: Mapping[str, str] = {}
    preprocessing: str = ""
    image_digests: np.ndarray | None = None

    @property
    def stored_digests(self) -> np.ndarray:
        """The digests of `images`."""
        if self.image_digests is not None:
            return self.image_digests
        return self.digests if self.pixel_digests is None else self.pixel_digests


@dataclass(frozen=True, eq=False)
class Store:
    """A finished store. Its file stays open: a file put in its place changes no value."""

    path: Path
    provenance: dict[str, Any]
    stimuli: Stimuli
    _index: StoreIndex
    _checksums: dict[str, str]

    @classmethod
    def open(cls, path: Path) -> "Store":
        """Open the store at `path`. UserError if it is missing, unfinished, foreign or damaged."""
        path = Path(path)
        if not path.exists():
            if partial(path).exists():
                raise UserError(
                    f"the store {path} was never finished",
                    hint="run the command that makes it again; it resumes where it stopped",
                )
            raise UserError(
                f"there is no store at {path}",
                hint="make one: rdl export-rdms, or rdl import-rdms for RDMs of a brain",
            )
        if not path.is_file():  # a pipe would be waited for without end
            raise UserError(
                f"{path} is a folder, pipe or device, not a store",
                hint="a store is an .h5 file that export-rdms or import-rdms made",
            )
        index = read_index(path)
        try:
            checksums = read_checksums(index)
            text = index.root.arrays["provenance"]
            intact = (text_digest(text), index_digest(index), group_digest(index.stimuli))
            written = tuple(checksums[name] for name in ("provenance", "index", "stimuli"))
            parts = ("provenance", "list of layers", "list of stimuli")
            for part, now, before in zip(parts, intact, written, strict=True):
                if now != before:
                    raise ValueError(f"its {part} is not as it was written")
            provenance = json.loads(text.texts()[0])
            stimuli = _read_stimuli(index)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise UserError(f"{path} is damaged: {error}", hint=RECOPY_HINT) from error
        return cls(path, provenance, stimuli, index, checksums)

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(self._layers)

    def layer(self, name: str) -> StoredLayer:
        """Return a layer. UserError if there is none of this name."""
        if name not in self._layers:
            raise unknown_name(
                "layer", name, self.layers, hint=f"{self.path} holds: {', '.join(self.layers)}"
            )
        return self._layers[name]

    def rdms(self, layer: str) -> RDMs:
        """Return the RDMs of a layer. UserError if it has none, or is damaged."""
        return self.layer(layer).rdms()

    def images(self, rows: Any = slice(None)) -> np.ndarray:
        """Return the images of some stimuli, uint8 (n, c, h, w). UserError if one is damaged."""
        stimuli = self.stimuli
        assert stimuli.images is not None, f"{self.path} holds no images"
        images = np.array(stimuli.images[rows])
        if bad := int((pixel_digests(images) != stimuli.stored_digests[rows]).sum()):
            raise UserError(
                f"{self.path} is damaged: {bad:,} of {len(images):,} images do not have their"
                " digests",
                hint=RECOPY_HINT,
            )
        return images

    def fingerprint(self, layers: Iterable[str] = ()) -> str:
        """Return the SHA-256 of some layers, or of all, and of the list of stimuli.

        A copy has the same, and so has a store to which layers were added. Reads no values.
        """
        chosen = sorted(self.layer(name).name for name in layers) or sorted(self.layers)
        digests = [[name, self._layers[name].checksum] for name in chosen]
        content = json.dumps([VERSION, self._checksums["stimuli"], digests])
        return hashlib.sha256(content.encode()).hexdigest()

    def verify(self) -> None:
        """Read every value. UserError if one is not as it was written."""
        for layer in self._layers.values():
            layer.verify()
        if self.stimuli.images is not None:
            for start in range(0, len(self.stimuli.digests), 1000):
                self.images(slice(start, start + 1000))

    @cached_property
    def _layers(self) -> dict[str, StoredLayer]:
        names = self.stimuli.names
        stimuli = None if names is None else tuple(map(str, names))
        n = len(self.stimuli.digests)
        return {
            group.attributes["name"]: StoredLayer(
                self.path, group, self._checksums[f"layers/{name}"], n, stimuli
            )
            for name, group in self._index.layers.items()
        }


def partial(path: Path) -> Path:
    """Return the path of a store that is being written."""
    return path.with_name(f".{path.name}{PARTIAL}")


def _read_stimuli(index: StoreIndex) -> Stimuli:
    arrays, attributes = index.stimuli.arrays, index.stimuli.attributes
    digests, labels, pixels, stored = (
        np.array(arrays[name].read()) if name in arrays else None
        for name in ("digest", "label", "pixel_digest", "image_digest")
    )
    assert digests is not None, "read_index requires /stimuli/digest"
    return Stimuli(
        digests,
        np.char.decode(arrays["name"].read(), "utf-8") if "name" in arrays else None,
        labels,
        arrays["images"].read() if "images" in arrays else None,
        pixels,
        attributes["digest_kind"],
        json.loads(attributes["decode"]),
        attributes["preprocessing"],
        stored,
    )
