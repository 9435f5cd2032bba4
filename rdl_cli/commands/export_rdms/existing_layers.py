"""Keep the layers of an existing store when new layers are added."""

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
"""The keys of provenance of every export; all others are the last export's."""


def open_existing(out: Path, source: dict[str, Any]) -> Store | None:
    """Return the store at a path, None if there is none.

    Raise UserError if it is of another teacher or of other images.
    """
    if not out.exists():
        return None
    store = Store.open(out)
    stored = store.provenance.get("source") or {}
    if stored != source:
        changed = [key for key, value in source.items() if stored.get(key) != value]
        raise UserError(
            f"{out} exists already, with other {' and other '.join(changed)}",
            hint="choose another path, or remove it",
        )
    return store


def has_layer(store: Store, layer: str, settings: ExportSettings, views: Views) -> bool:
    """Return True if the store has a layer in the form of the settings."""
    if layer not in store.layers:
        return False
    stored = store.layer(layer)
    same_width = stored.dtype == settings.dtype
    if stored.distance != settings.stored_distance:
        return False
    if settings.as_ == "kernel":
        return stored.has_kernel
    if settings.as_ == "rdm":
        return stored.has_rdms and same_width
    return stored.has_activations and stored.views == views.names and same_width


def layer_specs(store: Store, without: Sequence[str]) -> list[Spec]:
    """Return the specs of a store's layers, but for some that are replaced.

    Raise UserError if a layer is damaged, before the network is run for new ones.
    """
    layers = [store.layer(name) for name in store.layers if name not in without]
    for layer in layers:
        layer.verify()
    return [to_spec(layer) for layer in layers]


def to_spec(layer: StoredLayer) -> Spec:
    """Return the spec of a stored layer."""
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


def list_exports(store: Store, without: Sequence[str]) -> list[dict[str, Any]]:
    """Return how the other layers were exported: their names and the values of EXPORT."""
    only = {"layers": list(store.layers)} | {key: store.provenance.get(key) for key in EXPORT}
    exports = [
        export | {"layers": [layer for layer in export["layers"] if layer not in without]}
        for export in store.provenance.get("exports", [only])
    ]
    return [export for export in exports if export["layers"]]


def copy_layers(
    writer: Writer, store: Store | None, specs: Sequence[Spec], block: int = 1 << 22
) -> None:
    """Copy stored layers, array by array, in blocks of so many numbers."""
    for spec in specs:
        assert store is not None, "layers are copied from an existing store"
        layer = store.layer(spec.name)
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
