"""A trained network over a brain's own stimuli: its layers become a store that is compared with the brain's, picture by picture."""

from pathlib import Path

import torch

from rdl_cli.commands.console import say
from rdl_cli.commands.device import device_of
from rdl_cli.commands.settings import Export, record, refuse_given
from rdl_cli.commands.train.brain_targets import fitted
from rdl_cli.core.errors import UserError
from rdl_cli.core.provenance import Parent, provenance
from rdl_cli.core.tensor_types import UNLABELLED
from rdl_cli.datasets.base import Split
from rdl_cli.datasets.preprocessing import PREPROCESSING
from rdl_cli.networks.factory import Pictures
from rdl_cli.networks.hooks import choose, read_only, shapes
from rdl_cli.networks.weights import load
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.runs.run import Run
from rdl_cli.store.layout import ActivationSpec
from rdl_cli.store.store import Stimuli, Store, fingerprint
from rdl_cli.store.writer import create


@torch.no_grad()
def export_over_stimuli(run: Path, brain: Path, out: Path, settings: Export, dry_run: bool = False) -> Store | None:
    """The store at `out` with the activations of the network's layers over the pictures of the store `brain`; None after a dry run.

    The pictures are brought to the network's input as in training; they keep the digests and names that they have in `brain`,
    so that both stores are of the same stimuli. UserError for bad input, before anything is written.
    """
    settings.check()
    of_data = ("dataset", "data_root", "download", "image_size", "split")
    refuse_given(settings, of_data, f"names other pictures than --stimuli {brain}", hint="say one of them")
    refuse_given(settings, ["views"], "is for a data set; a brain saw its stimuli as they are", hint="leave it out")
    refuse_given(settings, ["as_"], "is for a data set; of so few stimuli activations are kept", hint="leave it out")
    DISTANCES.find(settings.distance)
    trained, held = Run.open_finished(run), Store.open(brain)
    if held.stimuli.images is None:
        raise UserError(f"{brain} holds no pictures of its stimuli", hint="import it again with --stimuli")
    if out.exists():
        raise UserError(f"{out} exists already", hint="choose another path, or remove it first")
    network, about = load(trained.weights)
    takes, device = Pictures.read(about.pictures), torch.device(device_of(settings.device))
    own = shapes(network, takes)
    if not settings.layers:
        raise UserError("no layers are named", hint=f"say --layers NAME,NAME; this network has: {', '.join(own)}")
    layers = choose(settings.layer_names(), list(own))
    images, done = fitted(torch.from_numpy(held.pictures()), takes)
    ids = torch.arange(len(images))
    preprocess = PREPROCESSING.make(about.preprocessing, Split(images, torch.full_like(ids, UNLABELLED), ids, ()))
    network = network.to(device)
    blocks = [read_only(network, preprocess(block.to(device)), layers) for block in images.split(settings.batch_size)]
    reps = {layer: torch.cat([block[layer].float().cpu() for block in blocks]).numpy() for layer in layers}
    say(f"{run}: {', '.join(layers)} over the {len(images)} stimuli of {brain}, {done}")
    if dry_run:
        return None
    parents = [
        Parent(kind="run", path=str(run), fingerprint=trained.fingerprint()),
        Parent(kind="store", path=str(brain), fingerprint=fingerprint(held), layers=sorted(held.layers)),
    ]
    made = provenance(record(settings) | {"stimuli": str(brain)}, parents, str(device), torch.get_num_threads())
    if "classes" in held.provenance:
        made["classes"] = held.provenance["classes"]
    noted = {"distance": settings.distance}
    specs = [ActivationSpec(layer, own[layer], settings.dtype, ("identity",), noted) for layer in layers]
    with create(out, Stimuli(*held.stimuli[:3]), made, specs, repr([parent["fingerprint"] for parent in parents])) as writer:
        for layer in layers:
            writer.write(layer, 0, reps[layer], 0)
    return Store.open(out)
