"""What a store of a teacher already holds, and how that is kept beside new layers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rdl_cli.commands.settings import ExportSettings
from rdl_cli.core.errors import UserError
from rdl_cli.datasets.augmentation import Views
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
    """Whether the store has what the settings ask for of a layer."""
    if layer not in held.layers:
        return False
    if settings.as_ == "rdm":
        return (
            held.has_rdm(layer)
            and held.rdms(layer).distance == settings.distance
            and held.rdms(layer).values.dtype == settings.dtype
        )
    if settings.as_ == "kernel":
        return held.has_kernel(layer) and held.kernel(layer).distance == settings.distance
    if not held.has_activations(layer) or held.attrs(layer).get("distance") != settings.distance:
        return False
    return held.views(layer) == views.names and held.activations(layer).dtype == settings.dtype


def layer_specs(held: Store, without: Sequence[str]) -> list[Spec]:
    """What a store holds, as it would be announced, to be kept beside new layers."""
    found: list[Spec] = []
    for layer in held.layers:
        if layer in without:
            continue
        if held.has_activations(layer):
            values = held.activations(layer)
            noted = {"distance": held.attrs(layer).get("distance", "")}
            found.append(
                ActivationSpec(layer, values.shape[2:], str(values.dtype), held.views(layer), noted)
            )
        elif held.has_kernel(layer):
            kernel = held.kernel(layer)
            found.append(KernelSpec(layer, str(kernel.values.dtype), kernel.distance, kernel.units))
        else:
            rdms = held.rdms(layer)
            found.append(
                RdmSpec(
                    layer,
                    len(rdms),
                    str(rdms.values.dtype),
                    rdms.distance,
                    rdms.region,
                    rdms.unit,
                )
            )
    return found


def list_exports(held: Store, without: Sequence[str]) -> list[dict[str, Any]]:
    """How each layer of a store that is to be kept came to be there."""
    only = {"layers": list(held.layers)} | {
        key: held.provenance.get(key) for key in EXPORT
    }  # of a store from before exports were kept
    exports = [
        each | {"layers": [layer for layer in each["layers"] if layer not in without]}
        for each in held.provenance.get("exports", [only])
    ]
    return [each for each in exports if each["layers"]]


def copy_layers(
    writer: Writer, held: Store | None, kept: Sequence[Spec], block: int = 1 << 22
) -> None:
    """What a store holds already, array by array, in blocks of so many numbers."""
    for spec in kept:
        assert held is not None, "what is kept was held"
        if isinstance(spec, RdmSpec):
            for index, values in enumerate(held.rdms(spec.name).values):
                for start in range(0, len(values), block):
                    writer.write_rdm(spec.name, index, start, values[start : start + block])
        elif isinstance(spec, KernelSpec):
            values = held.kernel(spec.name).values
            for start in range(0, len(values), block):
                writer.write_kernel(spec.name, start, values[start : start + block])
        else:
            for view, values in enumerate(held.activations(spec.name)):
                rows = max(1, block * len(values) // max(1, values.size))
                for start in range(0, len(values), rows):
                    writer.write(spec.name, start, values[start : start + rows], view)
