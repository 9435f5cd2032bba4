"""Run a teacher network once, and store its layers' activations, RDMs or kernels."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rdl_cli.commands.activation_reader import (
    ActivationReader,
    complete_settings,
    log_unstable_layers,
    open_reader,
)
from rdl_cli.commands.console import log
from rdl_cli.commands.export_rdms.activations import (
    create_shared_store,
    measure_error,
    write_activations,
)
from rdl_cli.commands.export_rdms.blockwise import write_kernel, write_rdm
from rdl_cli.commands.export_rdms.existing_layers import (
    EXPORT,
    copy_layers,
    has_layer,
    layer_specs,
    list_exports,
    open_existing,
)
from rdl_cli.commands.export_rdms.reduction import SAMPLE, Reduction
from rdl_cli.commands.image_data import resolve_dataset
from rdl_cli.commands.network_source import is_run
from rdl_cli.commands.options import to_config
from rdl_cli.commands.processes import ALONE, Processes, joined_processes
from rdl_cli.commands.settings import ExportSettings
from rdl_cli.core.errors import UserError
from rdl_cli.core.files import PARTIAL
from rdl_cli.core.provenance import Parent, collect_provenance
from rdl_cli.datasets.augmentation import VIEWS, Views
from rdl_cli.networks.hooks import select_layers
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.rsa.kernels import check_kernel_distance
from rdl_cli.runs.run import Run
from rdl_cli.store.layout import ActivationSpec, KernelSpec, RdmSpec, Spec, store_size
from rdl_cli.store.store import Store, partial
from rdl_cli.store.writer import Writer, free_bytes


def export_rdms(
    source: str | Path, out: Path, settings: ExportSettings, dry_run: bool = False
) -> Store | None:
    """Write a store of a teacher's layers and return it; return None after a dry run.

    Args:
        source: folder of the teacher's finished run, or the spec of a network.
        out: path of the store. Layers are added to one of the same teacher and images.
        settings: layers, images, and the form in which the layers are stored.
        dry_run: check everything, write nothing.

    Raises:
        UserError: the settings are invalid, before anything is written.

    Layers that the store already holds are not computed again. After a kill, the same call resumes.
    Under torchrun each process forwards and compares a part, and the first finishes the store.
    """
    check_export(settings)
    with joined_processes() as processes:
        return _export(source, out, settings, dry_run, processes)


def _export(
    source: str | Path, out: Path, settings: ExportSettings, dry_run: bool, processes: Processes
) -> Store | None:
    if is_run(source):
        settings = complete_settings(Run.open_finished(Path(source)), settings)
    elif not settings.dataset:
        raise UserError(
            f"no images are named for `{source}`",
            hint="pass --stimuli FOLDER, or --dataset folder:PATH and --image-size",
        )
    reader = open_reader(source, settings)
    if not settings.layers:
        raise UserError(
            "no layers are named",
            hint=f"pass --layers NAME,NAME; this network has: {', '.join(reader.shapes)}",
        )
    layers = select_layers(settings.layer_names(), reader.shapes)
    reduction = Reduction(settings.pool, settings.project)
    identity = reader.source | reduction.settings()
    existing = open_existing(out, identity)
    scratch = out.with_name(f".{out.name}.activations{PARTIAL}")
    if existing:
        layers = [name for name in layers if not has_layer(existing, name, settings, reader.views)]
        if not layers:
            if not partial(out).exists():  # a kill after the store was complete leaves it
                scratch.unlink(missing_ok=True)
            log(f"{out} holds {', '.join(settings.layer_names())} of this teacher already")
            return existing
    untrained = reader.origin.list_untrained(layers)
    log_unstable_layers(reader.network, reader.origin.shape, layers, reader.name)
    shapes = {layer: reduction.shape(layer, reader.shapes[layer]) for layer in layers}
    projections = {} if dry_run else _measure_projections(reader, layers, reduction)
    specs = [
        plan_layer(
            layer,
            shapes[layer],
            reader.views,
            settings,
            layer in untrained,
            projections.get(layer, ""),
        )
        for layer in layers
    ]
    existing_specs = layer_specs(existing, without=layers) if existing else []
    activation_specs = [
        ActivationSpec(
            layer,
            shapes[layer],
            "float32",
            reader.views.names,
            pool=settings.pool,
            project=projections.get(layer, ""),
        )
        for layer in layers
    ]
    pairwise = settings.as_ != "activations"
    stimuli = reader.stimuli()
    size = store_size(stimuli, [*existing_specs, *specs])
    size += store_size(stimuli, activation_specs) if pairwise else 0
    check_space(out, size, len(reader.split), layers, settings)
    if dry_run:
        return None
    error = measure_error(reader, settings, processes)
    origin = _collect_provenance(reader, layers, existing, settings, processes)
    origin |= {"source": identity}
    if any(projections.values()) or settings.pool != "none":
        origin["reduction"] = {"pool": settings.pool, "project": projections}
    origin["teacher_error"] = error
    key = repr(sorted(identity.items()))
    held = processes.gather(pairwise and _holds_activations(scratch, identity, layers))
    if pairwise and not held[0]:
        with create_shared_store(
            processes, scratch, stimuli, origin, activation_specs, key, overwrite=True
        ) as writer:
            write_activations(writer, reader, layers, reduction, processes)
    copied_specs = existing_specs if processes.is_first else []
    with create_shared_store(
        processes,
        out,
        stimuli,
        origin,
        [*existing_specs, *specs],
        key,
        overwrite=existing is not None,
    ) as writer:
        if pairwise:
            try:
                copy_layers(writer, existing, copied_specs)
                activations = Store.open(scratch)
                for layer in layers:
                    reps = activations.layer(layer).activations()[0]
                    write_pairwise(writer, layer, reps, settings, reader.device, processes)
            except UserError:  # an RDM was refused; after a kill, the files stay for the next call
                writer.discard()
                scratch.unlink(missing_ok=True)
                raise
        else:
            write_activations(writer, reader, layers, reduction, processes)
            copy_layers(writer, existing, copied_specs)
    if pairwise and processes.is_first:
        scratch.unlink()
    log(f"{out} is complete")
    return Store.open(out)


def check_export(settings: ExportSettings) -> None:
    """Raise UserError if no teacher's layers can be stored in this form."""
    settings.check()
    DISTANCES.find(settings.stored_distance)
    views: Views = VIEWS.make(settings.views)
    if settings.as_ != "activations" and len(views) > 1:
        raise UserError(
            f"--as {settings.as_} stores one view of each image,"
            f" --views {settings.views} has {len(views)}",
            hint="store activations, or leave out --views",
        )
    if settings.as_ == "kernel":
        check_kernel_distance(settings.stored_distance)
        if settings.dtype == "float16":
            raise UserError(
                "float16 is too narrow for a kernel: its largest number is 65,504, and distances"
                " are differences",
                hint="leave --dtype out, or store activations in float16",
            )


