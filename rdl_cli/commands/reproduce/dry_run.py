"""What can be known of a recipe before anything is trained: its data, devices and layers are there, and its objectives can use them."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch

from rdl_cli.commands.device import device_of
from rdl_cli.commands.export_rdms.existing_layers import holds
from rdl_cli.commands.export_rdms.export_rdms import check, spec_of, write_compared
from rdl_cli.commands.image_data import load
from rdl_cli.commands.plot.plot_data import Wanted
from rdl_cli.commands.reproduce.recipe import Recipe
from rdl_cli.commands.settings import Data, Export, Student, Training
from rdl_cli.commands.train.plan import Plan, length
from rdl_cli.commands.train.targets import assembled, followed, read_matches
from rdl_cli.core.errors import UserError
from rdl_cli.core.seeds import Seeds
from rdl_cli.core.tensor_types import Batch
from rdl_cli.datasets.augmentation import VIEWS, Views
from rdl_cli.datasets.base import Split
from rdl_cli.datasets.loader import digests
from rdl_cli.networks.factory import Pictures, build
from rdl_cli.networks.hooks import choose, shapes
from rdl_cli.runs.run import Run
from rdl_cli.store.store import Stimuli, Store
from rdl_cli.store.writer import create
from rdl_cli.training.objective import Setting
from rdl_cli.training.targets import StoreTarget, Target

FEW = 8
"""Pictures in the store that objectives are tried on."""


class Network(NamedTuple):
    """What is known of a network before it is trained: its layers with their shapes, and the pictures that it is to learn from."""

    layers: dict[str, tuple[int, ...]]
    split: Split


def rehearse(recipe: Recipe, out: Path) -> None:
    """UserError for a data set, file or device that is not there, a layer that no network has, and what an objective can't work with.

    Objectives are made as in training, from a store of random numbers for a few pictures. Nothing is written below `out`. Where every
    method is finished already, nothing is needed any more.
    """
    if all(_finished(out / name, settings) for name, settings in recipe.methods.items()):
        return
    if (out / "results").is_file():
        raise UserError(f"{out / 'results'} is a file; the tables and figures need a folder there", hint="choose another --out")
    known = _networks(recipe)
    stored: list[str] = []
    if recipe.store:
        check(recipe.store)
        device_of(recipe.store.device)
        stored = choose(recipe.store.layer_names(), list(known["teacher"].layers))
        _refuse_other_store(recipe.store, stored, out, recipe.methods)
    for name, settings in recipe.methods.items():
        for path in (settings.targets, settings.init):
            if path and Path(path) not in (out / "store.h5", out / "teacher") and not Path(path).exists():
                raise UserError(f"[methods.{name}]: there is no {path}", hint="the recipe's header may say how it is made")
    with TemporaryDirectory() as folder:
        stores: dict[str, Store] = {}
        if recipe.store:
            stores[str(out / "store.h5")] = _few(recipe.store, stored, known["teacher"], Path(folder) / "store.h5")
        tried = [
            (name, each) for name, settings in recipe.methods.items() for each in _variants(settings, recipe.tune[name], recipe.tuning)
        ]
        live = str(out / "teacher")
        if layers := {match.theirs for _, each in tried if each.targets == live for match in followed(each)}:
            there = [layer for layer in known["teacher"].layers if layer in layers]
            stores[live] = _few(Export(), there, known["teacher"], Path(folder) / "live.h5")
        for name, each in tried:  # for a teacher that runs along every view is a picture like any other
            _try(name, replace(each, views="none") if each.targets == live else each, known[name], stores)
    if recipe.figures.layers:
        drawn = Wanted(recipe.figures.layers)
        for name in recipe.figures.methods or known:
            drawn.of(list(known[name].layers), out / name)
        drawn.check()


def _networks(recipe: Recipe) -> dict[str, Network]:
    """Those of the methods and the teacher, by name. UserError for data, a device or a network that there is not, and too few images."""
    splits: dict[tuple, Split] = {}

    def shown(data: Data) -> Split:
        which = data.dataset, data.data_root, data.image_size
        if which not in splits:
            splits[which] = load(data).train
        return splits[which]

    def network(settings: Training) -> Network:
        split = shown(settings)
        device_of(settings.device)
        Plan.of(settings, split, Seeds(settings.seed))
        pictures = Pictures(*split.images.shape[1:])
        return Network(shapes(build(settings.network, pictures, len(split.classes)), pictures), split)

    if recipe.store and recipe.store.dataset:
        shown(recipe.store)
    return {name: network(settings) for name, settings in (recipe.methods | {"teacher": recipe.teacher}).items() if settings}


def _variants(settings: Student, trials: list[dict[str, Any]] | str, tuning: dict[str, Any]) -> list[Student]:
    """What training may be asked for: the settings with each of the trials, and where there is a choice the tuning runs."""
    if isinstance(trials, str) or not trials:
        return [settings]
    tried = [replace(settings, **tuning | trial) for trial in trials] if len(trials) > 1 else []
    return [replace(settings, **trial) for trial in trials] + tried


def _few(settings: Export, layers: list[str], teacher: Network, path: Path) -> Store:
    """A store in the form that the recipe's is to have, of random numbers for a few pictures."""
    views: Views = VIEWS.make(settings.views)
    stimuli = Stimuli(digests(teacher.split.read(slice(FEW))))
    draw = Seeds(0)("rehearsal")
    specs = [spec_of(layer, teacher.layers[layer], views, settings) for layer in layers]
    with create(path, stimuli, {}, specs, "rehearsal") as writer:
        for layer in layers:
            reps = torch.randn(len(stimuli.digests), *teacher.layers[layer], generator=draw).numpy()
            if settings.as_ == "activations":
                for view in range(len(views)):
                    writer.write(layer, 0, reps, view)
            else:
                write_compared(writer, layer, reps, settings, torch.device("cpu"))
    return Store.open(path)


