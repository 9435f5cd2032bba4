"""Training a teacher or a student: everything around the loop, from settings to a finished run."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rdl_cli.commands.console import ProgressBar, log, progress
from rdl_cli.commands.image_data import load_splits, resolve_dataset
from rdl_cli.commands.options import to_config
from rdl_cli.commands.settings import StudentSettings, TrainingSettings
from rdl_cli.commands.train.setup import TrainingSetup, build_setup
from rdl_cli.commands.train.targets import teacher_provenance
from rdl_cli.core.errors import UserError
from rdl_cli.core.files import is_free, locked_folder
from rdl_cli.core.provenance import Parent, provenance
from rdl_cli.core.seeds import Seeds
from rdl_cli.core.tensor_types import Batch
from rdl_cli.datasets.base import Splits
from rdl_cli.datasets.loader import Batches, dataset_fingerprint, image_digests, shared_images
from rdl_cli.networks import weights
from rdl_cli.networks.factory import InputShape, build_network
from rdl_cli.runs.checkpoint import load_checkpoint, save_checkpoint
from rdl_cli.runs.run import SAME_METHOD, Run, seed_folder
from rdl_cli.training.loop import evaluate, fit


def train(
    out: Path, settings: TrainingSettings, resume: bool = False, dry_run: bool = False
) -> list[Run]:
    """The finished runs, one for each seed. UserError for bad settings or data, before anything is written.

    `resume` goes on with runs that were interrupted, passes over those that are finished and starts those that never
    began. `dry_run` builds everything, says what would be done, and writes nothing.
    """
    settings.check()
    seeds = settings.seed_list()
    places = {seed: seed_folder(out, seed) if settings.seeds else out for seed in seeds}
    each = {seed: replace(settings, seed=seed, seeds="") for seed in seeds}
    for seed, path in places.items():
        _check_place(path, each[seed], resume)
    runs = {seed: Run(path) for seed, path in places.items()}
    waiting = [seed for seed, run in runs.items() if not (resume and run.finished)]
    splits = load_splits(settings) if waiting else None
    for seed, run in runs.items():
        if splits and seed in waiting:
            _train_one(run, each[seed], splits, resume, dry_run)
        else:
            _refuse_other_store(run, settings)
            log(f"{run.path} is finished already")
    return list(runs.values())


def _check_place(path: Path, settings: TrainingSettings, resume: bool) -> None:
    """UserError where something is at `path` already, or where what is there was begun with other settings."""
    if is_free(path):
        return
    if not resume or not path.is_dir():
        raise UserError(
            f"{path} exists already",
            hint="choose another path, or go on with an interrupted run with --resume",
        )
    if not (path / "config.toml").is_file():
        if all(
            left.name.startswith(".") or left.name == "provenance.json" for left in path.iterdir()
        ):
            return  # killed before it had said what it is
        raise UserError(
            f"{path} is not a run that could be resumed: it has no config.toml",
            hint="choose another path",
        )
    free = SAME_METHOD - {"seed"}
    before, now = (
        {k: v for k, v in c.items() if k not in free}
        for c in (Run(path).config, to_config(settings))
    )
    if before != now:
        changed = sorted(k for k in before.keys() | now.keys() if before.get(k) != now.get(k))
        values = "; ".join(f"{k} was {before.get(k)}, is {now.get(k)}" for k in changed)
        raise UserError(
            f"{path} was begun with other settings: {values}",
            hint="resume with the same settings, or choose another path",
        )


def _train_one(
    run: Run, settings: TrainingSettings, splits: Splits, resume: bool, dry_run: bool
) -> None:
    setup = build_setup(settings, splits)
    overlap = shared_images(splits.train, splits.test)
    _announce(run.path, setup, overlap)
    if dry_run:
        return
    made = [folder for folder in (run.path, *run.path.parents) if not folder.exists()]
    with (
        _remove_empty_folders(made),
        locked_folder(run.path) if setup.fabric.global_rank == 0 else nullcontext(),
    ):
        if setup.fabric.global_rank == 0:
            _check_place(
                run.path, settings, resume
            )  # again: another process may have been here in the meantime
            _begin(run, setup, overlap)
        with _remove_if_unstarted(run):
            _train_epochs(run, setup)


def _train_epochs(run: Run, setup: TrainingSetup) -> None:
    """From the run's first epoch, or the one after its checkpoint, to its predictions."""
    settings, plan, fabric, plain, brain_similarity = (
        setup.settings,
        setup.plan,
        setup.fabric,
        setup.module,
        setup.brain_similarity,
    )
    optimizer = torch.optim.SGD(
        plain.parameters(),
        lr=settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )
    module, optimizer = fabric.setup(plain, optimizer)
    checkpoint = load_checkpoint(run, fabric.world_size)
    rows: list[dict[str, float]] = checkpoint["rows"] if checkpoint else []
    best: dict[str, Any] | None = checkpoint["best"] if checkpoint else None
    if checkpoint:
        log(f"{run.path}: goes on after epoch {checkpoint['epoch'] + 1} of {plan.epochs}")
        if fabric.global_rank == 0:
            run.write_metrics(rows)  # a kill may have come between checkpoint and table
    with progress(plan.total, str(run.path)) as ticker:
        ticker.advance(len(rows) * plan.steps)
        train = _CountedStream(setup.train, ticker)
        for epoch in fit(
            module,
            optimizer,
            train,
            setup.held_out,
            setup.schedule,
            plan.epochs,
            setup.seeds,
            fabric,
            resume=checkpoint,
        ):
            _log_epoch(epoch.row, plan.epochs, ticker)
            rows.append(
                epoch.row | (brain_similarity.row(plain, epoch.number) if brain_similarity else {})
            )
            if best is None or epoch.row["validation_error"] < best["validation_error"]:
                best = {
                    "epoch": epoch.number,
                    "validation_error": epoch.row["validation_error"],
                    "student": _student_state(epoch.state),
                }
            if fabric.global_rank == 0:
                state = epoch.state | {"rows": rows, "best": best}
                save_checkpoint(run, state, fabric.world_size)
                run.write_metrics(rows)
            fabric.barrier()
    if brain_similarity and fabric.global_rank == 0:
        brain_similarity.write(run, plain)
    _finish(run, setup, module, best)


