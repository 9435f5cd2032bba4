"""A teacher network, run once: its activations, RDMs or kernels over a set of pictures become a store."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rdl_cli.commands.console import say, ticking
from rdl_cli.commands.device import device_of, prepare
from rdl_cli.commands.export_rdms.blockwise import write_kernel, write_rdm
from rdl_cli.commands.export_rdms.existing_layers import EXPORT, copy, exports_of, held_at, holds, specs_of
from rdl_cli.commands.image_data import joined, load, place
from rdl_cli.commands.settings import Export, record
from rdl_cli.core.errors import UserError
from rdl_cli.core.provenance import Parent, provenance
from rdl_cli.core.tensor_types import Reps
from rdl_cli.datasets.augmentation import VIEWS, Views
from rdl_cli.datasets.base import Split, Splits
from rdl_cli.datasets.loader import Batches, digests, fingerprint
from rdl_cli.datasets.preprocessing import PREPROCESSING, Preprocess
from rdl_cli.datasets.subsets import Rows
from rdl_cli.networks.factory import Pictures
from rdl_cli.networks.hooks import choose, read_only, shapes
from rdl_cli.networks.weights import load as load_weights
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.rsa.kernels import check_told
from rdl_cli.runs.run import Run
from rdl_cli.store.layout import ActivationSpec, KernelSpec, RdmSpec, Spec, size_of
from rdl_cli.store.store import Stimuli, Store
from rdl_cli.store.writer import Writer, create, room

CHECKPOINT_EVERY = 20  # batches; each checkpoint is an fdatasync


@dataclass(frozen=True)
class Teacher:
    """A network and the pictures it is to be read on."""

    run: Run
    network: nn.Module
    shapes: dict[str, tuple[int, ...]]
    splits: Splits
    split_name: str
    split: Split
    preprocess: Preprocess
    pictures: Batches
    views: Views
    device: torch.device
    batch_size: int

    @cached_property
    def source(self) -> dict[str, Any]:
        """What must agree for two stores to be of the same teacher on the same pictures."""
        return {
            "teacher": self.run.fingerprint(),
            "preprocessing": self.preprocess.spec,
            "pictures": fingerprint(self.splits),
            "split": self.split_name,
        }

    def stimuli(self) -> Stimuli:
        names = None if self.split.names is None else np.array(self.split.names)
        return Stimuli(digests(self.split.images), names, self.split.labels.numpy())

    @torch.no_grad()
    def read(self, layers: Sequence[str], rows: Rows) -> dict[str, Reps]:
        """Some layers over some of the pictures, without augmentation, on the CPU."""
        if not layers:
            return {}
        found = [read_only(self.network, batch.images, layers) for batch in self._batches(rows).in_order(0, self.batch_size)]
        return {layer: torch.cat([each[layer].float().cpu() for each in found]) for layer in layers}

    def from_row(self, row: int) -> Batches:
        """The pictures from a row on."""
        return self._batches(torch.arange(row, len(self.split))) if row else self.pictures

    def _batches(self, rows: Rows) -> Batches:
        return Batches(self.split.at(rows), None, self.batch_size, self.views, self.preprocess, self.device)


def export_rdms(run: Path, out: Path, settings: Export, dry_run: bool = False) -> Store | None:
    """The store at `out`, with every layer asked for; None after a dry run. UserError for bad input, before anything is written.

    What a store of the same teacher and pictures already holds is not computed again; a store of others is refused.
    After a kill the same call goes on where it stopped.
    """
    check(settings)
    settings = with_pictures_of(Run.open_finished(run), settings)
    teacher = open_teacher(run, settings)
    if not settings.layers:
        raise UserError("no layers are named", hint=f"say --layers NAME,NAME; this network has: {', '.join(teacher.shapes)}")
    layers = choose(settings.layer_names(), list(teacher.shapes))
    held = held_at(out, teacher.source)
    missing = [layer for layer in layers if not (held and holds(held, layer, settings, teacher.views))]
    if held and not missing:
        say(f"{out} holds {', '.join(layers)} of this teacher already")
        return held
    error = _say_error(run, teacher, settings)
    stimuli = teacher.stimuli()
    specs = [spec_of(layer, teacher.shapes[layer], teacher.views, settings) for layer in missing]
    kept = specs_of(held, without=missing) if held else []
    scratch = out.with_name(f".{out.name}.activations") if settings.as_ != "activations" else None
    scratch_specs: list[Spec] = [ActivationSpec(m, teacher.shapes[m], "float32", teacher.views.names) for m in missing] if scratch else []
    _say_size(
        out, size_of(stimuli, [*kept, *specs]) + (size_of(stimuli, scratch_specs) if scratch else 0), len(teacher.split), missing, settings
    )
    if dry_run:
        return None
    parents = [
        Parent(kind="run", path=str(run), fingerprint=teacher.source["teacher"]),
        Parent(kind="dataset", path=place(settings), fingerprint=teacher.source["pictures"]),
    ]
    made = provenance(record(settings), parents, str(teacher.device), torch.get_num_threads())
    made |= {"source": teacher.source, "teacher_error": error}
    made["exports"] = [*(exports_of(held, without=missing) if held else ()), {"layers": missing} | {key: made[key] for key in EXPORT}]
    key = repr(sorted(teacher.source.items()))
    if scratch:
        if not _serves(scratch, teacher, missing):
            with create(scratch, stimuli, made, scratch_specs, key, overwrite=True) as writer:
                _write_activations(writer, teacher, missing)
        activations = Store.open(scratch)
        with create(out, stimuli, made, [*kept, *specs], key, overwrite=held is not None) as writer, _or_nothing(out):
            copy(writer, held, kept)
            for layer in missing:
                write_compared(writer, layer, activations.activations(layer)[0], settings, teacher.device)
        scratch.unlink()
    else:
        with create(out, stimuli, made, [*kept, *specs], key, overwrite=held is not None) as writer:
            _write_activations(writer, teacher, missing)
            copy(writer, held, kept)
    say(f"{out}: whole")
    return Store.open(out)


def check(settings: Export) -> None:
    """UserError for what no teacher's store can hold."""
    settings.check()
    DISTANCES.find(settings.distance)
    views: Views = VIEWS.make(settings.views)
    if settings.as_ != "activations" and len(views) > 1:
        raise UserError(
            f"an RDM or kernel is of the pictures themselves, not of the {len(views)} views of `{settings.views}`", hint="store activations"
        )
    if settings.as_ == "kernel":
        check_told(settings.distance)
        if settings.dtype == "float16":
            raise UserError(
                "float16 is too narrow for a kernel: distances are differences of its numbers, which end at 65,504",
                hint="leave --dtype out, or store activations in float16",
            )


