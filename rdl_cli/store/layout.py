"""What a store will hold, told beforehand: which arrays, how large, and where they lie in the file."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import h5py
import numpy as np
from h5py import h5d, h5f, h5g, h5p, h5s, h5t

from rdl_cli.io.file_types import STORE_FORMAT
from rdl_cli.store.format import DIGEST, VERSION
from rdl_cli.store.store import Stimuli

PAGE = 4096


@dataclass(frozen=True)
class ActivationSpec:
    """A layer's activations to be stored: `shape` of one picture's, `dtype` float16 or float32, the views in order."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    views: tuple[str, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RdmSpec:
    """RDMs to be stored: `count` of them, in the float width of their source; of whom and when each is, where known."""

    name: str
    count: int
    dtype: str
    distance: str
    region: str = ""
    unit: str = ""
    subjects: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    times: tuple[float, ...] = ()


@dataclass(frozen=True)
class KernelSpec:
    """A layer's inner products to be stored, those of activations of so many units; `distance` is noted for who makes distances of them."""

    name: str
    dtype: str
    distance: str
    units: int


class PlannedArray(NamedTuple):
    """An array that the file will hold, by its path there; `values` where they are known from the start."""

    place: str
    shape: tuple[int, ...]
    dtype: np.dtype
    attrs: Mapping[str, Any]
    values: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize


Spec = ActivationSpec | RdmSpec | KernelSpec
Specs = Iterable[Spec]


def store_size(stimuli: Stimuli, specs: Specs) -> int:
    """Bytes that the store will take on disk at most; what HDF5 itself needs is a small part and generously counted."""
    return planned_bytes(plan_arrays(stimuli, specs))


