"""What a store of a teacher already holds, and how that is kept beside new layers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rdl_cli.commands.settings import ExportSettings
from rdl_cli.core.errors import UserError
from rdl_cli.datasets.augmentation import Views
from rdl_cli.store.layers import StoredLayer
from rdl_cli.store.layout import ActivationSpec, KernelSpec, RdmSpec, Spec
from rdl_cli.store.store import Store
from rdl_cli.store.writer import Writer

EXPORT = ("command", "made", "commit", "config")
"""What a store's provenance keeps of every export; all else is that of the last."""


def open_existing(out: Path, source: dict[str, Any]) -> Store | None:
    """The store that is at the path already, if it is of this teacher and these pictures; UserError if it is of others."""
    if not out.exists():
        return None
    held = Store.open(out)
    if held.provenance.get("source") != source:
        before = held.provenance.get("source") or {}
        changed = [key for key, value in source.items() if before.get(key) != value]
        raise UserError(
            f"{out} exists already, and is of another {' and other '.join(changed)}",
            hint="choose another path, or remove it",
        )
    return held


def has_layer(held: Store, layer: str, settings: ExportSettings, views: Views) -> bool:
    """Return whether the store has what the settings ask for of a layer."""
    if layer not in held.layers:
        return False
    stored = held.layer(layer)
    same_width = stored.dtype == settings.dtype
    if stored.distance != settings.distance:
        return False
    if settings.as_ == "kernel":
        return stored.has_kernel
    if settings.as_ == "rdm":
        return stored.has_rdms and same_width
    return stored.has_activations and stored.views == views.names and same_width


def layer_specs(held: Store, without: Sequence[str]) -> list[Spec]:
    """Return the specs of the stored layers that are kept beside new layers."""
    return [to_spec(held.layer(name)) for name in held.layers if name not in without]


def to_spec(layer: StoredLayer) -> Spec:
    """Return the spec by which a stored layer is announced to another store."""
    width, untrained = str(layer.dtype), layer.untrained
    if layer.shape is not None:
        reduced = {key: layer.attributes.get(key, "") for key in ("pool", "project")}
        return ActivationSpec(
            layer.name, layer.shape, width, layer.views, layer.distance, untrained, **reduced
        )
    if layer.units is not None:
        return KernelSpec(layer.name, width, layer.distance, layer.units, untrained)
    rdms = layer.rdms()
    labels = {key: getattr(rdms, key) for key in ("subjects", "sessions")}
    return RdmSpec(
        layer.name,
        len(rdms),
        width,
        rdms.distance,
        rdms.region,
        rdms.unit,
        **{key: names if any(names) else () for key, names in labels.items()},
        times=rdms.times if rdms.time_points else (),
        untrained=untrained,
    )


def list_exports(held: Store, without: Sequence[str]) -> list[dict[str, Any]]:
    """Return how each layer that is kept was exported: its layers and the values of EXPORT."""
    only = {"layers": list(held.layers)} | {key: held.provenance.get(key) for key in EXPORT}
    exports = [
        export | {"layers": [layer for layer in export["layers"] if layer not in without]}
        for export in held.provenance.get("exports", [only])
    ]
    return [export for export in exports if export["layers"]]


def copy_layers(
    writer: Writer, held: Store | None, kept: Sequence[Spec], block: int = 1 << 22
) -> None:
    """Copy stored layers, array by array, in blocks of so many numbers."""
    for spec in kept:
        assert held is not None, "kept layers come from a store"
        layer = held.layer(spec.name)
        if isinstance(spec, RdmSpec):
            for index, values in enumerate(layer.rdms().values):
                for start in range(0, len(values), block):
                    writer.write_rdm(spec.name, index, start, values[start : start + block])
        elif isinstance(spec, KernelSpec):
            packed = layer.kernel()
            for start in range(0, len(packed), block):
                writer.write_kernel(spec.name, start, packed[start : start + block])
        else:
            for view, values in enumerate(layer.activations()):
                rows = max(1, block * len(values) // max(1, values.size))
                for start in range(0, len(values), rows):
                    writer.write(spec.name, start, values[start : start + rows], view)
