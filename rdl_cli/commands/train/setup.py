"""From settings to the objects of one training run, on their device. Nothing is written here."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning_fabric.strategies import DDPStrategy
from torch import nn

from rdl_cli.commands.activation_reader import log_unstable_layers
from rdl_cli.commands.device import configure_backend, resolve_device
from rdl_cli.commands.options import split_commas
from rdl_cli.commands.processes import Processes, local_device, read_world
from rdl_cli.commands.settings import StudentSettings, TrainingSettings
from rdl_cli.commands.train.brain_similarity_log import (
    BrainSimilarityLogger,
    make_similarity_logger,
)
from rdl_cli.commands.train.initial_weights import build_student, choose_preprocessing
from rdl_cli.commands.train.layer_matches import (
    has_unused_parameters,
    parse_layer_matches,
    teacher_layers,
)
from rdl_cli.commands.train.targets import TrainingImages, build_objectives, open_target
from rdl_cli.core.errors import UserError
from rdl_cli.core.seeds import Seeds
from rdl_cli.core.tensor_types import Ids
from rdl_cli.datasets.augmentation import VIEWS, Views
from rdl_cli.datasets.base import Split, Splits
from rdl_cli.datasets.loader import Batches
from rdl_cli.datasets.preprocessing import PREPROCESSING, Preprocess
from rdl_cli.datasets.random_augmentation import make_augmentation
from rdl_cli.datasets.subsets import labelled_subset
from rdl_cli.networks import weights
from rdl_cli.networks.factory import InputShape
from rdl_cli.networks.hooks import LOGITS, layer_shapes, select_layers
from rdl_cli.training.brain_target import BrainTarget
from rdl_cli.training.lr_schedule import SCHEDULES, Schedule
from rdl_cli.training.objective import Objective, ObjectiveContext
from rdl_cli.training.optimizer import freeze_layers
from rdl_cli.training.student import StudentModule

CALIBRATION_SIZE = 1000
"""Images on which the size of the teacher's distances is measured."""
MAX_EVALUATIONS = 50
"""With --max-steps an epoch has at least 1/50 of the steps. A pass over 100 labelled images is one
step, and each would be followed by a validation."""


@dataclass(frozen=True)
class TrainingPlan:
    """Images and duration of a training; without `max_steps` all epochs have `steps` steps."""

    labelled: Split
    unlabelled: Split | None
    epochs: int
    steps: int
    total: int
    """Steps of all epochs together; the last epoch may be shorter."""

    @property
    def ids(self) -> Ids:
        """The ids of all training images."""
        splits = [self.labelled] if self.unlabelled is None else [self.labelled, self.unlabelled]
        return torch.cat([split.ids for split in splits])


class TrainingSetup(NamedTuple):
    """The objects of one run, made from its settings before anything is written."""

    settings: TrainingSettings
    splits: Splits
    plan: TrainingPlan
    fabric: Fabric
    seeds: Seeds
    module: StudentModule
    teacher_layers: tuple[str, ...]
    train: Batches
    validation: Batches
    test: Batches
    schedule: Schedule
    similarity_logger: BrainSimilarityLogger | None
    metadata: weights.WeightsMetadata
    untrained: tuple[str, ...] = ()
    """Tensors of random values, if there is no training."""

    def count_compared(self, objective: Objective) -> int:
        """Return how many images a process compares in a step with the objective's teacher."""
        target = objective.target
        if isinstance(target, BrainTarget):
            return target.batch_size
        return sum(self.train.sizes) // (1 if self.module.pairs_across else self.fabric.world_size)

    @property
    def processes(self) -> Processes:
        """The processes of this training."""
        return Processes(self.fabric.global_rank, self.fabric.world_size)


