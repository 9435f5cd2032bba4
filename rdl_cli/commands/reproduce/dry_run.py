"""What can be known of a recipe before anything is trained: its data, devices and layers are there, and its objectives can use them."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch

from rdl_cli.commands.device import resolve_device
from rdl_cli.commands.export_rdms.existing_layers import has_layer
from rdl_cli.commands.export_rdms.export_rdms import check_export, plan_layer, write_pairwise
from rdl_cli.commands.image_data import load_splits
from rdl_cli.commands.plot.plot_data import LayerSelection
from rdl_cli.commands.reproduce.recipe import Recipe
from rdl_cli.commands.settings import (
    DataSettings,
    ExportSettings,
    StudentSettings,
    TrainingSettings,
)
from rdl_cli.commands.train.plan import TrainingPlan, count_steps
from rdl_cli.commands.train.targets import build_objectives, parse_layer_matches, teacher_layers
from rdl_cli.core.errors import UserError
from rdl_cli.core.patterns import select_names
from rdl_cli.core.seeds import Seeds
from rdl_cli.core.tensor_types import Batch
from rdl_cli.datasets.augmentation import VIEWS, Views
from rdl_cli.datasets.base import Split
from rdl_cli.datasets.loader import image_digests
from rdl_cli.networks.factory import InputShape, build_network
from rdl_cli.networks.hooks import layer_shapes
from rdl_cli.runs.run import Run
from rdl_cli.store.store import Stimuli, Store
from rdl_cli.store.writer import create_store
from rdl_cli.training.objective import ObjectiveContext
from rdl_cli.training.targets import StoreTarget, Target

FEW = 8
"""Pictures in the store that objectives are tried on."""


class DryNetwork(NamedTuple):
    """What is known of a network before it is trained: its layers with their shapes, and the pictures that it is to learn from."""

    layers: dict[str, tuple[int, ...]]
    split: Split


def dry_run(recipe: Recipe, out: Path) -> None:
    """UserError for a data set, file or device that is not there, a layer that no network has, and what an objective can't work with.

    Objectives are made as in training, from a store of random numbers for a few pictures. Nothing is written below `out`. Where every
    method is finished already, nothing is needed any more.
    """
    if all(_finished(out / name, settings) for name, settings in recipe.methods.items()):
        return
    if (out / "results").is_file():
        raise UserError(
            f"{out / 'results'} is a file; the tables and figures need a folder there",
            hint="choose another --out",
        )
    known = _networks(recipe)
    stored: list[str] = []
    if recipe.store:
        check_export(recipe.store)
        resolve_device(recipe.store.device)
        stored = select_names(recipe.store.layer_names(), list(known["teacher"].layers))
        _refuse_other_store(recipe.store, stored, out, recipe.methods)
    for name, settings in recipe.methods.items():
        for path in (settings.targets, settings.init):
            if (
                path
                and Path(path) not in (out / "store.h5", out / "teacher")
                and not Path(path).exists()
            ):
                raise UserError(
                    f"[methods.{name}]: there is no {path}",
                    hint="the recipe's header may say how it is made",
                )
    with TemporaryDirectory() as folder:
        stores: dict[str, Store] = {}
        if recipe.store:
            stores[str(out / "store.h5")] = _make_random_store(
                recipe.store, stored, known["teacher"], Path(folder) / "store.h5"
            )
        tried = [
            (name, each)
            for name, settings in recipe.methods.items()
            for each in _variants(settings, recipe.tune[name], recipe.tuning)
        ]
        live = str(out / "teacher")
        if layers := {
            match.teacher
            for _, each in tried
            if each.targets == live
            for match in teacher_layers(each)
        }:
            there = [layer for layer in known["teacher"].layers if layer in layers]
            stores[live] = _make_random_store(
                ExportSettings(), there, known["teacher"], Path(folder) / "live.h5"
            )
        for (
            name,
            each,
        ) in tried:  # for a teacher that runs along every view is a picture like any other
            _check_method(
                name,
                replace(each, views="none") if each.targets == live else each,
                known[name],
                stores,
            )
    if recipe.figures.layers:
        drawn = LayerSelection(recipe.figures.layers)
        for name in recipe.figures.methods or known:
            drawn.of(list(known[name].layers), out / name)
        drawn.check()


def _networks(recipe: Recipe) -> dict[str, DryNetwork]:
    """Those of the methods and the teacher, by name. UserError for data, a device or a network that there is not, and too few images."""
    splits: dict[tuple, Split] = {}

    def shown(data: DataSettings) -> Split:
        which = data.dataset, data.data_root, data.image_size
        if which not in splits:
            splits[which] = load_splits(data).train
        return splits[which]

    def network(settings: TrainingSettings) -> DryNetwork:
        split = shown(settings)
        resolve_device(settings.device)
        TrainingPlan.of(settings, split, Seeds(settings.seed))
        pictures = InputShape(*split.images.shape[1:])
        return DryNetwork(
            layer_shapes(build_network(settings.network, pictures, len(split.classes)), pictures),
            split,
        )

    if recipe.store and recipe.store.dataset:
        shown(recipe.store)
    return {
        name: network(settings)
        for name, settings in (recipe.methods | {"teacher": recipe.teacher}).items()
        if settings
    }


def _variants(
    settings: StudentSettings, trials: list[dict[str, Any]] | str, tuning: dict[str, Any]
) -> list[StudentSettings]:
    """What training may be asked for: the settings with each of the trials, and where there is a choice the tuning runs."""
    if isinstance(trials, str) or not trials:
        return [settings]
    tried = [replace(settings, **tuning | trial) for trial in trials] if len(trials) > 1 else []
    return [replace(settings, **trial) for trial in trials] + tried


def _make_random_store(
    settings: ExportSettings, layers: list[str], teacher: DryNetwork, path: Path
) -> Store:
    """A store in the form that the recipe's is to have, of random numbers for a few pictures."""
    views: Views = VIEWS.make(settings.views)
    stimuli = Stimuli(image_digests(teacher.split.read(slice(FEW))))
    draw = Seeds(0)("rehearsal")
    specs = [plan_layer(layer, teacher.layers[layer], views, settings) for layer in layers]
    with create_store(path, stimuli, {}, specs, "rehearsal") as writer:
        for layer in layers:
            reps = torch.randn(len(stimuli.digests), *teacher.layers[layer], generator=draw).numpy()
            if settings.as_ == "activations":
                for view in range(len(views)):
                    writer.write(layer, 0, reps, view)
            else:
                write_pairwise(writer, layer, reps, settings, torch.device("cpu"))
    return Store.open(path)


