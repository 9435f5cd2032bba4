"""A teacher network, run once: its activations, RDMs or kernels over a set of pictures become a store."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rdl_cli.commands.console import log, progress
from rdl_cli.commands.device import configure_backend, resolve_device
from rdl_cli.commands.export_rdms.blockwise import write_kernel, write_rdm
from rdl_cli.commands.export_rdms.existing_layers import (
    EXPORT,
    copy_layers,
    has_layer,
    layer_specs,
    list_exports,
    open_existing,
)
from rdl_cli.commands.image_data import join_splits, load_splits, resolve_dataset
from rdl_cli.commands.options import to_config
from rdl_cli.commands.settings import ExportSettings
from rdl_cli.core.errors import UserError
from rdl_cli.core.files import PARTIAL
from rdl_cli.core.patterns import select_names
from rdl_cli.core.provenance import Parent, provenance
from rdl_cli.core.tensor_types import Reps
from rdl_cli.datasets.augmentation import VIEWS, Views
from rdl_cli.datasets.base import Split, Splits
from rdl_cli.datasets.loader import Batches, dataset_fingerprint, image_digests
from rdl_cli.datasets.preprocessing import PREPROCESSING, Preprocess
from rdl_cli.datasets.subsets import Rows
from rdl_cli.networks.factory import InputShape
from rdl_cli.networks.hooks import layer_shapes, read_layers
from rdl_cli.networks.weights import load_network as load_weights
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.rsa.kernels import check_kernel_distance
from rdl_cli.runs.run import Run
from rdl_cli.store.layout import ActivationSpec, KernelSpec, RdmSpec, Spec, store_size
from rdl_cli.store.store import Stimuli, Store
from rdl_cli.store.writer import Writer, create_store, free_bytes

CHECKPOINT_EVERY = 20  # batches; each checkpoint is an fdatasync


@dataclass(frozen=True)
class ActivationReader:
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
            "pictures": dataset_fingerprint(self.splits),
            "split": self.split_name,
        }

    def stimuli(self) -> Stimuli:
        names = None if self.split.names is None else np.array(self.split.names)
        return Stimuli(image_digests(self.split.images), names, self.split.labels.numpy())

    @torch.no_grad()
    def read(self, layers: Sequence[str], rows: Rows) -> dict[str, Reps]:
        """Some layers over some of the pictures, without augmentation, on the CPU."""
        if not layers:
            return {}
        found = [
            read_layers(self.network, batch.images, layers)
            for batch in self._batches(rows).in_order(0, self.batch_size)
        ]
        return {layer: torch.cat([each[layer].float().cpu() for each in found]) for layer in layers}

    def from_row(self, row: int) -> Batches:
        """The pictures from a row on."""
        return self._batches(torch.arange(row, len(self.split))) if row else self.pictures

    def _batches(self, rows: Rows) -> Batches:
        return Batches(
            self.split.at(rows), None, self.batch_size, self.views, self.preprocess, self.device
        )


def export_rdms(
    run: Path, out: Path, settings: ExportSettings, dry_run: bool = False
) -> Store | None:
    """The store at `out`, with every layer asked for; None after a dry run. UserError for bad input, before anything is written.

    What a store of the same teacher and pictures already holds is not computed again; a store of others is refused.
    After a kill the same call goes on where it stopped.
    """
    check_export(settings)
    settings = add_stimuli(Run.open_finished(run), settings)
    teacher = open_reader(run, settings)
    if not settings.layers:
        raise UserError(
            "no layers are named",
            hint=f"say --layers NAME,NAME; this network has: {', '.join(teacher.shapes)}",
        )
    layers = select_names(settings.layer_names(), list(teacher.shapes))
    held = open_existing(out, teacher.source)
    missing = [
        layer for layer in layers if not (held and has_layer(held, layer, settings, teacher.views))
    ]
    if held and not missing:
        log(f"{out} holds {', '.join(layers)} of this teacher already")
        return held
    error = _log_teacher_error(run, teacher, settings)
    stimuli = teacher.stimuli()
    specs = [plan_layer(layer, teacher.shapes[layer], teacher.views, settings) for layer in missing]
    kept = layer_specs(held, without=missing) if held else []
    scratch = out.with_name(f".{out.name}.activations{PARTIAL}") if settings.as_ != "activations" else None
    scratch_specs: list[Spec] = (
        [ActivationSpec(m, teacher.shapes[m], "float32", teacher.views.names) for m in missing]
        if scratch
        else []
    )
    _log_size(
        out,
        store_size(stimuli, [*kept, *specs])
        + (store_size(stimuli, scratch_specs) if scratch else 0),
        len(teacher.split),
        missing,
        settings,
    )
    if dry_run:
        return None
    parents = [
        Parent(kind="run", path=str(run), fingerprint=teacher.source["teacher"]),
        Parent(
            kind="dataset", path=resolve_dataset(settings), fingerprint=teacher.source["pictures"]
        ),
    ]
    made = provenance(to_config(settings), parents, str(teacher.device), torch.get_num_threads())
    made |= {"source": teacher.source, "teacher_error": error}
    made["exports"] = [
        *(list_exports(held, without=missing) if held else ()),
        {"layers": missing} | {key: made[key] for key in EXPORT},
    ]
    key = repr(sorted(teacher.source.items()))
    if scratch:
        if not _check_views(scratch, teacher, missing):
            with create_store(scratch, stimuli, made, scratch_specs, key, overwrite=True) as writer:
                _write_activations(writer, teacher, missing)
        activations = Store.open(scratch)
        with create_store(
            out, stimuli, made, [*kept, *specs], key, overwrite=held is not None
        ) as writer:
            try:
                copy_layers(writer, held, kept)
                for layer in missing:
                    reps = activations.layer(layer).activations()[0]
                    write_pairwise(writer, layer, reps, settings, teacher.device)
            except UserError:  # refused: nothing to resume from, as there is after a kill
                writer.discard()
                scratch.unlink(missing_ok=True)
                raise
        scratch.unlink()
    else:
        with create_store(
            out, stimuli, made, [*kept, *specs], key, overwrite=held is not None
        ) as writer:
            _write_activations(writer, teacher, missing)
            copy_layers(writer, held, kept)
    log(f"{out}: whole")
    return Store.open(out)


def check_export(settings: ExportSettings) -> None:
    """UserError for what no teacher's store can hold."""
    settings.check()
    DISTANCES.find(settings.distance)
    views: Views = VIEWS.make(settings.views)
    if settings.as_ != "activations" and len(views) > 1:
        raise UserError(
            f"an RDM or kernel is of the pictures themselves, not of the {len(views)} views of `{settings.views}`",
            hint="store activations",
        )
    if settings.as_ == "kernel":
        check_kernel_distance(settings.distance)
        if settings.dtype == "float16":
            raise UserError(
                "float16 is too narrow for a kernel: distances are differences of its numbers, which end at 65,504",
                hint="leave --dtype out, or store activations in float16",
            )


