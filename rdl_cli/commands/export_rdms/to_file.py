"""Write a store's RDMs to a file for another program (`rdl export-rdms STORE OUT`)."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.distance import squareform

from rdl_cli.commands.console import log
from rdl_cli.commands.device import resolve_device
from rdl_cli.commands.export_rdms.blockwise import compute_rdm
from rdl_cli.commands.options import reject_options
from rdl_cli.commands.settings import FORMATS, ExportSettings
from rdl_cli.core.errors import UserError
from rdl_cli.core.files import refuse_existing
from rdl_cli.core.patterns import select_names
from rdl_cli.io.write import WRITERS, write_rdms
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.rsa.rdms import RDMs
from rdl_cli.store.layers import StoredLayer
from rdl_cli.store.store import Store

MAX_STIMULI = 20_000
"""Of an RDM that is computed for a file: other programs hold its square, 3.2 GB, in memory."""

OF_A_STORE = {"layers", "distance", "device", "as_"}
"""Settings that apply to a store; the rest is for runs."""


def export_to_file(
    path: Path, out: Path, settings: ExportSettings, format: str = "", dry_run: bool = False
) -> None:
    """Write a store's RDMs in a format of WRITERS.

    Stored RDMs go out unchanged. Those of activations and kernels are computed, in the distance of
    the settings, else in that of the store. The stimuli keep the order of the store.

    Args:
        path: the store.
        out: the file to write, which must not exist.
        settings: `layers`, `distance` and `device` apply; the rest is for runs.
        format: the format; by default the one of `out`'s suffix.
        dry_run: check everything, write nothing.

    Raises:
        UserError: an unknown format or distance, stored RDMs of another distance, options that are
            for runs, or patterns without this distance.
    """
    reject_options(
        settings,
        [option.name for option in fields(settings) if option.name not in OF_A_STORE],
        f"is for a run; {path} is a store",
        hint="leave it out",
    )
    if settings.as_ == "kernel":
        raise UserError(
            "--as kernel is for a run; files for other programs hold RDMs",
            hint="leave it out, or export the run again",
        )
    store = Store.open(path)
    format = format or FORMATS.get(out.suffix.lower(), "")
    if not format:
        raise UserError(
            f"{out} has no suffix that names a format",
            hint=f"{', '.join(FORMATS)}; or pass --format {'|'.join(WRITERS)}",
        )
    WRITERS.find(format)
    names = list(store.layers)
    layers = [
        store.layer(name)
        for name in (select_names(settings.layer_names(), names) if settings.layers else names)
    ]
    distances = {layer.name: _choose_distance(layer, settings.distance) for layer in layers}
    refuse_existing(out)
    count = sum(layer.n_rdms or 1 for layer in layers)
    log(f"{out}: {count} RDMs of {len(layers)} regions for {format}")
    for layer in layers:
        if not layer.has_rdms:
            view = f", view {layer.views[0]}" if len(layer.views) > 1 else ""
            log(f"{layer.name}: {distances[layer.name]} of its {layer.kind}{view}")
    if not dry_run:
        device = torch.device(resolve_device(settings.device))
        rdms = [_make_rdms(layer, distances[layer.name], device) for layer in layers]
        write_rdms(out, rdms, format)


def _choose_distance(layer: StoredLayer, asked: str) -> str:
    """Return the distance of a layer's RDMs in the file. UserError if it cannot be had."""
    if asked:
        DISTANCES.find(asked)
    if layer.has_rdms:
        if asked and asked != layer.distance:
            raise UserError(
                f"the RDMs of `{layer.name}` in {layer.path} are in"
                f" `{layer.distance or 'an unknown distance'}`, not `{asked}`",
                hint="leave out --distance, or export the layer as activations",
            )
        return layer.distance
    if layer.n_stimuli > MAX_STIMULI:
        raise UserError(
            f"{layer.path} holds {layer.kind} of {layer.n_stimuli:,} stimuli; an RDM is computed"
            f" for a file of at most {MAX_STIMULI:,}",
            hint="export fewer images, or export the run with --as rdm",
        )
    return asked or layer.default_distance()


def _make_rdms(layer: StoredLayer, distance: str, device: torch.device) -> RDMs:
    """Return the stored RDMs, or the one of the activations' first view or of the kernel."""
    if layer.has_rdms:
        return replace(layer.rdms(), region=layer.name)
    if layer.has_activations:
        parts = compute_rdm(layer.name, layer.activations()[0], distance, device)
        values = np.concatenate([part for _, part in parts])
    else:
        values = squareform(layer.distances(distance).numpy(), checks=False)
    return RDMs(values[None], distance, layer.name, stimuli=layer.stimuli)
