"""Run a trained network over a brain's own stimuli, and store its layers for comparison."""

from pathlib import Path

import torch

from rdl_cli.commands.console import log
from rdl_cli.commands.device import resolve_device
from rdl_cli.commands.export_rdms.finite_check import check_finite
from rdl_cli.commands.options import reject_options, to_config
from rdl_cli.commands.settings import ExportSettings
from rdl_cli.commands.stimulus_images import resize_to_network
from rdl_cli.core.errors import UserError
from rdl_cli.core.provenance import Parent, collect_provenance
from rdl_cli.core.registry import NameSource
from rdl_cli.core.tensor_types import UNLABELLED
from rdl_cli.datasets.base import Split
from rdl_cli.datasets.preprocessing import PREPROCESSING
from rdl_cli.networks.factory import InputShape
from rdl_cli.networks.hooks import layer_shapes, read_layers, select_layers
from rdl_cli.networks.weights import load_network
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.runs.run import Run
from rdl_cli.store.layout import ActivationSpec
from rdl_cli.store.store import Store
from rdl_cli.store.writer import create_store


@torch.no_grad()
def export_over_brain_stimuli(
    run: Path, brain: Path, out: Path, settings: ExportSettings, dry_run: bool = False
) -> Store | None:
    """Write a store of a network's activations over the stimuli of the store `brain`; return it.

    Return None after a dry run. The images are resized to the network's input as in training. They
    keep their digests and names, so that both stores are of the same stimuli. Raise UserError for
    invalid settings, before anything is written.
    """
    _check_settings(settings, brain)
    trained, brain_store = Run.open_finished(run), Store.open(brain)
    if brain_store.stimuli.images is None:
        raise UserError(
            f"{brain} holds no images of its stimuli", hint="import it again with --stimuli"
        )
    if out.exists():
        raise UserError(f"{out} exists already", hint="choose another path, or remove it first")
    network, metadata = load_network(trained.weights, settings.trust)
    shape = InputShape.parse(metadata.input_shape)
    device = torch.device(resolve_device(settings.device))
    shapes = layer_shapes(network, shape)
    if not settings.layers:
        raise UserError(
            "no layers are named",
            hint=f"pass --layers NAME,NAME; this network has: {', '.join(shapes)}",
        )
    layers = select_layers(settings.layer_names(), shapes)
    images, changes = resize_to_network(torch.from_numpy(brain_store.images()), shape)
    rows = torch.arange(len(images))
    preprocess = PREPROCESSING.make(
        metadata.preprocessing,
        Split(images, torch.full_like(rows, UNLABELLED), rows, ()),
        source=NameSource(str(trained.weights), settings.trust),
    )
    network = network.to(device)
    blocks = [
        read_layers(network, preprocess(block.to(device)), layers)
        for block in images.split(settings.batch_size)
    ]
    log(f"{run}: {', '.join(layers)} over the {len(images)} stimuli of {brain}, {changes}")
    if dry_run:
        return None
    parents = [
        Parent(kind="run", path=str(run), fingerprint=trained.fingerprint()),
        Parent(
            kind="store",
            path=str(brain),
            fingerprint=brain_store.fingerprint(),
            layers=sorted(brain_store.layers),
        ),
    ]
    config = to_config(settings) | {"stimuli": str(brain)}
    origin = collect_provenance(config, parents, str(device), torch.get_num_threads())
    if "classes" in brain_store.provenance:
        origin["classes"] = brain_store.provenance["classes"]
    specs = [
        ActivationSpec(layer, shapes[layer], settings.dtype, ("identity",), settings.distance)
        for layer in layers
    ]
    key = repr([parent["fingerprint"] for parent in parents])
    stimuli = brain_store.stimuli._replace(
        images=None, image_digests=None, preprocessing=preprocess.spec
    )
    with create_store(out, stimuli, origin, specs, key) as writer:
        for layer in layers:
            reps = torch.cat([block[layer].float().cpu() for block in blocks]).numpy()
            check_finite(layer, reps)
            writer.write(layer, 0, reps, 0)
    return Store.open(out)


def _check_settings(settings: ExportSettings, brain: Path) -> None:
    """Raise UserError if a setting is invalid, or has no effect on a brain's stimuli."""
    settings.check()
    reject_options(
        settings,
        ("dataset", "data_root", "download", "image_size", "split"),
        f"is for a data set, not for --stimuli {brain}",
        hint="pass one of them",
    )
    reject_options(
        settings,
        ["views"],
        "is for a data set; a brain's stimuli have one view",
        hint="leave it out",
    )
    reject_options(
        settings,
        ["as_"],
        "is for a data set; a brain's stimuli are few, so activations are stored",
        hint="leave it out",
    )
    DISTANCES.find(settings.distance)
