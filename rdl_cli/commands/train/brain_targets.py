"""Open a brain's store as a target: resize its stimuli to the network, split and select RDMs."""

from collections.abc import Sequence

import numpy as np
import torch

from rdl_cli.commands.alignment import contains_images
from rdl_cli.commands.console import log
from rdl_cli.commands.settings import StudentSettings
from rdl_cli.commands.stimulus_images import resize_to_network
from rdl_cli.core.errors import UserError
from rdl_cli.core.seeds import Seeds
from rdl_cli.core.tensor_types import Condensed, Ids
from rdl_cli.datasets.base import Split
from rdl_cli.datasets.preprocessing import Preprocess
from rdl_cli.networks.factory import InputShape
from rdl_cli.rsa.control_rdms import CONTROLS
from rdl_cli.rsa.rdms import MEAN, RDMs
from rdl_cli.store.select import select, select_one, split_layer
from rdl_cli.store.store import Store
from rdl_cli.training.brain_target import BrainTarget


def has_own_stimuli(store: Store, split: Split) -> bool:
    """Return True if the store holds images, and not all training images are among them."""
    return store.stimuli.images is not None and not contains_images(store, split)


def open_brain_target(
    store: Store,
    layers: Sequence[str],
    settings: StudentSettings,
    input_shape: InputShape,
    preprocess: Preprocess,
    device: torch.device,
    seeds: Seeds,
) -> BrainTarget:
    """Return the store's RDMs over its own stimuli, which are resized to the network's input.

    UserError if an RDM, the control or the split of the stimuli is not possible.
    """
    images, changes = resize_to_network(torch.from_numpy(store.images()), input_shape)
    heldout_stimuli = draw_heldout_stimuli(len(images), settings.stimuli_heldout, seeds)
    rdms: dict[str, RDMs] = {}
    subjects: dict[str, RDMs] = {}
    for layer in layers:
        rdms[layer] = select_one(store, layer)
        log(f"target RDM: {rdms[layer].notes[-1]}")
        if (of_subjects := select_subjects(store, layer)) is not None:
            subjects[layer] = of_subjects
    stored = store.stimuli.labels
    labels = None if stored is None else torch.from_numpy(np.array(stored))
    control = CONTROLS.find(settings.control) if settings.control else None

    def make_control(values: Condensed, rows: Ids) -> Condensed:
        assert control is not None
        return control(values, None if labels is None else labels[rows], seeds("control"))

    target = BrainTarget(
        images.to(device),
        preprocess,
        rdms,
        subjects,
        heldout_stimuli,
        settings.stimuli_batch_size,
        make_control if control is not None else None,
    )
    n_train = len(target.train_stimuli)
    in_step = "all" if target.batch_size == n_train else str(target.batch_size)
    split = f"{n_train} for training, {in_step} in each step"
    split += f", {len(heldout_stimuli)} held out" if len(heldout_stimuli) else ""
    log(f"teacher {store.path}: {len(images)} stimuli of its own, {changes}; {split}")
    if control is not None:
        log(f"control `{settings.control}`: brain similarity is measured to the RDM without it")
    return target


def draw_heldout_stimuli(n: int, heldout: float | None, seeds: Seeds) -> Ids:
    """Return the rows of the held-out stimuli, in order: a fraction below 1, or a number."""
    count = 0 if not heldout else round(heldout * n) if heldout < 1 else int(heldout)
    if count >= n:
        raise UserError(
            f"--stimuli-heldout holds out {count} of {n} stimuli; none is left for training"
        )
    return torch.randperm(n, generator=seeds("stimuli"))[:count].sort().values


def select_subjects(store: Store, text: str) -> RDMs | None:
    """Return each subject's RDM if the text names a mean over subjects (`IT@mean`), else None."""
    layer, parts = split_layer(store, text)
    if MEAN not in parts:
        return None
    rdms = select(store, "@".join([layer, *(part for part in parts if part != MEAN)]))
    if len(rdms.time_points) > 1 or len(set(rdms.subjects)) < 2:
        return None
    return rdms.mean_over_sessions()
