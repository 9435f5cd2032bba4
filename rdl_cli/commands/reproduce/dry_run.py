"""Check a recipe before training: build its networks and objectives, check its layers."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch

from rdl_cli.commands.device import resolve_device
from rdl_cli.commands.export_rdms.existing_layers import has_layer
from rdl_cli.commands.export_rdms.export_rdms import check_export, plan_layer, write_pairwise
from rdl_cli.commands.image_data import load_splits
from rdl_cli.commands.plot.plot_data import LayerSelection
from rdl_cli.commands.reproduce.jobs import Job, recipe_jobs
from rdl_cli.commands.reproduce.recipe import Recipe, store_path, teacher_path
from rdl_cli.commands.reproduce.status import is_finished
from rdl_cli.commands.reproduce.tuning import trial_settings
from rdl_cli.commands.settings import (
    DataSettings,
    ExportSettings,
    StudentSettings,
    TrainingSettings,
)
from rdl_cli.commands.train.layer_matches import parse_layer_matches, teacher_layers
from rdl_cli.commands.train.setup import count_steps, plan_training
from rdl_cli.commands.train.targets import build_objectives
from rdl_cli.core.errors import UserError
from rdl_cli.core.patterns import select_names
from rdl_cli.core.seeds import Seeds
from rdl_cli.core.tensor_types import Batch
from rdl_cli.datasets.augmentation import VIEWS, Views
from rdl_cli.datasets.base import Split
from rdl_cli.networks.factory import InputShape, build_network
from rdl_cli.networks.hooks import layer_shapes, select_layers
from rdl_cli.store.store import Stimuli, Store
from rdl_cli.store.writer import create_store
from rdl_cli.training.objective import ObjectiveContext
from rdl_cli.training.targets import StoreTarget

N_IMAGES = 8
"""Images in the random stores on which objectives are built."""


class DryNetwork(NamedTuple):
    """A network before training: its layers with their shapes, and its training images."""

    layers: dict[str, tuple[int, ...]]
    split: Split


def dry_run(recipe: Recipe, out: Path) -> None:
    """Raise UserError for a missing data set, file, device or layer, and for a wrong objective.

    Objectives are built as in training, from stores of random numbers for a few images. Nothing is
    written below `out`. A finished experiment needs nothing and is not checked.
    """
    jobs = recipe_jobs(recipe, out)
    if all(is_finished(job) for job in jobs.values()):
        return
    networks = _build_networks(recipe)
    _check_files(recipe, out)
    with TemporaryDirectory() as folder:
        stores: dict[str, Store] = {}
        for section, store in recipe.stores.items():
            check_export(store.settings)
            resolve_device(store.settings.device)
            if store.settings.dataset:
                load_splits(store.settings)
            teacher, path = networks[store.teacher], store_path(section, out)
            layers = select_layers(store.settings.layer_names(), teacher.layers)
            _refuse_other_form(store.settings, layers, path, jobs)
            stores[str(path)] = _write_random_store(
                store.settings, layers, teacher, Path(folder) / f"{section}.h5"
            )
        variants = [
            (method, variant)
            for method, settings in recipe.methods.items()
            for variant in _variants(recipe, method, settings)
        ]
        for section in recipe.teachers:  # those that run beside their students
            live = str(teacher_path(section, out))
            followed = {
                layer
                for _, settings in variants
                if settings.targets == live
                for layer in _followed_layers(settings)
            }
            if followed:
                layers = [layer for layer in networks[section].layers if layer in followed]
                stores[live] = _write_random_store(
                    ExportSettings(), layers, networks[section], Path(folder) / f"{section}.h5"
                )
                variants = [
                    # a live teacher sees every view as the student does
                    (
                        method,
                        replace(settings, views="none") if settings.targets == live else settings,
                    )
                    for method, settings in variants
                ]
        for method, settings in variants:
            _check_method(method, settings, networks[method], stores)
    if recipe.figures.layers:
        selection = LayerSelection(recipe.figures.layers)
        for model in recipe.figures.methods or networks:
            selection.select(list(networks[model].layers), out / model)
        selection.check()


def _build_networks(recipe: Recipe) -> dict[str, DryNetwork]:
    """Return the networks of methods and teachers by name."""
    splits: dict[tuple[object, ...], Split] = {}

    def load(data: DataSettings) -> Split:
        key = data.dataset, data.data_root, data.image_size
        if key not in splits:
            splits[key] = load_splits(data).train
        return splits[key]

    def build(settings: TrainingSettings) -> DryNetwork:
        split = load(settings)
        resolve_device(settings.device)
        plan_training(settings, split, Seeds(settings.seed))
        shape = InputShape(*split.images.shape[1:])
        network = build_network(settings.network, shape, len(split.classes))
        return DryNetwork(layer_shapes(network, shape), split)

    return {name: build(s) for name, s in (*recipe.methods.items(), *recipe.teachers.items())}


def _check_files(recipe: Recipe, out: Path) -> None:
    """Raise UserError if a method names a file that is neither there nor made by the recipe."""
    made = {store_path(section, out) for section in recipe.stores}
    made |= {teacher_path(section, out) for section in recipe.teachers}
    for method, settings in recipe.methods.items():
        for path in map(Path, filter(None, (settings.targets, settings.init))):
            if path not in made and not path.exists():
                raise UserError(
                    f"[methods.{method}]: there is no {path}",
                    hint="see the recipe's header for how it is made",
                )


def _variants(recipe: Recipe, method: str, settings: StudentSettings) -> list[StudentSettings]:
    """Return the settings of the method with each of its trials, and those of its tuning runs."""
    if recipe.tuned_method(method) != method or not recipe.trials(method):
        return [settings]
    trials = recipe.trials(method)
    tuning = [trial_settings(recipe, method, trial) for trial in trials] if len(trials) > 1 else []
    return [replace(settings, **trial) for trial in trials] + tuning


def _write_random_store(
    settings: ExportSettings, layers: list[str], teacher: DryNetwork, path: Path
) -> Store:
    """Return a store in the form of the recipe's, of random numbers for a few images."""
    views: Views = VIEWS.make(settings.views)
    stimuli = Stimuli(teacher.split.at(torch.arange(N_IMAGES)).digests)
    rng = Seeds(0)("rehearsal")
    specs = [plan_layer(layer, teacher.layers[layer], views, settings) for layer in layers]
    with create_store(path, stimuli, {}, specs, "dry run") as writer:
        for layer in layers:
            shape = len(stimuli.digests), *teacher.layers[layer]
            reps = torch.randn(shape, generator=rng).numpy()
            if settings.as_ == "activations":
                for view in range(len(views)):
                    writer.write(layer, 0, reps, view)
            else:
                write_pairwise(writer, layer, reps, settings, torch.device("cpu"))
    return Store.open(path)


