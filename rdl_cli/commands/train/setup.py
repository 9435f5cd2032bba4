"""From settings to all that one run needs: network, teacher, objectives, batches and schedule, on their device."""

import os
from pathlib import Path
from typing import NamedTuple

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch import nn

from rdl_cli.commands.console import log
from rdl_cli.commands.device import configure_backend, resolve_device
from rdl_cli.commands.settings import StudentSettings, TrainingSettings
from rdl_cli.commands.train.brain_targets import BrainSimilarityLogger
from rdl_cli.commands.train.plan import TrainingPlan
from rdl_cli.commands.train.targets import TrainingImages, has_unused_parameters, open_objectives
from rdl_cli.core.errors import UserError
from rdl_cli.core.seeds import Seeds
from rdl_cli.datasets.augmentation import VIEWS, Views
from rdl_cli.datasets.base import Splits
from rdl_cli.datasets.loader import Batches
from rdl_cli.datasets.preprocessing import PREPROCESSING, Preprocess
from rdl_cli.networks import weights
from rdl_cli.networks.factory import InputShape, build_network
from rdl_cli.training.brain_target import BrainTarget
from rdl_cli.training.loop import StudentModule
from rdl_cli.training.lr_schedule import SCHEDULES, Schedule
from rdl_cli.training.objective import Objective


class TrainingSetup(NamedTuple):
    """All that one run needs, made from its settings before anything is written."""

    settings: TrainingSettings
    splits: Splits
    plan: TrainingPlan
    fabric: Fabric
    seeds: Seeds
    module: StudentModule
    train: Batches
    held_out: Batches
    test: Batches
    schedule: Schedule
    brain_similarity: BrainSimilarityLogger | None
    about: weights.WeightsMetadata

    def compared(self, objective: Objective) -> int:
        """Images that a step compares with the objective's teacher."""
        return (
            objective.target.per_step
            if isinstance(objective.target, BrainTarget)
            else sum(self.train.sizes)
        )


def build_setup(settings: TrainingSettings, splits: Splits) -> TrainingSetup:
    """The setup, its teacher opened and its images on the device. UserError for what can't be taught; nothing is written."""
    fabric = _fabric(settings)
    seeds = Seeds(settings.seed)
    plan = TrainingPlan.of(settings, splits.train, seeds)
    views: Views = VIEWS.make(settings.views)
    preprocess: Preprocess = PREPROCESSING.make(settings.preprocessing, splits.train)
    pictures, classes = InputShape(*splits.train.images.shape[1:]), len(splits.train.classes)
    student = build_student(settings, pictures, classes, seeds)
    teaching: list[Objective] = []
    task_weight, brain_similarity = 1.0, None
    if isinstance(settings, StudentSettings):
        shown = TrainingImages(splits.train, plan.ids, views, preprocess, fabric.device)
        teaching = open_objectives(settings, student, pictures, classes, shown, seeds)
        task_weight, brain_similarity = (
            settings.task_weight,
            BrainSimilarityLogger.of(teaching, settings, plan.epochs),
        )
    module = StudentModule(
        student.to(memory_format=torch.channels_last), teaching, task_weight
    )  # 1.4 times as fast on a CPU
    if task_weight == 0 and not teaching:
        raise UserError(
            "--task-weight is 0 and there is no objective: nothing is left to learn",
            hint="say --objective, or leave it out",
        )
    if not any(p.requires_grad for p in module.parameters()) and plan.epochs:
        raise UserError(
            f"the network `{settings.network}` has no weights that could be trained",
            hint="--epochs 0 evaluates it as it is",
        )
    train = Batches(
        plan.labelled,
        plan.unlabelled if teaching else None,
        settings.batch_size,
        views,
        preprocess,
        fabric.device,
        plan.steps,
        plan.total,
    )
    held_out, test = (
        Batches(split, None, settings.batch_size, VIEWS.make("none"), preprocess, fabric.device)
        for split in (splits.validation, splits.test)
    )
    setup = TrainingSetup(
        settings,
        splits,
        plan,
        fabric,
        seeds,
        module,
        train,
        held_out,
        test,
        SCHEDULES.make(settings.schedule, max(1, plan.epochs)),
        brain_similarity,
        weights.WeightsMetadata(settings.network, str(pictures), str(classes), preprocess.spec),
    )
    for objective in teaching:
        objective.check(plan.epochs, setup.compared(objective))
    return setup


def _fabric(settings: TrainingSettings) -> Fabric:
    """Fabric on the device that was asked for; under torchrun one of its processes."""
    world, local = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    fabric = Fabric(
        accelerator=resolve_device(settings.device),
        devices=local,
        num_nodes=world // local,
        strategy=DDPStrategy(find_unused_parameters=has_unused_parameters(settings))
        if world > 1
        else "auto",
        precision=settings.precision,
    )
    fabric.launch()
    configure_backend(fabric.device)
    return fabric


def build_student(
    settings: TrainingSettings, pictures: InputShape, classes: int, seeds: Seeds
) -> nn.Module:
    """The network with its first weights: those of the seed, then what --init holds that fits."""
    seeds.fix("initialisation")
    student = build_network(settings.network, pictures, classes)
    if settings.init:
        copied, left = weights.load_matching(student, weights.read_state_dict(Path(settings.init)))
        if not copied:
            raise UserError(
                f"nothing in {settings.init} fits the network `{settings.network}`",
                hint="names and shapes must be the same",
            )
        log(
            f"{len(copied)} tensors begin as in {settings.init}"
            + (f"; new: {', '.join(left)}" if left else "")
        )
    elif settings.epochs == 0:
        raise UserError(
            "--epochs 0 evaluates given weights, but none are given",
            hint="say --init RUN or --init FILE",
        )
    return student