def _try(name: str, settings: Student, student: Network, stores: dict[str, Store]) -> None:
    """Make the method's objectives; UserError, with the method's name, where that is refused. What others left on disk is not asked."""
    store = stores.get(settings.targets)
    if settings.targets and not store:
        return
    few = min(FEW, len(student.split))
    zeros = torch.zeros(few, dtype=torch.long)
    calibration = Batch(student.split.read(slice(few)), zeros, torch.arange(few), zeros)
    try:
        matches = read_matches(settings.match)
        choose([match.mine for match in matches], list(student.layers), "layer of the student")
        target = _target(settings, store) if store else None
        labelled = len(student.split) if settings.train_size is None else settings.train_size
        epochs, *_ = length(settings, max(labelled, len(student.split) - labelled if settings.unlabelled else 0))
        for objective in assembled(settings, Setting(matches, target, student.layers, len(student.split.classes), calibration, Seeds(0))):
            objective.check(epochs, settings.batch_size)
    except UserError as error:
        said = str(error).replace(str(store.path), settings.targets) if store else str(error)
        raise UserError(f"[methods.{name}]: {said}", hint=error.hint) from error


def _target(settings: Student, store: Store) -> Target:
    layers = [match.theirs for match in followed(settings)]
    choose(layers, list(store.layers), "layer of the teacher")
    views: Views = VIEWS.make(settings.views)
    return StoreTarget(store, layers, torch.arange(FEW), views.names, torch.device("cpu"))


def _refuse_other_store(settings: Export, layers: list[str], out: Path, methods: dict[str, Student]) -> None:
    """UserError where a store would be made anew that students have learned from already."""
    path = out / "store.h5"
    held = Store.open(path) if path.is_file() else None
    views: Views = VIEWS.make(settings.views)
    other = [layer for layer in layers if held and layer in held.layers and not holds(held, layer, settings, views)]
    learned = [name for name, student in methods.items() if student.targets == str(path) and (out / name).exists()]
    if other and learned:
        raise UserError(
            f"{path} holds `{other[0]}` in another form than [store] says now, and {learned[0]} learned from it",
            hint="put [store] back as it was, or choose another --out",
        )


def _finished(out: Path, settings: Training) -> bool:
    return all(Run(out / f"seed{seed}" if settings.seeds else out).finished for seed in settings.seed_list())