def _check_method(
    name: str, settings: StudentSettings, student: DryNetwork, stores: dict[str, Store]
) -> None:
    """Make the method's objectives; UserError, with the method's name, where that is refused. What others left on disk is not asked."""
    store = stores.get(settings.targets)
    if settings.targets and not store:
        return
    few = min(FEW, len(student.split))
    zeros = torch.zeros(few, dtype=torch.long)
    calibration = Batch(student.split.read(slice(few)), zeros, torch.arange(few), zeros)
    try:
        matches = parse_layer_matches(settings.match)
        select_names(
            [match.student for match in matches], list(student.layers), "layer of the student"
        )
        target = _target(settings, store) if store else None
        labelled = len(student.split) if settings.train_size is None else settings.train_size
        epochs, *_ = count_steps(
            settings, max(labelled, len(student.split) - labelled if settings.use_unlabelled else 0)
        )
        for objective in build_objectives(
            settings,
            ObjectiveContext(
                matches, target, student.layers, len(student.split.classes), calibration, Seeds(0)
            ),
        ):
            objective.check(epochs, settings.batch_size)
    except UserError as error:
        said = str(error).replace(str(store.path), settings.targets) if store else str(error)
        raise UserError(f"[methods.{name}]: {said}", hint=error.hint) from error


def _target(settings: StudentSettings, store: Store) -> Target:
    layers = [match.teacher for match in teacher_layers(settings)]
    select_names(layers, list(store.layers), "layer of the teacher")
    views: Views = VIEWS.make(settings.views)
    return StoreTarget(store, layers, torch.arange(FEW), views.names, torch.device("cpu"))


def _refuse_other_store(
    settings: ExportSettings, layers: list[str], out: Path, methods: dict[str, StudentSettings]
) -> None:
    """UserError where a store would be made anew that students have learned from already."""
    path = out / "store.h5"
    held = Store.open(path) if path.is_file() else None
    views: Views = VIEWS.make(settings.views)
    other = [
        layer
        for layer in layers
        if held and layer in held.layers and not has_layer(held, layer, settings, views)
    ]
    learned = [
        name
        for name, student in methods.items()
        if student.targets == str(path) and (out / name).exists()
    ]
    if other and learned:
        raise UserError(
            f"{path} holds `{other[0]}` in another form than [store] says now, and {learned[0]} learned from it",
            hint="put [store] back as it was, or choose another --out",
        )


def _finished(out: Path, settings: TrainingSettings) -> bool:
    return all(
        Run(out / f"seed{seed}" if settings.seeds else out).finished
        for seed in settings.seed_list()
    )
