"""Training a teacher or a student: everything around the loop, from settings to a finished run."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rdl_cli.commands.console import Ticker, say, ticking
from rdl_cli.commands.image_data import load, place
from rdl_cli.commands.settings import Student, Training, record
from rdl_cli.commands.train.setup import Lesson, lesson_of
from rdl_cli.commands.train.targets import parent_of
from rdl_cli.core.errors import UserError, first_line
from rdl_cli.core.files import is_free, own_folder, sweep, whole
from rdl_cli.core.provenance import Parent, provenance
from rdl_cli.core.seeds import Seeds
from rdl_cli.core.tensor_types import Batch
from rdl_cli.datasets.base import Splits
from rdl_cli.datasets.loader import Batches, digests, fingerprint, shared
from rdl_cli.networks import weights
from rdl_cli.networks.factory import Pictures, build
from rdl_cli.runs.run import SAME_METHOD, Run
from rdl_cli.training.loop import evaluate, fit


def train(out: Path, settings: Training, resume: bool = False, dry_run: bool = False) -> list[Run]:
    """The finished runs, one for each seed. UserError for bad settings or data, before anything is written.

    `resume` goes on with runs that were interrupted, passes over those that are finished and starts those that never
    began. `dry_run` builds everything, says what would be done, and writes nothing.
    """
    settings.check()
    seeds = settings.seed_list()
    places = {seed: out / f"seed{seed}" if settings.seeds else out for seed in seeds}
    each = {seed: replace(settings, seed=seed, seeds="") for seed in seeds}
    for seed, path in places.items():
        _check_place(path, each[seed], resume)
    runs = {seed: Run(path) for seed, path in places.items()}
    waiting = [seed for seed, run in runs.items() if not (resume and run.finished)]
    splits = load(settings) if waiting else None
    for seed, run in runs.items():
        if splits and seed in waiting:
            _train_one(run, each[seed], splits, resume, dry_run)
        else:
            _refuse_other_store(run, settings)
            say(f"{run.path} is finished already")
    return list(runs.values())


def _check_place(path: Path, settings: Training, resume: bool) -> None:
    """UserError where something is at `path` already, or where what is there was begun with other settings."""
    if is_free(path):
        return
    if not resume or not path.is_dir():
        raise UserError(f"{path} exists already", hint="choose another path, or go on with an interrupted run with --resume")
    if not (path / "config.toml").is_file():
        if all(left.name.startswith(".") or left.name == "provenance.json" for left in path.iterdir()):
            return  # killed before it had said what it is
        raise UserError(f"{path} is not a run that could be resumed: it has no config.toml", hint="choose another path")
    free = SAME_METHOD - {"seed"}
    before, now = ({k: v for k, v in c.items() if k not in free} for c in (Run(path).config, record(settings)))
    if before != now:
        changed = sorted(k for k in before.keys() | now.keys() if before.get(k) != now.get(k))
        values = "; ".join(f"{k} was {before.get(k)}, is {now.get(k)}" for k in changed)
        raise UserError(f"{path} was begun with other settings: {values}", hint="resume with the same settings, or choose another path")


def _train_one(run: Run, settings: Training, splits: Splits, resume: bool, dry_run: bool) -> None:
    lesson = lesson_of(settings, splits)
    overlap = shared(splits.train, splits.test)
    _announce(run.path, lesson, overlap)
    if dry_run:
        return
    made = [folder for folder in (run.path, *run.path.parents) if not folder.exists()]
    with _left_as_found(made), own_folder(run.path) if lesson.fabric.global_rank == 0 else nullcontext():
        if lesson.fabric.global_rank == 0:
            _check_place(run.path, settings, resume)  # again: another process may have been here in the meantime
            _begin(run, lesson, overlap)
        with _or_nothing(run.path):
            _learn(run, lesson)


def _learn(run: Run, lesson: Lesson) -> None:
    """From the run's first epoch, or the one after its checkpoint, to its predictions."""
    settings, plan, fabric, plain, likeness = lesson.settings, lesson.plan, lesson.fabric, lesson.learner, lesson.likeness
    optimizer = torch.optim.SGD(plain.parameters(), lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay)
    learner, optimizer = fabric.setup(plain, optimizer)
    checkpoint = _checkpoint(run.path)
    rows: list[dict[str, float]] = checkpoint["rows"] if checkpoint else []
    best: dict[str, Any] | None = checkpoint["best"] if checkpoint else None
    if checkpoint:
        say(f"{run.path}: goes on after epoch {checkpoint['epoch'] + 1} of {plan.epochs}")
        if fabric.global_rank == 0:
            run.write_metrics(rows)  # a kill may have come between checkpoint and table
    with ticking(plan.total, str(run.path)) as ticker:
        ticker.advance(len(rows) * plan.steps)
        train = _Watched(lesson.train, ticker)
        for epoch in fit(learner, optimizer, train, lesson.held_out, lesson.schedule, plan.epochs, lesson.seeds, fabric, resume=checkpoint):
            _report(epoch.row, plan.epochs, ticker)
            rows.append(epoch.row | (likeness.row(plain, epoch.number) if likeness else {}))
            if best is None or epoch.row["validation_error"] < best["validation_error"]:
                best = {
                    "epoch": epoch.number,
                    "validation_error": epoch.row["validation_error"],
                    "student": _student_state(epoch.state),
                }
            if fabric.global_rank == 0:
                with whole(run.path / "checkpoint.pt") as beside:
                    torch.save(epoch.state | {"rows": rows, "best": best}, beside)
                run.write_metrics(rows)
            fabric.barrier()
    if likeness and fabric.global_rank == 0:
        likeness.write(run, plain)
    _finish(run, lesson, learner, best)


