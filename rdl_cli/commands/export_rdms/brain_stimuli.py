"""A trained network over a brain's own stimuli: its layers become a store that is compared with the brain's, picture by picture."""

from pathlib import Path

import torch

from rdl_cli.commands.console import log
from rdl_cli.commands.device import resolve_device
from rdl_cli.commands.options import reject_options, to_config
from rdl_cli.commands.settings import ExportSettings
from rdl_cli.commands.train.brain_targets import resize_to_network
from rdl_cli.core.errors import UserError
from rdl_cli.core.patterns import select_names
from rdl_cli.core.provenance import Parent, provenance
from rdl_cli.core.tensor_types import UNLABELLED
from rdl_cli.datasets.base import Split
from rdl_cli.datasets.preprocessing import PREPROCESSING
from rdl_cli.networks.factory import InputShape
from rdl_cli.networks.hooks import layer_shapes, read_layers
from rdl_cli.networks.weights import load_network
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.runs.run import Run
from rdl_cli.store.layout import ActivationSpec
from rdl_cli.store.store import Stimuli, Store
from rdl_cli.store.writer import create_store


@torch.no_grad()
def export_over_brain_stimuli(
    run: Path, brain: Path, out: Path, settings: ExportSettings, dry_run: bool = False
) -> Store | None:
    """The store at `out` with the activations of the network's layers over the pictures of the store `brain`; None after a dry run.

    The pictures are brought to the network's input as in training; they keep the digests and names that they have in `brain`,
    so that both stores are of the same stimuli. UserError for bad input, before anything is written.
    """
    settings.check()
    of_data = ("dataset", "data_root", "download", "image_size", "split")
    reject_options(
        settings, of_data, f"names other pictures than --stimuli {brain}", hint="say one of them"
    )
    reject_options(
        settings,
        ["views"],
        "is for a data set; a brain saw its stimuli as they are",
        hint="leave it out",
    )
    reject_options(
        settings,
        ["as_"],
        "is for a data set; of so few stimuli activations are kept",
        hint="leave it out",
    )
    DISTANCES.find(settings.distance)
    trained, held = Run.open_finished(run), Store.open(brain)
    if held.stimuli.images is None:
        raise UserError(
            f"{brain} holds no pictures of its stimuli", hint="import it again with --stimuli"
        )
    if out.exists():
        raise UserError(f"{out} exists already", hint="choose another path, or remove it first")
    network, about = load_network(trained.weights)
    takes, device = InputShape.read(about.pictures), torch.device(resolve_device(settings.device))
    own = layer_shapes(network, takes)
    if not settings.layers:
        raise UserError(
            "no layers are named",
            hint=f"say --layers NAME,NAME; this network has: {', '.join(own)}",
        )
    layers = select_names(settings.layer_names(), list(own))
    images, done = resize_to_network(torch.from_numpy(held.images()), takes)
    ids = torch.arange(len(images))
    preprocess = PREPROCESSING.make(
        about.preprocessing, Split(images, torch.full_like(ids, UNLABELLED), ids, ())
    )
    network = network.to(device)
    blocks = [
        read_layers(network, preprocess(block.to(device)), layers)
        for block in images.split(settings.batch_size)
    ]
    reps = {
        layer: torch.cat([block[layer].float().cpu() for block in blocks]).numpy()
        for layer in layers
    }
    log(f"{run}: {', '.join(layers)} over the {len(images)} stimuli of {brain}, {done}")
    if dry_run:
        return None
    parents = [
        Parent(kind="run", path=str(run), fingerprint=trained.fingerprint()),
        Parent(
            kind="store",
            path=str(brain),
            fingerprint=held.fingerprint(),
            layers=sorted(held.layers),
        ),
    ]
    made = provenance(
        to_config(settings) | {"stimuli": str(brain)}, parents, str(device), torch.get_num_threads()
    )
    if "classes" in held.provenance:
        made["classes"] = held.provenance["classes"]
    specs = [
        ActivationSpec(layer, own[layer], settings.dtype, ("identity",), settings.distance) for layer in layers
    ]
    with create_store(
        out,
        Stimuli(*held.stimuli[:3]),
        made,
        specs,
        repr([parent["fingerprint"] for parent in parents]),
    ) as writer:
        for layer in layers:
            writer.write(layer, 0, reps[layer], 0)
    return Store.open(out)