def _check_method(
    method: str, settings: StudentSettings, student: DryNetwork, stores: dict[str, Store]
) -> None:
    """Build the method's objectives. A store that the recipe does not make is not read."""
    store = stores.get(settings.targets)
    if settings.targets and not store:
        return
    n_images = min(N_IMAGES, len(student.split))
    zeros, ids = torch.zeros(n_images, dtype=torch.long), torch.arange(n_images)
    calibration = Batch(student.split.read(slice(n_images)), zeros, ids, zeros)
    n_train = len(student.split)
    n_labelled = n_train if settings.train_size is None else settings.train_size
    n_unlabelled = n_train - n_labelled if settings.use_unlabelled else 0
    epochs, *_ = count_steps(settings, max(n_labelled, n_unlabelled))
    try:
        matches = parse_layer_matches(settings.match)
        select_layers([m.student for m in matches], student.layers, "layer of the student")
        context = ObjectiveContext(
            matches,
            _target(settings, store) if store else None,
            student.layers,
            len(student.split.classes),
            calibration,
            Seeds(0),
        )
        for objective in build_objectives(settings, context):
            objective.check(epochs, settings.batch_size)
    except UserError as error:
        fact = str(error).replace(str(store.path), settings.targets) if store else str(error)
        raise UserError(f"[methods.{method}]: {fact}", hint=error.hint) from error


def _followed_layers(settings: StudentSettings) -> list[str]:
    return teacher_layers(settings.objective, parse_layer_matches(settings.match))


def _target(settings: StudentSettings, store: Store) -> StoreTarget:
    layers = _followed_layers(settings)
    select_names(layers, list(store.layers), "layer of the teacher")
    views: Views = VIEWS.make(settings.views)
    return StoreTarget(store, layers, torch.arange(N_IMAGES), views.names, torch.device("cpu"))


def _refuse_other_form(
    settings: ExportSettings, layers: list[str], path: Path, jobs: dict[str, Job]
) -> None:
    """Raise UserError if a store that students have followed would be made in another form."""
    if not path.is_file():
        return
    store, views = Store.open(path), VIEWS.make(settings.views)
    changed = [
        layer
        for layer in layers
        if layer in store.layers and not has_layer(store, layer, settings, views)
    ]
    students = [
        job.name
        for job in jobs.values()
        if isinstance(job.settings, StudentSettings)
        and job.settings.targets == str(path)
        and job.path.exists()
    ]
    if changed and students:
        raise UserError(
            f"{path} holds `{changed[0]}` in another form than the recipe, and {students[0]} "
            "was trained with it",
            hint="restore the recipe's options of the store, or choose another --out",
        )