def with_pictures_of(run: Run, settings: Export) -> Export:
    """The settings, with the run's own data set, where it lies and its size in place of what they leave open."""

    def own(key: str) -> Any:
        return getattr(settings, key) or run.config.get(key)

    named = settings.dataset not in ("", run.config.get("dataset"))  # another data set has pictures of its own size
    size = settings.image_size if named else own("image_size")
    return replace(settings, dataset=own("dataset") or "", data_root=own("data_root") or "", image_size=size)


def open_teacher(run: Path, settings: Export, splits: Splits | None = None) -> Teacher:
    """The finished run's network, with the split that the settings name, shown as the network was trained.

    `splits` are those of the settings' data set, where they have been read already.
    """
    trained = Run.open_finished(run)
    network, about = load_weights(trained.weights)
    device = torch.device(device_of(settings.device))
    prepare(device)
    splits = splits or load(settings)
    split = _split(splits, settings.split)
    own, theirs = Pictures.read(about.pictures), Pictures(*split.images.shape[1:])
    if own != theirs:
        raise UserError(
            f"the teacher {run} takes {own} pictures, those of `{settings.dataset}` are {theirs}",
            hint="choose another --dataset or --image-size",
        )
    views: Views = VIEWS.make(settings.views)
    preprocess: Preprocess = PREPROCESSING.make(about.preprocessing, splits.train)
    pictures = Batches(split, None, settings.batch_size, views, preprocess, device)
    found = shapes(network, own)
    name, size = settings.split, settings.batch_size
    return Teacher(trained, network.to(device), found, splits, name, split, preprocess, pictures, views, device, size)