def _announce(path: Path, setup: TrainingSetup, overlap: int) -> None:
    """Say what is going to be trained, on what, for how long."""
    settings, plan = setup.settings, setup.plan
    for objective in setup.module.teaching:
        if remark := objective.warning(setup.compared(objective)):
            log(remark)
    count = sum(p.numel() for p in setup.module.student.parameters())
    images = f"{len(plan.labelled):,} labelled" + (
        f" + {len(plan.unlabelled):,} unlabelled" if plan.unlabelled else ""
    )
    images += " image" if len(plan.ids) == 1 else " images"
    length = (
        f"{plan.epochs} epochs of {plan.steps} steps"
        if settings.max_steps is None
        else f"{plan.total:,} steps in {plan.epochs} epochs"
    )
    log(
        f"{path}: {settings.network} ({count:,} weights) on {settings.dataset}, {images}, {length}, seed {settings.seed}"
    )
    if overlap:
        log(f"note: {overlap:,} test images are also training images, to the pixel")


def _begin(run: Run, setup: TrainingSetup, overlap: int) -> None:
    """The run's folder with its configuration and provenance; a resumed run keeps its own. UserError where a parent has changed since."""
    settings = setup.settings
    parents = _collect_parents(settings, setup.splits)
    if (run.path / "config.toml").is_file():
        _refuse_changed(run, parents)
        return
    made = provenance(
        to_config(settings), parents, str(setup.fabric.device), torch.get_num_threads()
    )
    run.write_provenance(made | {"test_images_seen_in_training": overlap})
    run.write_config(to_config(settings))


def _collect_parents(settings: TrainingSettings, splits: Splits) -> list[Parent]:
    parents = [
        Parent(
            kind="dataset", path=resolve_dataset(settings), fingerprint=dataset_fingerprint(splits)
        )
    ]
    if isinstance(settings, StudentSettings) and settings.targets:
        parents.append(teacher_provenance(settings))
    if settings.init:
        init = Path(settings.init)
        parents.append(
            Parent(
                kind="run" if init.is_dir() else "weights",
                path=settings.init,
                fingerprint=weights.weights_digest(init),
            )
        )
    return parents


def _refuse_changed(run: Run, parents: list[Parent]) -> None:
    """UserError where what a run was begun with is no longer what lies there: half of it would have learned from something else."""
    known = {parent["kind"]: parent for parent in run.provenance.get("parents", ())}
    for now in parents:
        before = known.get(now["kind"])
        if before is None:
            raise UserError(
                f"{run.path / 'provenance.json'} is damaged: it names no {now['kind']}",
                hint="begin again at another path",
            )
        if before.get("layers") != now.get("layers"):
            fact = f"{run.path} was begun by an older rdl, which knew the store {now['path']} by another fingerprint"
            raise UserError(fact, hint="go on with that rdl, or begin again at another path")
        if before["fingerprint"] != now["fingerprint"]:
            fact = f"the {now['kind']} {now['path']} has changed since {run.path} was begun"
            raise UserError(fact, hint="put it back, or begin again at another path")