def add_stimuli(run: Run, settings: ExportSettings) -> ExportSettings:
    """The settings, with the run's own data set, where it lies and its size in place of what they leave open."""

    def own(key: str) -> Any:
        return getattr(settings, key) or run.config.get(key)

    named = settings.dataset not in (
        "",
        run.config.get("dataset"),
    )  # another data set has pictures of its own size
    size = settings.image_size if named else own("image_size")
    return replace(
        settings, dataset=own("dataset") or "", data_root=own("data_root") or "", image_size=size
    )


def open_reader(
    run: Path, settings: ExportSettings, splits: Splits | None = None
) -> ActivationReader:
    """The finished run's network, with the split that the settings name, shown as the network was trained.

    `splits` are those of the settings' data set, where they have been read already.
    """
    trained = Run.open_finished(run)
    network, about = load_weights(trained.weights)
    device = torch.device(resolve_device(settings.device))
    configure_backend(device)
    splits = splits or load_splits(settings)
    split = _split(splits, settings.split)
    own, theirs = InputShape.read(about.pictures), InputShape(*split.images.shape[1:])
    if own != theirs:
        raise UserError(
            f"the teacher {run} takes {own} pictures, those of `{settings.dataset}` are {theirs}",
            hint="choose another --dataset or --image-size",
        )
    views: Views = VIEWS.make(settings.views)
    preprocess: Preprocess = PREPROCESSING.make(about.preprocessing, splits.train)
    pictures = Batches(split, None, settings.batch_size, views, preprocess, device)
    found = layer_shapes(network, own)
    name, size = settings.split, settings.batch_size
    return ActivationReader(
        trained,
        network.to(device),
        found,
        splits,
        name,
        split,
        preprocess,
        pictures,
        views,
        device,
        size,
    )