def _announce(path: Path, lesson: Lesson, overlap: int) -> None:
    """Say what is going to be trained, on what, for how long."""
    settings, plan = lesson.settings, lesson.plan
    for objective in lesson.learner.teaching:
        if remark := objective.remark(lesson.compared(objective)):
            say(remark)
    count = sum(p.numel() for p in lesson.learner.student.parameters())
    images = f"{len(plan.labelled):,} labelled" + (f" + {len(plan.unlabelled):,} unlabelled" if plan.unlabelled else "")
    images += " image" if len(plan.ids) == 1 else " images"
    length = f"{plan.epochs} epochs of {plan.steps} steps" if settings.steps is None else f"{plan.total:,} steps in {plan.epochs} epochs"
    say(f"{path}: {settings.network} ({count:,} weights) on {settings.dataset}, {images}, {length}, seed {settings.seed}")
    if overlap:
        say(f"note: {overlap:,} test images are also training images, to the pixel")


def _begin(run: Run, lesson: Lesson, overlap: int) -> None:
    """The run's folder with its configuration and provenance; a resumed run keeps its own. UserError where a parent has changed since."""
    sweep(run.path)
    settings = lesson.settings
    parents = _parents(settings, lesson.splits)
    if (run.path / "config.toml").is_file():
        _refuse_changed(run, parents)
        return
    made = provenance(record(settings), parents, str(lesson.fabric.device), torch.get_num_threads())
    run.write_provenance(made | {"test_images_seen_in_training": overlap})
    run.write_config(record(settings))


def _parents(settings: Training, splits: Splits) -> list[Parent]:
    parents = [Parent(kind="dataset", path=place(settings), fingerprint=fingerprint(splits))]
    if isinstance(settings, Student) and settings.targets:
        parents.append(parent_of(settings))
    if settings.init:
        init = Path(settings.init)
        parents.append(Parent(kind="run" if init.is_dir() else "weights", path=settings.init, fingerprint=weights.digest(init)))
    return parents


def _refuse_changed(run: Run, parents: list[Parent]) -> None:
    """UserError where what a run was begun with is no longer what lies there: half of it would have learned from something else."""
    known = {parent["kind"]: parent for parent in run.provenance.get("parents", ())}
    for now in parents:
        before = known.get(now["kind"])
        if before is None:
            raise UserError(f"{run.path / 'provenance.json'} is damaged: it names no {now['kind']}", hint="begin again at another path")
        if before.get("layers") != now.get("layers"):
            fact = f"{run.path} was begun by an older rdl, which knew the store {now['path']} by another fingerprint"
            raise UserError(fact, hint="go on with that rdl, or begin again at another path")
        if before["fingerprint"] != now["fingerprint"]:
            fact = f"the {now['kind']} {now['path']} has changed since {run.path} was begun"
            raise UserError(fact, hint="put it back, or begin again at another path")


