"""Train teachers and students: from settings to finished runs."""

from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rdl_cli.commands.console import ProgressBar, log, progress
from rdl_cli.commands.image_data import load_splits
from rdl_cli.commands.settings import TrainingSettings
from rdl_cli.commands.train.run_folder import (
    begin_run,
    check_folder,
    refuse_changed_store,
    remove_new_folders,
    remove_unstarted_run,
)
from rdl_cli.commands.train.setup import TrainingSetup, build_setup
from rdl_cli.core.files import locked_folder
from rdl_cli.core.seeds import Seeds
from rdl_cli.core.tensor_types import Batch, Labels, Logits
from rdl_cli.datasets.base import Splits
from rdl_cli.datasets.digests import SharedImages, find_shared_images
from rdl_cli.datasets.loader import Batches
from rdl_cli.networks import weights
from rdl_cli.networks.factory import InputShape, build_network
from rdl_cli.runs.checkpoint import load_checkpoint, save_checkpoint
from rdl_cli.runs.run import Run, seed_folder
from rdl_cli.training.loop import Epoch, evaluate, fit
from rdl_cli.training.optimizer import make_optimizer


def train(
    out: Path, settings: TrainingSettings, resume: bool = False, dry_run: bool = False
) -> list[Run]:
    """Train a run for each seed, and return the finished runs.

    Args:
        out: the run's folder, or the folder of the seeds' runs.
        settings: what to train.
        resume: continue interrupted runs, skip finished ones and begin those that are missing.
        dry_run: build everything, log what would be trained, and write nothing.

    Raises:
        UserError: settings or data are not usable; raised before anything is written.
    """
    settings.check()
    seed_settings = {seed: replace(settings, seed=seed, seeds="") for seed in settings.seed_list()}
    runs = {seed: Run(seed_folder(out, seed) if settings.seeds else out) for seed in seed_settings}
    for seed, run in runs.items():
        check_folder(run.path, seed_settings[seed], resume)
    unfinished = [seed for seed, run in runs.items() if not (resume and run.finished)]
    splits = load_splits(settings) if unfinished else None
    for seed, run in runs.items():
        if splits and seed in unfinished:
            _train_run(run, seed_settings[seed], splits, resume, dry_run)
        else:
            refuse_changed_store(run, settings)
            log(f"{run.path} is finished already")
    return list(runs.values())


def _train_run(
    run: Run, settings: TrainingSettings, splits: Splits, resume: bool, dry_run: bool
) -> None:
    setup = build_setup(settings, splits)
    overlap = find_shared_images(splits.test, splits.train)
    _log_setup(run.path, setup, overlap)
    if dry_run:
        return
    processes = setup.processes
    with (
        remove_new_folders(run.path) if processes.is_first else nullcontext(),
        ExitStack() as lock,
    ):

        def begin() -> None:
            lock.enter_context(locked_folder(run.path))
            check_folder(run.path, settings, resume)  # now that no other process can write
            begin_run(run, setup, overlap)

        processes.run_on_first(begin)
        with remove_unstarted_run(run, processes.is_first):
            _train_epochs(run, setup)


def _train_epochs(run: Run, setup: TrainingSetup) -> None:
    """Train from the first epoch, or after the checkpoint's, and write the predictions."""
    settings, plan, fabric, student = setup.settings, setup.plan, setup.fabric, setup.module
    optimizer = make_optimizer(
        settings.optimizer or "sgd",
        [parameter for parameter in student.parameters() if parameter.requires_grad],
        settings.lr,
        settings.weight_decay,
        settings.momentum,
    )
    module, optimizer = fabric.setup(student, optimizer)
    checkpoint = load_checkpoint(run, fabric.world_size)
    rows: list[dict[str, float]] = checkpoint["rows"] if checkpoint else []
    best: dict[str, Any] | None = checkpoint["best"] if checkpoint else None
    timings: list[dict[str, Any]] = [*run.timings()][: len(rows)]
    if checkpoint:
        log(f"{run.path}: resumes after epoch {checkpoint['epoch'] + 1} of {plan.epochs}")
        if fabric.global_rank == 0:  # a kill may have come between checkpoint and metrics
            run.write_metrics(_join_timings(rows, timings))
    with progress(plan.total, str(run.path)) as bar:
        bar.advance(len(rows) * plan.steps)
        for epoch in fit(
            module,
            optimizer,
            _CountedStream(setup.train, bar),
            setup.validation,
            setup.schedule,
            plan.epochs,
            setup.seeds,
            fabric,
            resume=checkpoint,
            clip_grad_norm=settings.clip_grad_norm,
            pairs_across=student.pairs_across,
        ):
            _log_epoch(epoch.row, plan.epochs, bar)
            logger = setup.similarity_logger
            rows.append(epoch.row | (logger.measure(student, epoch.number) if logger else {}))
            timings.append(_time_epoch(epoch))
            if best is None or epoch.row["validation_error"] < best["validation_error"]:
                best = {
                    "epoch": epoch.number,
                    "validation_error": epoch.row["validation_error"],
                    "student": _copy_student_state(epoch.state["module"]),
                }
            if fabric.global_rank == 0:
                state = epoch.state | {"rows": rows, "best": best}
                save_checkpoint(run, state, fabric.world_size)
                run.write_metrics(_join_timings(rows, timings))
            fabric.barrier()
    if setup.similarity_logger and fabric.global_rank == 0:
        setup.similarity_logger.write(run, student)
    _write_results(run, setup, module, best)