def _refuse_other_store(run: Run, settings: TrainingSettings) -> None:
    """UserError where a finished run learned from something else than its store holds now; one that is gone, or older, says nothing."""
    if not (isinstance(settings, StudentSettings) and Path(settings.targets).is_file()):
        return
    before = next(
        (parent for parent in run.provenance.get("parents", ()) if parent["kind"] == "store"), None
    )
    now = teacher_provenance(settings)
    if (
        before
        and before.get("layers") == now["layers"]
        and before["fingerprint"] != now["fingerprint"]
    ):
        fact = f"the store {now['path']} has changed since {run.path} learned from it"
        raise UserError(fact, hint="put it back, or begin again at another path")


@contextmanager
def _remove_empty_folders(made: list[Path]) -> Iterator[None]:
    """Folders that were made for a run and are empty when it fails are removed again."""
    try:
        yield
    except Exception:
        for folder in made:
            with suppress(OSError):  # something lies there by now
                folder.rmdir()
        raise


@contextmanager
def _remove_if_unstarted(run: Run) -> Iterator[None]:
    """A run that fails before its first epoch is whole leaves nothing behind; one that is killed can be resumed."""
    try:
        yield
    except Exception as error:
        if not run.checkpoint.exists():
            run.remove()
        if "more than 1 value per channel" in str(error):  # PyTorch's, from the depth of a network
            raise UserError(
                "batch normalisation has no variance to divide by: a layer has one value for each channel",
                hint="say a larger --batch-size",
            ) from error
        raise


def _student_state(state: dict[str, Any]) -> dict[str, torch.Tensor]:
    prefix = "student."
    return {
        name.removeprefix(prefix): t.detach().clone()
        for name, t in state["module"].items()
        if name.startswith(prefix)
    }


def _log_epoch(row: dict[str, float], epochs: int, ticker: ProgressBar) -> None:
    terms = ", ".join(
        f"{name.removeprefix('train/')} {value:.4g}"
        for name, value in row.items()
        if name.startswith("train/")
    )
    line = f"epoch {int(row['epoch']) + 1}/{epochs}: {terms}, validation error {100 * row['validation_error']:.2f} %"
    ticker.advance(0, line)
    if not ticker.visible:
        log(line)


def _finish(run: Run, setup: TrainingSetup, module: nn.Module, best: dict[str, Any] | None) -> None:
    """The test split, read once: predictions with the final weights and with those that were best on validation."""
    final_state = _student_state({"module": module.state_dict()})
    final, labels = evaluate(module, setup.test)
    at_best = final
    if best is not None:
        module.load_state_dict(
            {f"student.{name}": tensor for name, tensor in best["student"].items()}, strict=False
        )
        at_best, _ = evaluate(module, setup.test)
    if setup.fabric.global_rank == 0:
        about = setup.about
        network = build_network(about.network, InputShape.read(about.pictures), int(about.classes))
        network.load_state_dict(final_state)
        weights.save_network(network, run.weights, about)
        if any(tensor.dtype == torch.float64 for tensor in final_state.values()):
            log(f"{run.path}: the weights are kept as float32; the errors are those of float64")
        pictures = setup.splits.test.images
        run.write_predictions(
            image_digests(pictures),
            np.asarray(labels),
            {"final": final.numpy(), "best": at_best.numpy()},
        )
        for name, logits in (("final", final), ("best", at_best)):
            wrong = int((logits.argmax(1) != labels).sum())
            which = (
                "final epoch"
                if name == "final" or best is None
                else f"epoch {best['epoch'] + 1}, best on validation"
            )
            log(
                f"{run.path}: test error {100 * wrong / len(labels):.2f} % ({wrong} of {len(labels):,}; {which})"
            )
    setup.fabric.barrier()


class _CountedStream:
    """A stream that moves a bar as it is read."""

    def __init__(self, stream: Batches, ticker: ProgressBar):
        self._stream, self._ticker = stream, ticker

    def __len__(self) -> int:
        return len(self._stream)

    def epoch(self, seeds: Seeds, epoch: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        for batch in self._stream.epoch(seeds, epoch, rank, world):
            yield batch
            self._ticker.advance()

    def in_order(self) -> Iterator[Batch]:
        return self._stream.in_order()