def build_setup(settings: TrainingSettings, splits: Splits) -> TrainingSetup:
    """Build network, target, objectives, batches and schedule.

    UserError if the settings, the data or the teacher do not allow the training.
    """
    fabric = _launch_fabric(settings)
    seeds = Seeds(settings.seed)
    plan = plan_training(settings, splits.train, seeds)
    views: Views = VIEWS.make(settings.views)
    preprocess: Preprocess = PREPROCESSING.make(choose_preprocessing(settings), splits.train)
    shape, classes = InputShape(*splits.train.images.shape[1:]), len(splits.train.classes)
    student, new = build_student(settings, shape, classes, seeds)
    frozen = freeze_layers(student, split_commas(settings.freeze))
    objectives: list[Objective] = []
    followed: tuple[str, ...] = ()
    task_weight, similarity_logger = 1.0, None
    pairs_across = isinstance(settings, StudentSettings) and bool(settings.pairs_across)
    if isinstance(settings, StudentSettings):
        images = TrainingImages(splits.train, plan.ids, views, preprocess, fabric.device)
        context = make_context(settings, student, shape, images, seeds)
        objectives = build_objectives(settings, context)
        followed = context.target.layers if context.target else ()
        task_weight = settings.task_weight
        similarity_logger = make_similarity_logger(objectives, settings, plan.epochs)
    # channels-last is 1.4 times as fast on a CPU
    module = StudentModule(
        student.to(memory_format=torch.channels_last),
        objectives,
        task_weight,
        frozen,
        pairs_across,
    )
    if task_weight == 0 and not objectives:
        raise UserError(
            "--task-weight is 0 and there is no objective: there is no loss",
            hint="pass --objective, or leave --task-weight out",
        )
    if not any(p.requires_grad for p in module.parameters()) and plan.epochs:
        raise UserError(
            f"the network `{settings.network}` has no weights to train",
            hint="--epochs 0 evaluates it as it is",
        )
    loading: dict[str, Any] = {
        "workers": settings.num_workers,
        "device_bytes": None if settings.image_memory is None else int(1e9 * settings.image_memory),
    }
    train = Batches(
        plan.labelled,
        plan.unlabelled if objectives else None,
        settings.batch_size,
        views,
        preprocess,
        fabric.device,
        plan.steps,
        plan.total,
        make_augmentation(settings.augment),
        **loading,
    )
    validation, test = (
        Batches(
            split,
            None,
            settings.batch_size,
            VIEWS.make("none"),
            preprocess,
            fabric.device,
            **loading,
        )
        for split in (splits.validation, splits.test)
    )
    setup = TrainingSetup(
        settings=settings,
        splits=splits,
        plan=plan,
        fabric=fabric,
        seeds=seeds,
        module=module,
        teacher_layers=followed,
        train=train,
        validation=validation,
        test=test,
        schedule=SCHEDULES.make(settings.schedule, max(1, plan.epochs)),
        similarity_logger=similarity_logger,
        metadata=weights.WeightsMetadata(
            settings.network, str(shape), str(classes), preprocess.spec
        ),
        untrained=() if plan.total else new,
    )
    check_parts(setup)
    for objective in objectives:
        objective.check(plan.epochs, setup.count_compared(objective))
    return setup


def check_parts(setup: TrainingSetup) -> None:
    """Raise UserError if a batch cannot be divided among the processes."""
    world, sizes = setup.fabric.world_size, setup.train.sizes
    if min(sizes) < world:
        raise UserError(
            f"a batch of {min(sizes)} can't be shared among {world} processes",
            hint="use a larger --batch-size",
        )
    if setup.module.pairs_across and (odd := [size for size in sizes if size % world]):
        raise UserError(
            f"--pairs-across needs equal parts; a batch of {odd[0]} has none for {world} processes",
            hint=f"pass a --batch-size that {world} divides",
        )


def make_context(
    settings: StudentSettings,
    student: nn.Module,
    shape: InputShape,
    images: TrainingImages,
    seeds: Seeds,
) -> ObjectiveContext:
    """Parse the matches, open the target, and return the context of the objectives.

    UserError if a layer of the student or the teacher does not exist.
    """
    matches = parse_layer_matches(settings.match)
    shapes = layer_shapes(student, shape)
    select_layers([match.student for match in matches], shapes, "layer of the student")
    log_unstable_layers(
        student, shape, [*(match.student for match in matches), LOGITS], "the student"
    )
    target = None
    if settings.targets:
        layers = teacher_layers(settings.objective, matches)
        target = open_target(settings, layers, images, shape, seeds)
    calibration = (
        target.calibration
        if isinstance(target, BrainTarget)
        else images.sample(seeds, CALIBRATION_SIZE)
    )
    classes = len(images.split.classes)
    return ObjectiveContext(matches, target, shapes, classes, calibration, seeds)


def plan_training(settings: TrainingSettings, train: Split, seeds: Seeds) -> TrainingPlan:
    """Draw the labelled images, and count epochs and steps."""
    labelled, unlabelled = train, None
    if settings.train_size is not None:
        rows = labelled_subset(train, settings.train_size, seeds("labelled"))
        labelled = train.at(rows)
        if settings.use_unlabelled and len(rows) < len(train):
            rest = torch.ones(len(train), dtype=torch.bool)
            rest[rows] = False
            unlabelled = train.at(rest.nonzero().flatten())
    larger = max(len(labelled), len(unlabelled or ()))
    return TrainingPlan(labelled, unlabelled, *count_steps(settings, larger))


def count_steps(settings: TrainingSettings, images: int) -> tuple[int, int, int]:
    """Return epochs, steps in an epoch, and all steps.

    `images` is the larger number of labelled and unlabelled images; an epoch is a pass over them.
    """
    pass_steps = max(1, images // settings.batch_size)
    if settings.max_steps is None:
        return settings.epochs, pass_steps, settings.epochs * pass_steps
    steps = max(pass_steps, math.ceil(settings.max_steps / MAX_EVALUATIONS))
    epochs = math.ceil(settings.max_steps / steps)
    return epochs, math.ceil(settings.max_steps / epochs), settings.max_steps


def _launch_fabric(settings: TrainingSettings) -> Fabric:
    """Return Fabric on the device of the settings; under torchrun one of its processes.

    The environment is named, because Lightning would guess Slurm wherever it is installed.
    """
    world, local = read_world()
    fabric = Fabric(
        accelerator=local_device(resolve_device(settings.device)).type,
        devices=local,
        num_nodes=world // local,
        strategy=DDPStrategy(find_unused_parameters=has_unused_parameters(settings))
        if world > 1
        else "auto",
        precision=settings.precision,
        plugins=TorchElasticEnvironment() if world > 1 else LightningEnvironment(),
    )
    fabric.launch()
    configure_backend(fabric.device)
    return fabric