def planned_bytes(plan: list[PlannedArray]) -> int:
    """Every array begins on a page of its own, and HDF5's own parts take pages as well."""
    return sum(-(-planned.nbytes // PAGE) * PAGE + 8 * PAGE for planned in plan) + 64 * PAGE


def plan_arrays(stimuli: Stimuli, specs: Specs) -> list[PlannedArray]:
    """Every array of the store, in the order in which it lies there."""
    n = len(stimuli.digests)
    columns = {"digest": stimuli.digests.astype("S64", copy=False)}
    if stimuli.names is not None:
        columns["name"] = _text(stimuli.names)
    if stimuli.labels is not None:
        columns["label"] = stimuli.labels.astype(np.int64, copy=False)
    if stimuli.images is not None:
        assert stimuli.images.dtype == np.uint8, (
            f"stimuli are uint8 pictures, not {stimuli.images.dtype}"
        )
        columns["images"] = stimuli.images
    for name, column in columns.items():
        assert len(column) == n, f"{len(column):,} rows of {name} for {n:,} stimuli"
    plan = [
        PlannedArray(f"stimuli/{name}", column.shape, column.dtype, {}, column)
        for name, column in columns.items()
    ]
    for spec in specs:
        plan += _arrays(spec, n)
    groups = dict.fromkeys(planned.place.rpartition("/")[0] for planned in plan)
    plan += [
        PlannedArray(f"{group}/{DIGEST}".lstrip("/"), (1,), np.dtype("S64"), {}, np.zeros(1, "S64"))
        for group in (*groups, "")
    ]
    assert len({planned.place for planned in plan}) == len(plan), "a layer was announced twice"
    return plan


def _arrays(spec: Spec, n: int) -> list[PlannedArray]:
    match spec:
        case ActivationSpec():
            return _activations(spec, n)
        case RdmSpec():
            return _rdms(spec, n)
        case KernelSpec():
            noted = {"name": spec.name, "distance": spec.distance, "units": spec.units}
            return [
                PlannedArray(
                    f"layers/{encode_name(spec.name)}/kernel",
                    (n * (n + 1) // 2,),
                    np.dtype(spec.dtype),
                    noted,
                )
            ]


def _activations(spec: ActivationSpec, n: int) -> list[PlannedArray]:
    noted = {"name": spec.name, "views": list(spec.views), **spec.attrs}
    return [
        PlannedArray(
            f"layers/{encode_name(spec.name)}/activations",
            (len(spec.views), n, *spec.shape),
            np.dtype(spec.dtype),
            noted,
        )
    ]


def _rdms(spec: RdmSpec, n: int) -> list[PlannedArray]:
    group = f"layers/{encode_name(spec.name)}"
    noted = {"name": spec.name, "distance": spec.distance, "region": spec.region, "unit": spec.unit}
    columns = {
        "subject": _text(spec.subjects),
        "session": _text(spec.sessions),
        "time": np.array(spec.times, np.float64),
    }
    for name, column in columns.items():
        assert len(column) in (0, spec.count), f"{len(column)} of {name} for {spec.count} RDMs"
    values = PlannedArray(
        f"{group}/rdm", (spec.count, n * (n - 1) // 2), np.dtype(spec.dtype), noted
    )
    return [
        values,
        *(
            PlannedArray(f"{group}/{name}", c.shape, c.dtype, {}, c)
            for name, c in columns.items()
            if len(c)
        ),
    ]


def _text(words: Iterable[str]) -> np.ndarray:
    """Texts as bytes of one length, which lie in one piece; HDF5 knows them as UTF-8."""
    raw = np.char.encode(np.asarray(words, dtype=str), "utf-8")
    return raw.astype(h5py.string_dtype("utf-8", max(1, raw.dtype.itemsize)))


def encode_name(name: str) -> str:
    """A layer's name as HDF5 can bear it; urllib leaves ".", which alone would be the group itself."""
    return quote(name, safe="").replace(".", "%2E")


def resume_key(fingerprint: str, plan: list[PlannedArray]) -> str:
    """What must agree for an interrupted attempt to be continued. Pictures are known by their digests."""
    described = [[p.place, p.shape, str(p.dtype), dict(p.attrs)] for p in plan]
    digest = hashlib.sha256(json.dumps([VERSION, fingerprint, described]).encode())
    for planned in plan:
        if planned.values is not None and planned.place != "stimuli/images":
            digest.update(planned.values.tobytes())
    return digest.hexdigest()


def write_empty(path: Path, plan: list[PlannedArray], provenance: dict[str, Any]) -> None:
    """The HDF5 file with every array in its place and no value in any: contiguous, allocated early, never filled.

    HDF5's format of 2008 has checksums in its own parts. Of the older one, which h5py writes unasked, 1 of 100 flipped bits
    is a segmentation fault for whoever opens it.
    """
    with _new_file(path) as file:
        file.attrs.update(format=STORE_FORMAT, version=VERSION, provenance=json.dumps(provenance))
        for planned in plan:
            folder, _, name = planned.place.rpartition("/")
            whole = h5p.create(h5p.DATASET_CREATE)
            whole.set_layout(h5d.CONTIGUOUS)
            whole.set_alloc_time(h5d.ALLOC_TIME_EARLY)
            whole.set_fill_time(h5d.FILL_TIME_NEVER)
            whole.set_obj_track_times(False)
            kind = h5t.py_create(planned.dtype, logical=True)
            made = h5d.create(
                _folder(file, folder).id,
                name.encode(),
                kind,
                h5s.create_simple(planned.shape),
                whole,
            )
            h5py.Dataset(made).attrs.update(planned.attrs)


def _new_file(path: Path) -> h5py.File:
    """An empty file without times, so that equal stores are equal bytes: h5py writes some into it before version 3.14."""
    how, access = h5p.create(h5p.FILE_CREATE), h5p.create(h5p.FILE_ACCESS)
    how.set_obj_track_times(False)
    access.set_libver_bounds(h5f.LIBVER_V18, h5f.LIBVER_V18)
    access.set_alignment(1, PAGE)
    access.set_file_locking(
        False, True
    )  # the writer has locks of its own, and some disks have none
    file = h5py.File(h5f.create(str(path).encode(), h5f.ACC_TRUNC, how, access))
    for name in ("stimuli", "layers"):
        _folder(file, name)
    return file


def _folder(file: h5py.File, path: str) -> h5py.Group:
    """The group at a path, made where there is none, with those above it; members keep the order in which they came."""
    group = file["/"]
    for name in filter(None, path.split("/")):
        if name not in group:
            ordered = h5p.create(h5p.GROUP_CREATE)
            ordered.set_link_creation_order(h5p.CRT_ORDER_TRACKED | h5p.CRT_ORDER_INDEXED)
            ordered.set_obj_track_times(False)
            h5g.create(group.id, name.encode(), gcpl=ordered)
        group = group[name]
    return group