def _refuse_other_store(run: Run, settings: Training) -> None:
    """UserError where a finished run learned from something else than its store holds now; one that is gone, or older, says nothing."""
    if not (isinstance(settings, Student) and Path(settings.targets).is_file()):
        return
    before = next((parent for parent in run.provenance.get("parents", ()) if parent["kind"] == "store"), None)
    now = parent_of(settings)
    if before and before.get("layers") == now["layers"] and before["fingerprint"] != now["fingerprint"]:
        fact = f"the store {now['path']} has changed since {run.path} learned from it"
        raise UserError(fact, hint="put it back, or begin again at another path")


@contextmanager
def _left_as_found(made: list[Path]) -> Iterator[None]:
    """Folders that were made for a run and are empty when it fails are removed again."""
    try:
        yield
    except Exception:
        for folder in made:
            with suppress(OSError):  # something lies there by now
                folder.rmdir()
        raise


@contextmanager
def _or_nothing(path: Path) -> Iterator[None]:
    """A run that fails before its first epoch is whole leaves nothing behind; one that is killed can be resumed."""
    try:
        yield
    except Exception as error:
        if not (path / "checkpoint.pt").exists():
            shutil.rmtree(path, ignore_errors=True)
        if "more than 1 value per channel" in str(error):  # PyTorch's, from the depth of a network
            raise UserError(
                "batch normalisation has no variance to divide by: a layer has one value for each channel", hint="say a larger --batch-size"
            ) from error
        raise


def _checkpoint(path: Path) -> dict[str, Any] | None:
    file = path / "checkpoint.pt"
    if not file.is_file():
        return None
    Run(path).check_checkpoint()
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its unpickler met
        raise UserError(f"{file} is damaged: {first_line(error)}", hint=f"delete {path} and train again") from error


def _student_state(state: dict[str, Any]) -> dict[str, torch.Tensor]:
    prefix = "student."
    return {name.removeprefix(prefix): t.detach().clone() for name, t in state["learner"].items() if name.startswith(prefix)}


def _report(row: dict[str, float], epochs: int, ticker: Ticker) -> None:
    terms = ", ".join(f"{name.removeprefix('train/')} {value:.4g}" for name, value in row.items() if name.startswith("train/"))
    line = f"epoch {int(row['epoch']) + 1}/{epochs}: {terms}, validation error {100 * row['validation_error']:.2f} %"
    ticker.advance(0, line)
    if not ticker.visible:
        say(line)


def _finish(run: Run, lesson: Lesson, learner: nn.Module, best: dict[str, Any] | None) -> None:
    """The test split, read once: predictions with the final weights and with those that were best on validation."""
    final_state = _student_state({"learner": learner.state_dict()})
    final, labels = evaluate(learner, lesson.test)
    at_best = final
    if best is not None:
        learner.load_state_dict({f"student.{name}": tensor for name, tensor in best["student"].items()}, strict=False)
        at_best, _ = evaluate(learner, lesson.test)
    if lesson.fabric.global_rank == 0:
        about = lesson.about
        network = build(about.network, Pictures.read(about.pictures), int(about.classes))
        network.load_state_dict(final_state)
        weights.save(network, run.weights, about)
        if any(tensor.dtype == torch.float64 for tensor in final_state.values()):
            say(f"{run.path}: the weights are kept as float32; the errors are those of float64")
        pictures = lesson.splits.test.images
        run.write_predictions(digests(pictures), np.asarray(labels), {"final": final.numpy(), "best": at_best.numpy()})
        for name, logits in (("final", final), ("best", at_best)):
            wrong = int((logits.argmax(1) != labels).sum())
            which = "final epoch" if name == "final" or best is None else f"epoch {best['epoch'] + 1}, best on validation"
            say(f"{run.path}: test error {100 * wrong / len(labels):.2f} % ({wrong} of {len(labels):,}; {which})")
    lesson.fabric.barrier()


class _Watched:
    """A stream that moves a bar as it is read."""

    def __init__(self, stream: Batches, ticker: Ticker):
        self._stream, self._ticker = stream, ticker

    def __len__(self) -> int:
        return len(self._stream)

    def epoch(self, seeds: Seeds, epoch: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        for batch in self._stream.epoch(seeds, epoch, rank, world):
            yield batch
            self._ticker.advance()

    def in_order(self) -> Iterator[Batch]:
        return self._stream.in_order()
