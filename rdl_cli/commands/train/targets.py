"""From settings to what teaches: layer matches, the target behind them, and the objectives that use it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from rdl_cli.commands.console import log
from rdl_cli.commands.image_data import align_images
from rdl_cli.commands.options import split_commas, to_flag
from rdl_cli.commands.settings import StudentSettings, TrainingSettings
from rdl_cli.commands.train.brain_targets import has_own_stimuli, open_brain_target
from rdl_cli.core.errors import UserError, unknown_name
from rdl_cli.core.patterns import select_names
from rdl_cli.core.provenance import Parent
from rdl_cli.core.seeds import Seeds
from rdl_cli.core.tensor_types import Batch, Ids
from rdl_cli.datasets.augmentation import Views
from rdl_cli.datasets.base import Split
from rdl_cli.datasets.preprocessing import Preprocess
from rdl_cli.networks.factory import InputShape
from rdl_cli.networks.hooks import LOGITS, layer_shapes
from rdl_cli.networks.weights import load_network
from rdl_cli.runs.run import Run
from rdl_cli.store.select import split_layer as split_layer
from rdl_cli.store.store import Store, store_fingerprint
from rdl_cli.training.brain_target import BrainTarget
from rdl_cli.training.objective import OBJECTIVES, LayerMatch, Objective, ObjectiveContext
from rdl_cli.training.targets import LiveTarget, StoreTarget, Target

CALIBRATION = 1000
"""Images on which a target's size is measured."""


@dataclass(frozen=True)
class TrainingImages:
    """What training will show, and how: the split, the ids among it that occur, its views and preprocessing."""

    split: Split
    ids: Ids
    views: Views
    preprocess: Preprocess
    device: torch.device

    def rows(self, ids: Ids) -> Tensor:
        """Where images lie in the split."""
        place = torch.full((int(self.split.ids.max()) + 1,), -1)
        place[self.split.ids] = torch.arange(len(self.split))
        return place[ids]

    def sample(self, seeds: Seeds, size: int) -> Batch:
        """Some of the images, as they are."""
        chosen = self.ids[torch.randperm(len(self.ids), generator=seeds("calibration"))[:size]]
        rows = self.rows(chosen)
        images = self.preprocess(self.split.read(rows).to(self.device))
        zeros = torch.zeros(len(rows), dtype=torch.long, device=self.device)
        return Batch(images, self.split.labels[rows].to(self.device), chosen.to(self.device), zeros)


def parse_layer_matches(given: Sequence[str]) -> tuple[LayerMatch, ...]:
    """`mine=theirs`, or `layer` for the same name in both. UserError where one of the student's layers stands twice."""
    found: dict[str, LayerMatch] = {}
    for item in split_commas(given):
        mine, equals, theirs = item.partition("=")
        if not mine or (equals and not theirs):
            raise UserError(
                f"`--match {item}` does not name two layers", hint="write --match MINE=THEIRS"
            )
        if mine in found:
            raise UserError(
                f"--match names the student's layer `{mine}` twice: with `{found[mine].teacher}` and with `{theirs or mine}`",
                hint="a layer can follow one; add a second --objective if it is to follow another teacher",
            )
        found[mine] = LayerMatch(mine, theirs or mine)
    return tuple(found.values())


def open_objectives(
    settings: StudentSettings,
    student: nn.Module,
    pictures: InputShape,
    classes: int,
    shown: TrainingImages,
    seeds: Seeds,
) -> list[Objective]:
    """The objectives that the settings name, with the teacher that they name."""
    own = layer_shapes(student, pictures)
    matches = parse_layer_matches(settings.match)
    select_names([match.student for match in matches], list(own), "layer of the student")
    target = (
        open_target(settings, teacher_layers(settings), shown, pictures, seeds)
        if settings.targets
        else None
    )
    calibration = (
        target.calibration if isinstance(target, BrainTarget) else shown.sample(seeds, CALIBRATION)
    )
    return build_objectives(
        settings, ObjectiveContext(matches, target, own, classes, calibration, seeds)
    )


def build_objectives(settings: StudentSettings, setting: ObjectiveContext) -> list[Objective]:
    """The objectives that the settings name, or those of a student that names only a teacher: RDL, and RSA after a brain."""
    specs = settings.objective
    if setting.matches and setting.target is None:
        raise UserError("--match names layers, but there is no teacher", hint="say --targets STORE")
    if not specs and isinstance(setting.target, BrainTarget):
        specs = ["rsa"]
        log("objective rsa, the default for measured RDMs, whose unit means nothing")
    elif not specs and setting.target is not None:
        specs = ["rdl"]
    _refuse_twins(specs)
    made = []
    for index, spec in enumerate(specs):
        setting.seeds.fix("objectives", index)
        made.append(OBJECTIVES.make(spec, setting))
    for name, share in settings.grad_fractions().items():
        names = [spec.partition(":")[0] for spec in specs]
        if name not in names:
            raise unknown_name("objective of this run", name, names)
        made[names.index(name)].grad_fraction = share
    return made


def teacher_layers(settings: StudentSettings) -> tuple[LayerMatch, ...]:
    """What the objectives follow: what --match names, and where one takes a layer of its own (kd the logits), that."""
    matches = parse_layer_matches(settings.match)
    return tuple(
        dict.fromkeys(
            match
            for spec in settings.objective or ["rdl"]
            for match in objective_class(spec).select_matches(matches)
        )
    )


