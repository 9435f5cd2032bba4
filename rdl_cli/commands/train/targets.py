"""Open the target that the settings name, and make the objectives that follow it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from rdl_cli.commands.activation_reader import log_unstable_layers
from rdl_cli.commands.alignment import align_images
from rdl_cli.commands.console import log
from rdl_cli.commands.options import to_flag
from rdl_cli.commands.settings import StudentSettings
from rdl_cli.commands.train.brain_targets import has_own_stimuli, open_brain_target
from rdl_cli.core.errors import UserError, unknown_name
from rdl_cli.core.provenance import Parent
from rdl_cli.core.seeds import Seeds
from rdl_cli.core.tensor_types import Batch, Ids
from rdl_cli.datasets.augmentation import Views
from rdl_cli.datasets.base import Split
from rdl_cli.datasets.preprocessing import Preprocess
from rdl_cli.networks.factory import InputShape
from rdl_cli.networks.hooks import LOGITS, layer_shapes, select_layers
from rdl_cli.networks.weights import load_network
from rdl_cli.runs.run import Run
from rdl_cli.store.select import split_layer
from rdl_cli.store.store import Store
from rdl_cli.training.brain_target import BrainTarget
from rdl_cli.training.objective import OBJECTIVES, Objective, ObjectiveContext
from rdl_cli.training.targets import LiveTarget, StoreTarget, Target


@dataclass(frozen=True)
class TrainingImages:
    """The images of a training: the split, the ids that are used, views and preprocessing."""

    split: Split
    ids: Ids
    views: Views
    preprocess: Preprocess
    device: torch.device

    def find_rows(self, ids: Ids) -> Tensor:
        """Return the rows of images in the split."""
        rows = torch.full((int(self.split.ids.max()) + 1,), -1)
        rows[self.split.ids] = torch.arange(len(self.split))
        return rows[ids]

    def sample(self, seeds: Seeds, size: int) -> Batch:
        """Return some of the images, in their first view."""
        chosen = self.ids[torch.randperm(len(self.ids), generator=seeds("calibration"))[:size]]
        rows = self.find_rows(chosen)
        images = self.preprocess(self.split.read(rows).to(self.device))
        zeros = torch.zeros(len(rows), dtype=torch.long, device=self.device)
        return Batch(images, self.split.labels[rows].to(self.device), chosen.to(self.device), zeros)


def build_objectives(settings: StudentSettings, context: ObjectiveContext) -> list[Objective]:
    """Return the objectives of the settings; by default `rdl`, or `rsa` for a brain's RDMs."""
    specs = settings.objective
    if context.matches and context.target is None:
        raise UserError(
            "--match names layers, but there is no teacher", hint="pass --targets STORE"
        )
    if not specs and isinstance(context.target, BrainTarget):
        specs = ["rsa"]
        log("objective rsa, the default for measured RDMs, whose unit is arbitrary")
    elif not specs and context.target is not None:
        specs = ["rdl"]
    names = [spec.partition(":")[0] for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise UserError(
                f"--objective names `{name}` {names.count(name)} times",
                hint="join their options into one",
            )
    objectives: list[Objective] = []
    for index, spec in enumerate(specs):
        context.seeds.seed_global("objectives", index)
        objectives.append(OBJECTIVES.make(spec, context))
    for name, fraction in settings.grad_fractions().items():
        if name not in names:
            raise unknown_name("objective of this run", name, names)
        objectives[names.index(name)].grad_fraction = fraction
    return objectives


def open_target(
    settings: StudentSettings,
    layers: Sequence[str],
    images: TrainingImages,
    input_shape: InputShape,
    seeds: Seeds,
) -> Target:
    """Return the target of --targets: a store, or a run as a live teacher.

    A store with images that are not the training images is a brain's: its stimuli are shown
    beside the task. With --align the training images are looked up in the store in any case.
    UserError if the store or run is missing, or does not hold the layers.
    """
    path = Path(settings.targets)
    if not layers:
        raise UserError(
            f"--targets {path} is given, but no layer follows it",
            hint="pass --match STUDENT=TEACHER; rdl show and rdl layers list them",
        )
    if path.is_dir():
        _refuse_stimulus_options(settings, f"{path} is a run")
        return open_live_target(path, layers, images, settings.trust)
    store = Store.open(path)
    _refuse_missing_logits(store, layers)
    used = images.split.at(images.find_rows(images.ids))
    if settings.align == "digest" and has_own_stimuli(store, used):
        return open_brain_target(
            store, layers, settings, input_shape, images.preprocess, images.device, seeds
        )
    _refuse_stimulus_options(settings, f"{path} is of the training images")
    if settings.augment:
        raise UserError(
            f"--augment {settings.augment[0]} draws images without number, and {path} holds the"
            " targets of numbered views",
            hint="pass --views, which the store must hold as well; or a run as a live teacher",
        )
    for layer in layers:
        split_layer(store, layer)  # UserError if there is no such layer
    if (error := store.provenance.get("teacher_error")) is not None:
        log(f"teacher of {path}: error {100 * error:.2f} % on the stored images")
    rows = align_images(store, images.split, images.ids, settings.align)
    limit = None if settings.target_memory is None else int(1e9 * settings.target_memory)
    target = StoreTarget(store, layers, rows, images.views.names, images.device, limit)
    if torch.device(images.device).type != "cpu":
        log(f"targets: {target.placement}")
    return target


def _refuse_missing_logits(store: Store, layers: Sequence[str]) -> None:
    """Raise UserError if an objective such as `kd` needs logits that the store does not have."""
    if LOGITS not in layers or LOGITS in store.layers:
        return
    kinds = {store.layer(layer).kind for layer in store.layers}
    if "activations" not in kinds:
        what, more = ("RDMs", "") if "RDMs" in kinds else ("kernels", "cka, bayes, sp, ")
        raise UserError(
            f"{store.path} holds only {what}, and no `{LOGITS}` for an objective that compares"
            " classes",
            hint=f"with {what} use {more}rsa, cosine, whitened or rdl, and --match",
        )
    runs = [
        parent["path"] for parent in store.provenance.get("parents", ()) if parent["kind"] == "run"
    ]
    run, names = runs[0] if runs else "RUN", ",".join(store.layers)
    raise UserError(
        f"{store.path} holds no `{LOGITS}`; it holds: {', '.join(store.layers)}",
        hint=f"add them: rdl export-rdms {run} {store.path} --layers {names},{LOGITS}",
    )


def _refuse_stimulus_options(settings: StudentSettings, fact: str) -> None:
    for name in ("stimuli_batch_size", "stimuli_heldout", "stimuli_eval_every", "control"):
        if getattr(settings, name):
            raise UserError(
                f"{to_flag(name)} is for a teacher with stimuli of its own; {fact}",
                hint="leave it out",
            )


def open_live_target(
    path: Path, layers: Sequence[str], images: TrainingImages, trust: bool = False
) -> LiveTarget:
    """Return the network of a run as a target. UserError if it takes other images."""
    teacher, metadata = load_network(Run.open_finished(path).weights, trust)
    if metadata.preprocessing != images.preprocess.spec:
        raise UserError(
            f"the teacher {path} was trained with --preprocessing {metadata.preprocessing}, the"
            f" student is trained with {images.preprocess.spec}",
            hint=f"pass --preprocessing {metadata.preprocessing}, or use a store of the teacher",
        )
    teacher_shape = InputShape.parse(metadata.input_shape)
    student_shape = InputShape(*images.split.images.shape[1:])
    if teacher_shape != student_shape:
        raise UserError(
            f"the teacher {path} takes {teacher_shape} images; the student's are {student_shape}",
            hint="choose another teacher or --image-size",
        )
    shapes = layer_shapes(teacher, teacher_shape)
    select_layers(layers, shapes, "layer of the teacher")
    log_unstable_layers(teacher, teacher_shape, layers, f"the teacher {path}")
    return LiveTarget(teacher.to(images.device), layers, shapes)


def teacher_provenance(path: Path, layers: Sequence[str]) -> Parent:
    """Return a student's teacher for its provenance.

    The fingerprint of a store is that of the layers in use, so that layers can be added to it.
    """
    if path.is_dir():
        return Parent(kind="run", path=str(path), fingerprint=Run.open_finished(path).fingerprint())
    store = Store.open(path)
    names = sorted({split_layer(store, layer)[0] for layer in layers})
    return Parent(kind="store", path=str(path), fingerprint=store.fingerprint(names), layers=names)