def plan_layer(
    layer: str,
    shape: tuple[int, ...],
    views: Views,
    settings: ExportSettings,
    untrained: bool = False,
    project: str = "",
) -> Spec:
    """Return the spec of a layer in the form of the settings; `shape` is one image's."""
    width, distance = settings.dtype, settings.stored_distance
    if settings.as_ == "kernel":
        return KernelSpec(layer, width, distance, math.prod(shape), untrained)
    if settings.as_ == "rdm":
        return RdmSpec(layer, 1, width, distance, untrained=untrained)
    pool = "" if settings.pool == "none" else settings.pool
    return ActivationSpec(
        layer, shape, width, views.names, distance, untrained, pool=pool, project=project
    )


@torch.no_grad()
def _measure_projections(
    reader: ActivationReader, layers: Sequence[str], reduction: Reduction
) -> dict[str, str]:
    """Log and return the distortion of each projected layer, over some of the images."""
    if reduction.units is None:
        return {}
    reps = reader.read(layers, torch.arange(min(SAMPLE, len(reader.split))))
    texts = {
        layer: reduction.describe(reader.shapes[layer], reps[layer].numpy()) for layer in layers
    }
    for layer, text in texts.items():
        if text:
            log(f"{layer}: projected, {text}")
    return texts


def write_pairwise(
    writer: Writer,
    layer: str,
    reps: np.ndarray,
    settings: ExportSettings,
    device: torch.device,
    processes: Processes = ALONE,
) -> None:
    """Write the kernel or RDM of a layer's activations (n ...)."""
    if settings.as_ == "kernel":
        write_kernel(writer, layer, reps, device, processes)
    else:
        write_rdm(writer, layer, reps, settings.stored_distance, device, processes)


def check_space(
    out: Path, size: int, stimuli: int, layers: Sequence[str], settings: ExportSettings
) -> None:
    """Log the size of the store. Raise UserError if the disk is too small."""
    free = free_bytes(out)
    log(
        f"{out}: {', '.join(layers)} of {stimuli:,} stimuli as {settings.as_},"
        f" {size / 1e6:,.1f} MB; the disk has {free / 1e6:,.0f} MB free"
    )
    if size > free:
        raise UserError(
            f"{out} needs {size:,} bytes, the disk has {free:,} free",
            hint="free space, choose another disk, or store less: fewer layers, --dtype float16,"
            " activations in place of RDMs",
        )


def _collect_provenance(
    reader: ActivationReader,
    layers: Sequence[str],
    existing: Store | None,
    settings: ExportSettings,
    processes: Processes,
) -> dict[str, Any]:
    """Return the store's provenance: of this export, its parents, and earlier exports."""
    parents = [
        reader.origin.parent,
        Parent(kind="dataset", path=resolve_dataset(settings), fingerprint=reader.source["images"]),
    ]
    origin = collect_provenance(
        to_config(settings),
        parents,
        str(reader.device),
        torch.get_num_threads(),
        processes.world,
    )
    export = {"layers": list(layers)} | {key: origin[key] for key in EXPORT}
    earlier = list_exports(existing, without=layers) if existing else []
    return origin | {"source": reader.source, "exports": [*earlier, export]}


def _holds_activations(scratch: Path, identity: dict[str, Any], layers: Sequence[str]) -> bool:
    """Return True if an interrupted export left the activations of these layers."""
    if not scratch.exists():
        return False
    store = Store.open(scratch)
    return store.provenance.get("source") == identity and set(layers) <= set(store.layers)
