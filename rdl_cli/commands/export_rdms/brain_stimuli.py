"""Run a network over stimuli of their own, a brain's or a folder's, and store its layers."""

from pathlib import Path

import numpy as np
import torch

from rdl_cli.commands.activation_reader import log_unstable_layers
from rdl_cli.commands.console import log
from rdl_cli.commands.device import configure_backend, resolve_device
from rdl_cli.commands.export_rdms.export_rdms import (
    check_export,
    check_space,
    plan_layer,
    write_pairwise,
)
from rdl_cli.commands.export_rdms.finite_check import check_finite
from rdl_cli.commands.export_rdms.reduction import SAMPLE, Reduction
from rdl_cli.commands.export_rdms.stimulus_sets import open_stimulus_images, order_like
from rdl_cli.commands.network_source import open_network
from rdl_cli.commands.options import reject_options, to_config
from rdl_cli.commands.processes import require_one_process
from rdl_cli.commands.settings import ExportSettings
from rdl_cli.core.errors import UserError
from rdl_cli.core.files import refuse_existing
from rdl_cli.core.provenance import collect_provenance
from rdl_cli.core.registry import NameSource
from rdl_cli.core.tensor_types import UNLABELLED
from rdl_cli.datasets.augmentation import VIEWS
from rdl_cli.datasets.base import Split
from rdl_cli.datasets.decoding import WHITE
from rdl_cli.datasets.preprocessing import PREPROCESSING
from rdl_cli.networks.hooks import read_layers, select_layers
from rdl_cli.store.layout import store_size
from rdl_cli.store.store import Store
from rdl_cli.store.writer import create_store


@torch.no_grad()
def export_over_stimuli(
    source: str | Path,
    stimuli: Path,
    out: Path,
    settings: ExportSettings,
    dry_run: bool = False,
) -> Store | None:
    """Write a store of a network's layers over a brain's stimuli or a folder's; return it.

    Args:
        source: the folder of a finished run, or the spec of a network with `weights` in settings.
        stimuli: a store with images, or a folder of images. Digests and names are kept, so that
            both stores are of the same stimuli.
        out: path of the new store.
        settings: layers, and the form in which they are stored.
        dry_run: check everything, write nothing, and return None.

    Raises:
        UserError: the settings are invalid, before anything is written.
    """
    _check_settings(settings, stimuli)
    require_one_process(f"an export over --stimuli {stimuli}")
    refuse_existing(out)
    network = open_network(str(source), settings)
    images = open_stimulus_images(stimuli, network, settings.background or WHITE)
    if settings.like:
        images = order_like(images, Path(settings.like))
    if not settings.layers:
        raise UserError(
            "no layers are named",
            hint=f"pass --layers NAME,NAME; this network has: {', '.join(network.shapes)}",
        )
    layers = select_layers(settings.layer_names(), network.shapes)
    untrained = network.list_untrained(layers)
    log_unstable_layers(network.network, network.shape, layers, network.name)
    reduction = Reduction(settings.pool, settings.project)
    shapes = {layer: reduction.shape(layer, network.shapes[layer]) for layer in layers}
    n = len(images.stimuli.digests)
    rows = torch.arange(n)
    first = images.read(np.arange(1))
    preprocess = PREPROCESSING.make(
        network.preprocessing,
        # statistics are measured over all stimuli; a spec that names its numbers reads one image
        Split(
            images.read(np.arange(n)) if network.preprocessing == "standard" else first,
            torch.full_like(rows, UNLABELLED),
            rows,
            (),
        ),
        source=NameSource(network.name, settings.trust),
    )
    views = VIEWS.make("none")
    described = images.stimuli._replace(preprocessing=preprocess.spec)
    plans = [plan_layer(layer, shapes[layer], views, settings) for layer in layers]
    check_space(out, store_size(described, plans), n, layers, settings)
    log(f"{network.name}: {', '.join(layers)} over the {n} stimuli of {stimuli}, {images.order}")
    if dry_run:
        return None
    device = torch.device(resolve_device(settings.device))
    configure_backend(device)
    model = network.network.to(device)
    blocks: dict[str, list[np.ndarray]] = {layer: [] for layer in layers}
    samples: dict[str, list[np.ndarray]] = {layer: [] for layer in layers}
    for start in range(0, n, settings.batch_size):
        at = np.arange(start, min(n, start + settings.batch_size))
        batch = preprocess(images.read(at).to(device))
        for layer, values in read_layers(model, batch, layers).items():
            reps = values.float().cpu().numpy()
            blocks[layer].append(reduction(reps))
            if settings.project is not None and start < SAMPLE:
                samples[layer].append(reps[: SAMPLE - start])
    projections = {
        layer: reduction.describe(network.shapes[layer], np.concatenate(parts)) if parts else ""
        for layer, parts in samples.items()
    }
    for layer, text in projections.items():
        if text:
            log(f"{layer}: projected, {text}")
    specs = [
        plan_layer(layer, shapes[layer], views, settings, layer in untrained, projections[layer])
        for layer in layers
    ]
    parents = [network.parent, images.parent]
    config = to_config(settings) | {"stimuli": str(stimuli), "source": network.name}
    origin = collect_provenance(config, parents, str(device), torch.get_num_threads())
    origin["order"] = images.order
    if images.classes:
        origin["classes"] = images.classes
    if settings.pool != "none" or any(projections.values()):
        origin["reduction"] = {"pool": settings.pool, "project": projections}
    key = repr([parent["fingerprint"] for parent in parents])
    with create_store(out, described, origin, specs, key) as writer:
        for layer in layers:
            reps = np.concatenate(blocks[layer])
            try:
                check_finite(layer, reps)
                if settings.as_ == "activations":
                    writer.write(layer, 0, reps, 0)
                else:
                    write_pairwise(writer, layer, reps, settings, device)
            except UserError:
                writer.discard()
                raise
    return Store.open(out)


def _check_settings(settings: ExportSettings, stimuli: Path) -> None:
    """Raise UserError if a setting is invalid, or has no effect on stimuli without a data set."""
    reject_options(
        settings,
        ("dataset", "data_root", "split"),
        f"is for a data set, not for --stimuli {stimuli}",
        hint="pass one of them",
    )
    reject_options(
        settings,
        ["views"],
        "is for a data set; a brain's stimuli have one view",
        hint="leave it out",
    )
    check_export(settings)