def _split(splits: Splits, name: str) -> Split:
    return join_splits(list(splits)) if name == "all" else getattr(splits, name)


@torch.no_grad()
def _log_teacher_error(
    run: Path, teacher: ActivationReader, settings: ExportSettings
) -> float | None:
    """The teacher's error on the pictures to be stored, said before anything else; None where its classes are others."""
    classes = len(teacher.split.classes)
    if teacher.shapes["logits"] != (classes,):
        log(
            f"teacher {run}: no error on these pictures, they have {classes} classes and its logits are {teacher.shapes['logits']}"
        )
        return None
    wrong = 0
    for batch in teacher.pictures.in_order(0, teacher.batch_size):
        wrong += int((teacher.network(batch.images).argmax(1) != batch.labels).sum())
    n = len(teacher.split)
    log(
        f"teacher {run}: error {100 * wrong / n:.2f} % on the {settings.split} images ({wrong:,} of {n:,})"
    )
    return wrong / n


def _check_views(scratch: Path, teacher: ActivationReader, layers: Sequence[str]) -> bool:
    """Whether the activations that an interrupted attempt left are those that this one needs."""
    if not scratch.exists():
        return False
    left = Store.open(scratch)
    return left.provenance.get("source") == teacher.source and set(layers) <= set(left.layers)


def plan_layer(layer: str, shape: tuple[int, ...], views: Views, settings: ExportSettings) -> Spec:
    """What the store is to hold of a layer of this shape."""
    if settings.as_ == "kernel":
        return KernelSpec(layer, settings.dtype, settings.distance, math.prod(shape))
    if settings.as_ == "rdm":
        return RdmSpec(layer, 1, settings.dtype, settings.distance)
    return ActivationSpec(
        layer, shape, settings.dtype, views.names, settings.distance
    )


def write_pairwise(
    writer: Writer, layer: str, reps: np.ndarray, settings: ExportSettings, device: torch.device
) -> None:
    """The layer's kernel or RDM, whichever is to be stored, of its activations (n ...)."""
    if settings.as_ == "kernel":
        write_kernel(writer, layer, reps, device)
    else:
        write_rdm(writer, layer, reps, settings.distance, device)


def _log_size(
    out: Path, need: int, stimuli: int, layers: Sequence[str], settings: ExportSettings
) -> None:
    free = free_bytes(out)
    log(
        f"{out}: {', '.join(layers)} of {stimuli:,} stimuli as {settings.as_}, {need / 1e6:,.1f} MB; the disk has {free / 1e6:,.0f} MB free"
    )
    if need > free:
        hint = "free space, choose another disk, or store less: fewer layers, --dtype float16, activations in place of RDMs"
        raise UserError(f"{out} needs {need:,} bytes, the disk has {free:,} free", hint=hint)


@torch.no_grad()
def _write_activations(writer: Writer, teacher: ActivationReader, layers: Sequence[str]) -> None:
    """Rows of every layer in one pass, from where an interrupted attempt stopped."""
    n, start = len(teacher.split), writer.rows
    if start == n:
        return
    rest = teacher.from_row(start)
    with progress(n, f"{writer.path.name}") as ticker:
        ticker.advance(start)
        views = (rest.in_order(view, teacher.batch_size) for view in range(len(teacher.views)))
        for step, batches in enumerate(zip(*views, strict=True)):
            stop = start + len(batches[0].ids)
            for view, batch in enumerate(batches):
                for layer, reps in read_layers(teacher.network, batch.images, layers).items():
                    writer.write(layer, start, reps.float().cpu().numpy(), view)
            ticker.advance(stop - start)
            start = stop
            if step % CHECKPOINT_EVERY == CHECKPOINT_EVERY - 1:
                writer.checkpoint(stop)