def _split(splits: Splits, name: str) -> Split:
    return joined(list(splits)) if name == "all" else getattr(splits, name)


@torch.no_grad()
def _say_error(run: Path, teacher: Teacher, settings: Export) -> float | None:
    """The teacher's error on the pictures to be stored, said before anything else; None where its classes are others."""
    classes = len(teacher.split.classes)
    if teacher.shapes["logits"] != (classes,):
        say(f"teacher {run}: no error on these pictures, they have {classes} classes and its logits are {teacher.shapes['logits']}")
        return None
    wrong = 0
    for batch in teacher.pictures.in_order(0, teacher.batch_size):
        wrong += int((teacher.network(batch.images).argmax(1) != batch.labels).sum())
    n = len(teacher.split)
    say(f"teacher {run}: error {100 * wrong / n:.2f} % on the {settings.split} images ({wrong:,} of {n:,})")
    return wrong / n


def _serves(scratch: Path, teacher: Teacher, layers: Sequence[str]) -> bool:
    """Whether the activations that an interrupted attempt left are those that this one needs."""
    if not scratch.exists():
        return False
    left = Store.open(scratch)
    return left.provenance.get("source") == teacher.source and set(layers) <= set(left.layers)


@contextmanager
def _or_nothing(out: Path) -> Iterator[None]:
    """Whom an RDM is refused, finds no scratch beside the store; whom a kill stops, finds what the next attempt goes on from."""
    try:
        yield
    except UserError:
        for left in out.parent.glob(f".{escape(out.name)}.*"):
            left.unlink()
        raise


def spec_of(layer: str, shape: tuple[int, ...], views: Views, settings: Export) -> Spec:
    """What the store is to hold of a layer of this shape."""
    if settings.as_ == "kernel":
        return KernelSpec(layer, settings.dtype, settings.distance, math.prod(shape))
    if settings.as_ == "rdm":
        return RdmSpec(layer, 1, settings.dtype, settings.distance)
    return ActivationSpec(layer, shape, settings.dtype, views.names, {"distance": settings.distance})


def write_compared(writer: Writer, layer: str, reps: np.ndarray, settings: Export, device: torch.device) -> None:
    """The layer's kernel or RDM, whichever is to be stored, of its activations (n ...)."""
    if settings.as_ == "kernel":
        write_kernel(writer, layer, reps, device)
    else:
        write_rdm(writer, layer, reps, settings.distance, device)


def _say_size(out: Path, need: int, stimuli: int, layers: Sequence[str], settings: Export) -> None:
    free = room(out)
    say(
        f"{out}: {', '.join(layers)} of {stimuli:,} stimuli as {settings.as_}, {need / 1e6:,.1f} MB; the disk has {free / 1e6:,.0f} MB free"
    )
    if need > free:
        hint = "free space, choose another disk, or store less: fewer layers, --dtype float16, activations in place of RDMs"
        raise UserError(f"{out} needs {need:,} bytes, the disk has {free:,} free", hint=hint)


@torch.no_grad()
def _write_activations(writer: Writer, teacher: Teacher, layers: Sequence[str]) -> None:
    """Rows of every layer in one pass, from where an interrupted attempt stopped."""
    n, start = len(teacher.split), writer.rows
    if start == n:
        return
    rest = teacher.from_row(start)
    with ticking(n, f"{writer.path.name}") as ticker:
        ticker.advance(start)
        views = (rest.in_order(view, teacher.batch_size) for view in range(len(teacher.views)))
        for step, batches in enumerate(zip(*views, strict=True)):
            stop = start + len(batches[0].ids)
            for view, batch in enumerate(batches):
                for layer, reps in read_only(teacher.network, batch.images, layers).items():
                    writer.write(layer, start, reps.float().cpu().numpy(), view)
            ticker.advance(stop - start)
            start = stop
            if step % CHECKPOINT_EVERY == CHECKPOINT_EVERY - 1:
                writer.checkpoint(stop)