def objective_class(spec: str) -> type[Objective]:
    """The class that a spec names, without its options. UserError where it names something else."""
    found = OBJECTIVES.find(spec)
    family = found.func if isinstance(found, partial) else found
    if not (isinstance(family, type) and issubclass(family, Objective)):
        raise UserError(
            f"`{spec}` is not an objective",
            hint="an objective is a subclass of rdl_cli.training.objective.Objective",
        )
    return family


def has_unused_parameters(settings: TrainingSettings) -> bool:
    """Whether some weights get no gradient at times: the readout while hints teach alone, or where the task counts nothing."""
    if not isinstance(settings, StudentSettings):
        return False
    return settings.task_weight == 0 or any(
        objective_class(spec).is_exclusive is not Objective.is_exclusive
        for spec in settings.objective
    )


def _refuse_twins(specs: Sequence[str]) -> None:
    names = [spec.partition(":")[0] for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise UserError(
                f"--objective names `{name}` {names.count(name)} times",
                hint="join their options into one",
            )


def open_target(
    settings: StudentSettings,
    matches: Sequence[LayerMatch],
    shown: TrainingImages,
    pictures: InputShape,
    seeds: Seeds,
) -> Target:
    """The store, or the run whose network is to run along. UserError where it is missing, or does not hold what is matched.

    A store that brings pictures, which are not the training images, is taught beside the task; where --align says how to find
    the training images in it, it is not.
    """
    path = Path(settings.targets)
    if not matches:
        raise UserError(
            f"--targets {path} is given, but no layer follows it",
            hint="say --match MINE=THEIRS; rdl show and rdl layers list them",
        )
    layers = [match.teacher for match in matches]
    if path.is_dir():
        _refuse_stimulus_options(settings, f"{path} is a run")
        return open_live_target(path, layers, shown)
    store = Store.open(path)
    _refuse_missing_logits(store, layers)
    if settings.align == "digest" and has_own_stimuli(store, shown.split.at(shown.rows(shown.ids))):
        return open_brain_target(
            store, layers, settings, pictures, shown.preprocess, shown.device, seeds
        )
    _refuse_stimulus_options(settings, f"{path} is of the training images")
    for layer in layers:
        split_layer(store, layer)
    if (error := store.provenance.get("teacher_error")) is not None:
        log(f"teacher of {path}: error {100 * error:.2f} % on the stored pictures")
    rows = align_images(store, shown.split, shown.ids, settings.align)
    return StoreTarget(store, layers, rows, shown.views.names, shown.device)


def _refuse_missing_logits(store: Store, layers: Sequence[str]) -> None:
    """`kd` and its like follow the logits without being told to; UserError where the store has none, with the way to them."""
    if LOGITS not in layers or LOGITS in store.layers:
        return
    if not any(map(store.has_activations, store.layers)):
        what, more = (
            ("RDMs", "")
            if any(map(store.has_rdm, store.layers))
            else ("kernels", "cka, bayes, sp, ")
        )
        raise UserError(
            f"{store.path} holds only {what}, and no `{LOGITS}` that an objective could compare class by class",
            hint=f"{what} are followed by {more}rsa, cosine, whitened or rdl, at a layer that --match names",
        )
    runs = [
        parent["path"] for parent in store.provenance.get("parents", ()) if parent["kind"] == "run"
    ] or ["RUN"]
    raise UserError(
        f"{store.path} holds no `{LOGITS}`; it holds: {', '.join(store.layers)}",
        hint=f"add them: rdl export-rdms {runs[0]} {store.path} --layers {','.join(store.layers)},{LOGITS}",
    )


def _refuse_stimulus_options(settings: StudentSettings, fact: str) -> None:
    for name in ("stimuli_batch_size", "stimuli_heldout", "stimuli_eval_every", "control"):
        if getattr(settings, name):
            raise UserError(
                f"{to_flag(name)} is for a teacher with stimuli of its own; {fact}",
                hint="leave it out",
            )


def open_live_target(path: Path, layers: Sequence[str], shown: TrainingImages) -> LiveTarget:
    teacher, about = load_network(Run.open_finished(path).weights)
    if about.preprocessing != shown.preprocess.spec:
        raise UserError(
            f"the teacher {path} was trained on `{about.preprocessing}` pictures, the student is shown `{shown.preprocess.spec}`",
            hint=f"say --preprocessing {about.preprocessing}, or use a store of the teacher",
        )
    takes, shows = InputShape.read(about.pictures), InputShape(*shown.split.images.shape[1:])
    if takes != shows:
        raise UserError(
            f"the teacher {path} takes {takes} pictures; the student is shown {shows}",
            hint="choose another teacher or --image-size",
        )
    own = layer_shapes(teacher, takes)
    select_names(layers, list(own), "layer of the teacher")
    return LiveTarget(teacher.to(shown.device), layers, own)


def teacher_provenance(settings: StudentSettings) -> Parent:
    """What a student's provenance says of its teacher: of a store, those of its layers that are followed."""
    path = Path(settings.targets)
    if path.is_dir():
        return Parent(kind="run", path=str(path), fingerprint=Run.open_finished(path).fingerprint())
    store = Store.open(path)
    layers = sorted({split_layer(store, match.teacher)[0] for match in teacher_layers(settings)})
    return Parent(
        kind="store", path=str(path), fingerprint=store_fingerprint(store, layers), layers=layers
    )
