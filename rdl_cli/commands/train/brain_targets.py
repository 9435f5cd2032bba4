"""Open a brain's store as a target: resize its stimuli to the network, split and select RDMs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from rdl_cli.commands.alignment import contains_images
from rdl_cli.commands.bind_stimuli import read_name_list
from rdl_cli.commands.console import log
from rdl_cli.commands.settings import StudentSettings
from rdl_cli.commands.stimulus_images import resize_to_network
from rdl_cli.core.errors import UserError
from rdl_cli.core.heldout_stimuli import HINT, parse_heldout
from rdl_cli.core.seeds import Seeds
from rdl_cli.core.stimulus_names import find_names
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
    heldout_stimuli = select_heldout_stimuli(store, settings.stimuli_heldout, seeds)
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


def select_heldout_stimuli(store: Store, heldout: str, seeds: Seeds) -> Ids:
    """Return the rows of the held-out stimuli, in order. UserError if none is left for training.

    Args:
        store: the brain's store.
        heldout: the text of `--stimuli-heldout`. Its folds are the same in all runs over as many
            stimuli; a fraction or a number is drawn by the run's seed.
        seeds: those of the run.
    """
    asked, n = parse_heldout(heldout), len(store.stimuli.digests)
    if asked.file:
        rows = torch.tensor(_find_named_stimuli(store, asked.file), dtype=torch.long)
    elif asked.folds:
        fold = seeds.seed % asked.folds if asked.fold is None else asked.fold
        rows = torch.randperm(n, generator=Seeds(0)("folds of stimuli"))[fold :: asked.folds]
    else:
        count = round(asked.amount * n) if asked.amount < 1 else int(asked.amount)
        rows = torch.randperm(n, generator=seeds("stimuli"))[:count]
    if len(rows) >= n:
        raise UserError(
            f"--stimuli-heldout {heldout} holds out {len(rows)} of {n} stimuli; none is left for"
            " training",
            hint=HINT,
        )
    return rows.sort().values


def _find_named_stimuli(store: Store, file: str) -> list[int]:
    """Return the rows of the stimuli that a text file names. UserError for an unknown name."""
    if not Path(file).is_file():
        raise UserError(f"--stimuli-heldout is {file}, and there is no such file", hint=HINT)
    if store.stimuli.names is None:
        raise UserError(
            f"{store.path} has no names of its stimuli, which --stimuli-heldout {file} needs",
            hint="import it again with --names, or pass a fraction or folds:4",
        )
    names, known = read_name_list(Path(file)), store.stimuli.names.tolist()
    rows = find_names(names, known)
    if unknown := [name for name, row in zip(names, rows, strict=True) if row < 0]:
        raise UserError(
            f"{len(unknown)} of {len(names)} names in {file} are no stimuli of {store.path}:"
            f" {', '.join(unknown[:5])}",
            hint=f"it has {', '.join(map(str, known[:3]))}, ...",
        )
    return sorted(set(rows))


def select_subjects(store: Store, text: str) -> RDMs | None:
    """Return each subject's RDM if the text names a mean over subjects (`IT@mean`), else None."""
    layer, parts = split_layer(store, text)
    if MEAN not in parts:
        return None
    rdms = select(store, "@".join([layer, *(part for part in parts if part != MEAN)]))
    if len(rdms.time_points) > 1 or len(set(rdms.subjects)) < 2:
        return None
    return rdms.mean_over_sessions()