def _time_epoch(epoch: Epoch) -> dict[str, Any]:
    """Return the columns of timings.csv, which differ between equal runs."""
    return {
        "epoch": epoch.row["epoch"],
        "seconds": epoch.seconds,
        "images_per_second": epoch.images / epoch.seconds,
    }


def _join_timings(
    rows: list[dict[str, float]], timings: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    by_epoch = {float(timing["epoch"]): timing for timing in timings}
    return [by_epoch.get(row["epoch"], {}) | row for row in rows]


def _log_setup(path: Path, setup: TrainingSetup, overlap: SharedImages) -> None:
    """Log the objectives' warnings, network, images and duration."""
    settings, plan = setup.settings, setup.plan
    for objective in setup.module.objectives:
        if warning := objective.warning(setup.count_compared(objective)):
            log(warning)
    count = sum(p.numel() for p in setup.module.student.parameters())
    images = f"{len(plan.labelled):,} labelled"
    images += f" + {len(plan.unlabelled):,} unlabelled" if plan.unlabelled else ""
    images += " image" if len(plan.ids) == 1 else " images"
    duration = (
        f"{plan.epochs} epochs of {plan.steps} steps"
        if settings.max_steps is None
        else f"{plan.total:,} steps in {plan.epochs} epochs"
    )
    log(
        f"{path}: {settings.network} ({count:,} weights) on {settings.dataset}, {images},"
        f" {duration}, seed {settings.seed}"
    )
    if setup.train.images is None or setup.fabric.device.type != "cpu":
        log(f"{path}: images {setup.train.placement}")
    if overlap.number:
        log(
            f"note: {overlap.number:,} test images are also training images, compared by"
            f" {overlap.compared}"
        )
    elif "not" in overlap.compared:
        log(f"note: training and test images were compared by {overlap.compared}")


def _log_epoch(row: dict[str, float], epochs: int, bar: ProgressBar) -> None:
    terms = ", ".join(
        f"{name.removeprefix('train/')} {value:.4g}"
        for name, value in row.items()
        if name.startswith("train/")
    )
    error = f"validation error {100 * row['validation_error']:.2f} %"
    line = f"epoch {int(row['epoch']) + 1}/{epochs}: {terms}, {error}"
    fractions = {name: value for name, value in row.items() if name.startswith("grad_fraction/")}
    if row["epoch"] == 0 and len(fractions) > 1:
        line += "; parts of the gradient: " + ", ".join(
            f"{name.partition('/')[2]} {100 * value:.0f} %" for name, value in fractions.items()
        )
    bar.advance(0, line)
    if not bar.visible:
        log(line)


def _write_results(
    run: Run, setup: TrainingSetup, module: nn.Module, best: dict[str, Any] | None
) -> None:
    """Write the weights, and test predictions with final and with best-validation weights.

    The test split is used here alone.
    """
    final_state = _copy_student_state(module.state_dict())
    final, labels = evaluate(module, setup.test)
    best_logits = final
    if best is not None:
        state = {f"student.{name}": tensor for name, tensor in best["student"].items()}
        module.load_state_dict(state, strict=False)
        best_logits, _ = evaluate(module, setup.test)
    if setup.fabric.global_rank == 0:
        metadata = setup.metadata
        shape = InputShape.parse(metadata.input_shape)
        network = build_network(metadata.network, shape, int(metadata.classes))
        network.load_state_dict(final_state)
        weights.save_network(network, run.weights, metadata)
        if any(tensor.dtype == torch.float64 for tensor in final_state.values()):
            log(f"{run.path}: weights are saved as float32; the errors are those of float64")
        run.write_predictions(
            setup.splits.test.digests,
            np.asarray(labels),
            {"final": final.numpy(), "best": best_logits.numpy()},
            setup.splits.test.digest_kind,
        )
        _log_error(run, "final epoch", final, labels)
        which = f"epoch {best['epoch'] + 1}, best on validation" if best else "final epoch"
        _log_error(run, which, best_logits, labels)
    setup.fabric.barrier()


def _log_error(run: Run, epoch: str, logits: Logits, labels: Labels) -> None:
    errors = int((logits.argmax(1) != labels).sum())
    percent = 100 * errors / len(labels)
    log(f"{run.path}: test error {percent:.2f} % ({errors} of {len(labels):,}; {epoch})")


def _copy_student_state(state: dict[str, Any]) -> dict[str, Tensor]:
    prefix = "student."
    return {
        name.removeprefix(prefix): tensor.detach().clone()
        for name, tensor in state.items()
        if name.startswith(prefix)
    }


class _CountedStream:
    """A stream that advances a progress bar with each batch."""

    def __init__(self, stream: Batches, bar: ProgressBar):
        self._stream, self._bar = stream, bar

    def __len__(self) -> int:
        return len(self._stream)

    def epoch(self, seeds: Seeds, epoch: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        for batch in self._stream.epoch(seeds, epoch, rank, world):
            yield batch
            self._bar.advance()

    def in_order(self) -> Iterator[Batch]:
        return self._stream.in_order()
