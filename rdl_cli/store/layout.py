"""What a store will hold, before it is written: which arrays, and how large."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from rdl_cli.core.checksum import EMPTY, format_manifest
from rdl_cli.core.hdf5 import (
    PAGE,
    create_array,
    create_file,
    create_group,
    encode_texts,
    raise_disk_errors,
    write_attributes,
)
from rdl_cli.store.format import STORE_FORMAT, VERSION
from rdl_cli.store.store import Stimuli


@dataclass(frozen=True)
class ActivationSpec:
    """A layer's activations to be stored.

    Args:
        name: of the layer.
        shape: of one image's activations.
        dtype: float16 or float32.
        views: of each image, in order.
        distance: the distance to compare them by where none is named.
        untrained: whether the layer's weights are random.
        pool, project: how activations were reduced, "" if they were not.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    views: tuple[str, ...]
    distance: str = ""
    untrained: bool = False
    pool: str = ""
    project: str = ""


@dataclass(frozen=True)
class RdmSpec:
    """`count` RDMs to be stored, in the float width of their source, each with its subject etc."""

    name: str
    count: int
    dtype: str
    distance: str
    region: str = ""
    unit: str = ""
    subjects: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    times: tuple[float, ...] = ()
    untrained: bool = False


@dataclass(frozen=True)
class KernelSpec:
    """A layer's inner products to be stored, sums over so many units."""

    name: str
    dtype: str
    distance: str
    units: int
    untrained: bool = False


class PlannedArray(NamedTuple):
    """An array of the file, by its path there; `values` if they are known from the start."""

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype
    attributes: Mapping[str, Any] = {}
    values: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize


@dataclass(frozen=True)
class Plan:
    """All arrays in the order in which they are in the file, and attributes by group."""

    arrays: tuple[PlannedArray, ...]
    groups: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """The bytes on disk at most. Each array begins on a page; so do HDF5's own parts."""
        pages = sum(-(-array.nbytes // PAGE) + 8 for array in self.arrays)
        return (pages + 8 * len(self.groups) + 64) * PAGE

    def key(self, fingerprint: str) -> str:
        """Return what must agree for an interrupted attempt to be resumed.

        Images are known by their digests. The first attempt's provenance stays.
        """
        arrays = [array for array in self.arrays if "/" in array.path]
        listed = [[a.path, a.shape, str(a.dtype), dict(a.attributes)] for a in arrays]
        text = json.dumps([VERSION, fingerprint, listed, self.groups])
        digest = hashlib.sha256(text.encode())
        for array in arrays:
            if array.values is not None and array.path != "stimuli/images":
                digest.update(array.values.tobytes())
        return digest.hexdigest()


Spec = ActivationSpec | RdmSpec | KernelSpec
Specs = Iterable[Spec]


def store_size(stimuli: Stimuli, specs: Specs) -> int:
    """Return the bytes that the store will take on disk at most."""
    return plan_store(stimuli, specs, {}).nbytes


def plan_store(stimuli: Stimuli, specs: Specs, provenance: Mapping[str, Any]) -> Plan:
    """Return the plan of a store: its arrays, and the attributes of its groups."""
    specs = list(specs)
    groups: dict[str, Mapping[str, Any]] = {
        "stimuli": {
            "digest_kind": stimuli.digest_kind,
            "decode": json.dumps(dict(stimuli.decode), sort_keys=True),
            "preprocessing": stimuli.preprocessing,
        }
    }
    arrays = _plan_stimuli(stimuli)
    for spec in specs:
        group = f"layers/{encode_name(spec.name)}"
        groups[group] = {"name": spec.name, "untrained": int(spec.untrained)}
        arrays += _plan_layer(group, spec, len(stimuli.digests))
    checksums = format_manifest(dict.fromkeys(("provenance", "index", *groups), EMPTY))
    for name, text in (("provenance", json.dumps(provenance)), ("checksums", checksums)):
        values = encode_texts([text])
        arrays.append(PlannedArray(name, (1,), values.dtype, {}, values))
    assert len({array.path for array in arrays}) == len(arrays), "a layer was announced twice"
    return Plan(tuple(arrays), groups)


def encode_name(name: str) -> str:
    """Return a layer's name percent-encoded: "." and "/" have a meaning in HDF5."""
    return quote(name, safe="").replace(".", "%2E")


def write_empty(path: Path, plan: Plan) -> None:
    """Write the HDF5 file with every array in its place, and no value."""
    with raise_disk_errors(), create_file(str(path)) as file:
        write_attributes(file, {"format": STORE_FORMAT, "version": VERSION})
        create_group(file, "layers")
        for name, attributes in plan.groups.items():
            write_attributes(create_group(file, name), attributes)
        for array in plan.arrays:
            dataset = create_array(file, array.path, array.shape, array.dtype)
            write_attributes(dataset, array.attributes)


def _plan_stimuli(stimuli: Stimuli) -> list[PlannedArray]:
    columns = {"digest": stimuli.digests.astype("S64", copy=False)}
    if stimuli.names is not None:
        columns["name"] = encode_texts(stimuli.names)
    if stimuli.labels is not None:
        columns["label"] = stimuli.labels.astype(np.int64, copy=False)
    if stimuli.pixel_digests is not None:
        columns["pixel_digest"] = stimuli.pixel_digests.astype("S64", copy=False)
    if stimuli.image_digests is not None:
        columns["image_digest"] = stimuli.image_digests.astype("S64", copy=False)
    if stimuli.images is not None:
        kind = stimuli.images.dtype
        assert kind == np.uint8, f"stimuli are uint8 images, not {kind}"
        columns["images"] = stimuli.images
    for name, column in columns.items():
        n = len(stimuli.digests)
        assert len(column) == n, f"{len(column):,} rows of {name} for {n:,} stimuli"
    return [
        PlannedArray(f"stimuli/{name}", column.shape, column.dtype, {}, column)
        for name, column in columns.items()
    ]


def _plan_layer(group: str, spec: Spec, n: int) -> list[PlannedArray]:
    dtype = np.dtype(spec.dtype)
    if isinstance(spec, ActivationSpec):
        shape = (len(spec.views), n, *spec.shape)
        attributes: dict[str, Any] = {
            "distance": spec.distance,
            "views": list(spec.views),
            "pool": spec.pool,
            "project": spec.project,
        }
        return [PlannedArray(f"{group}/activations", shape, dtype, attributes)]
    if isinstance(spec, KernelSpec):
        attributes = {"distance": spec.distance, "units": spec.units}
        return [PlannedArray(f"{group}/kernel", (n * (n + 1) // 2,), dtype, attributes)]
    attributes = {"distance": spec.distance, "region": spec.region, "unit": spec.unit}
    values = PlannedArray(f"{group}/rdm", (spec.count, n * (n - 1) // 2), dtype, attributes)
    columns = {
        "subject": encode_texts(spec.subjects),
        "session": encode_texts(spec.sessions),
        "time": np.array(spec.times, np.float64),
    }
    for name, column in columns.items():
        assert len(column) in (0, spec.count), f"{len(column)} of {name} for {spec.count} RDMs"
    return [
        values,
        *(
            PlannedArray(f"{group}/{name}", column.shape, column.dtype, {}, column)
            for name, column in columns.items()
            if len(column)
        ),
    ]
