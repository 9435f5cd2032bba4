"""Begin, resume and abandon a run folder, with the checks that its settings and parents agree."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from rdl_cli.commands.image_data import resolve_dataset
from rdl_cli.commands.options import to_config
from rdl_cli.commands.settings import StudentSettings, TrainingSettings
from rdl_cli.commands.train.layer_matches import parse_layer_matches, teacher_layers
from rdl_cli.commands.train.setup import TrainingSetup
from rdl_cli.commands.train.targets import teacher_provenance
from rdl_cli.core.errors import UserError
from rdl_cli.core.files import file_digest, is_free
from rdl_cli.core.heldout_stimuli import parse_heldout
from rdl_cli.core.provenance import Parent, collect_provenance
from rdl_cli.datasets.digests import SharedImages, dataset_fingerprint
from rdl_cli.networks import weights
from rdl_cli.networks.pretrained import find_weights
from rdl_cli.runs.run import SAME_METHOD, Run


def check_folder(path: Path, settings: TrainingSettings, resume: bool) -> None:
    """Raise UserError if the path is in use, or its run was begun with other settings."""
    if is_free(path):
        return
    if not resume or not path.is_dir():
        raise UserError(
            f"{path} exists already",
            hint="choose another path, or pass --resume to continue an interrupted run",
        )
    if not (path / "config.toml").is_file():
        names = {file.name for file in path.iterdir() if not file.name.startswith(".")}
        if names <= {"provenance.json"}:
            return  # killed before config.toml was written
        raise UserError(
            f"{path} is not a run that can be resumed: it has no config.toml",
            hint="choose another path",
        )
    free = SAME_METHOD - {"seed"}
    before, now = (
        {key: value for key, value in config.items() if key not in free}
        for config in (Run.open(path).config, to_config(settings))
    )
    changed = sorted(k for k in before.keys() | now.keys() if before.get(k) != now.get(k))
    if changed:
        values = "; ".join(f"{k} was {before.get(k)}, is {now.get(k)}" for k in changed)
        raise UserError(
            f"{path} was begun with other settings: {values}",
            hint="resume with the same settings, or choose another path",
        )


def begin_run(run: Run, setup: TrainingSetup, overlap: SharedImages) -> None:
    """Write configuration and provenance, or check those of a run that is resumed.

    `overlap` are the test images that are also training images. UserError if a parent has
    changed since the run was begun.
    """
    config = to_config(setup.settings)
    parents = collect_parents(setup)
    if (run.path / "config.toml").is_file():
        refuse_changed_parents(run, parents)
        refuse_other_world(run, setup.fabric.world_size)
        return
    fabric, threads = setup.fabric, torch.get_num_threads()
    record = collect_provenance(config, parents, str(fabric.device), threads, fabric.world_size)
    untrained = {"untrained": list(setup.untrained)} if setup.untrained else {}
    run.write_provenance(
        record
        | untrained
        | {
            "test_images_seen_in_training": overlap.number,
            "test_images_compared_by": overlap.compared,
        }
    )
    run.write_config(config)


def collect_parents(setup: TrainingSetup) -> list[Parent]:
    """Return the data set, the teacher and the initial weights, with their fingerprints."""
    settings = setup.settings
    parents = [
        Parent(
            kind="dataset",
            path=resolve_dataset(settings),
            fingerprint=dataset_fingerprint(setup.splits),
        )
    ]
    if isinstance(settings, StudentSettings) and settings.targets:
        parents.append(teacher_provenance(Path(settings.targets), setup.teacher_layers))
    if isinstance(settings, StudentSettings) and (
        names := parse_heldout(settings.stimuli_heldout).file
    ):
        parents.append(
            Parent(kind="held-out stimuli", path=names, fingerprint=file_digest(Path(names)))
        )
    if settings.init:
        init = Path(settings.init)
        parents.append(
            Parent(
                kind="run" if init.is_dir() else "weights",
                path=settings.init,
                fingerprint=weights.weights_digest(init),
            )
        )
    if settings.weights:
        file = find_weights(settings.network, settings.weights).file
        digest = weights.weights_digest(file)
        parents.append(Parent(kind="weights", path=str(file), fingerprint=digest))
    return parents


def refuse_changed_parents(run: Run, parents: list[Parent]) -> None:
    """Raise UserError if a parent is not the one with which the run was begun."""
    begun_with = {parent["kind"]: parent for parent in run.provenance.get("parents", ())}
    for parent in parents:
        kind, before = parent["kind"], begun_with.get(parent["kind"])
        if before is None:
            raise UserError(
                f"{run.path / 'provenance.json'} is damaged: it names no {kind}",
                hint="train again at another path",
            )
        if before["fingerprint"] != parent["fingerprint"]:
            raise UserError(
                f"the {kind} {parent['path']} has changed since {run.path} was begun",
                hint="restore it, or train again at another path",
            )


def refuse_other_world(run: Run, world_size: int) -> None:
    """Raise UserError if the run was begun with another number of processes."""
    if (before := run.provenance.get("world_size", 1)) != world_size:
        raise UserError(
            f"{run.path} was begun by {before} processes; this is {world_size}",
            hint=f"resume it with {before}, or train again at another path",
        )


def refuse_changed_store(run: Run, settings: TrainingSettings) -> None:
    """Raise UserError if the store of a finished run has changed; one that is gone is ignored."""
    if not (isinstance(settings, StudentSettings) and Path(settings.targets).is_file()):
        return
    parents = run.provenance.get("parents", ())
    before = next((parent for parent in parents if parent["kind"] == "store"), None)
    layers = teacher_layers(settings.objective, parse_layer_matches(settings.match))
    store = teacher_provenance(Path(settings.targets), layers)
    if before and before["fingerprint"] != store["fingerprint"]:
        raise UserError(
            f"the store {store['path']} has changed since {run.path} was trained with it",
            hint="restore it, or train again at another path",
        )


@contextmanager
def remove_new_folders(path: Path) -> Iterator[None]:
    """Remove the folders that the block creates for a run, if it fails and they are empty."""
    new = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        yield
    except Exception:
        for folder in new:
            with suppress(OSError):  # not empty
                folder.rmdir()
        raise


@contextmanager
def remove_unstarted_run(run: Run, is_first: bool = True) -> Iterator[None]:
    """Remove a run that fails before its first checkpoint. After a kill it can be resumed.

    Of several processes the first removes it.
    """
    try:
        yield
    except Exception as error:
        if is_first and not run.checkpoint.exists():
            run.remove()
        if "more than 1 value per channel" in str(error):  # raised by PyTorch's batch norm
            raise UserError(
                "batch normalisation has no variance: a layer has one value for each channel",
                hint="pass a larger --batch-size",
            ) from error
        raise
