"""RDMs that people already have become a store, with the pictures they are of; and go back to other programs."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np
import torch

from rdl_cli.commands.console import log
from rdl_cli.commands.options import reject_options, split_commas, to_config
from rdl_cli.commands.settings import FORMATS, ExportSettings, ImportSettings
from rdl_cli.core.errors import UserError, unknown_name
from rdl_cli.core.files import file_digest
from rdl_cli.core.patterns import select_names
from rdl_cli.core.provenance import Parent, provenance
from rdl_cli.datasets.image_files import find_images as pictures_in
from rdl_cli.datasets.loader import image_digests
from rdl_cli.io.file_types import read_text
from rdl_cli.io.read import RESPONSE_DISTANCE_TEXTS, read_rdms
from rdl_cli.io.responses import read_responses
from rdl_cli.io.stimuli import CategoryTable, StimulusSet, read_categories, read_mat_stimuli
from rdl_cli.io.write import WRITERS, write_rdms
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.rsa.rdms import RDMs
from rdl_cli.store.layout import RdmSpec, store_size
from rdl_cli.store.store import Stimuli, Store
from rdl_cli.store.writer import create_store

UNITS = {"correlation": "1 - r"}


class BoundRdms(NamedTuple):
    """RDMs and their stimuli in one order, `classes` by label; `said` tells how all that was brought together."""

    rdms: list[RDMs]
    stimuli: Stimuli
    said: list[str]
    classes: tuple[str, ...] = ()


def import_rdms(
    files: Sequence[Path], out: Path, settings: ImportSettings, dry_run: bool = False
) -> Store | None:
    """The store at `out` with every RDM of the files; None after a dry run. What was read, guessed and repaired is said.

    Stimuli are bound by the names in the files or in `names`, otherwise by their order. UserError for bad input, before
    anything is written.
    """
    settings.check()
    if not files:
        raise UserError("no file is named", hint="rdl import-rdms FILE... STORE")
    if settings.distance not in ("", *DISTANCES.names(), *RESPONSE_DISTANCE_TEXTS):
        raise unknown_name(
            "distance", settings.distance, [*DISTANCES.names(), *RESPONSE_DISTANCE_TEXTS]
        )
    pictures, names = _given(settings)
    categories = read_categories(Path(settings.labels)) if settings.labels else None
    n = len(names) if names else len(pictures.images) if pictures else None
    bound = bind_stimuli(_read(files, settings, n), pictures, names)
    if categories:
        bound = add_categories(bound, categories)
    for each in bound.rdms:
        log(f"{each}")
        for note in each.notes:
            log(f"  {note}")
    for line in bound.said:
        log(line)
    specs = [_spec(each) for each in bound.rdms]
    if out.exists():
        raise UserError(f"{out} exists already", hint="choose another path, or remove it first")
    log(
        f"{out}: {len(specs)} regions of {len(bound.stimuli.digests)} stimuli, {store_size(bound.stimuli, specs) / 1e6:,.1f} MB"
    )
    if dry_run:
        return None
    parents = [Parent(kind="file", path=str(path), fingerprint=file_digest(path)) for path in files]
    if settings.stimuli:
        pixels = hashlib.sha256(bound.stimuli.digests.tobytes()).hexdigest()
        home = Path(settings.stimuli)
        parents.append(
            Parent(
                kind="stimuli",
                path=str(home),
                fingerprint=pixels if home.is_dir() else file_digest(home),
            )
        )
    if settings.labels:
        parents.append(
            Parent(
                kind="labels", path=settings.labels, fingerprint=file_digest(Path(settings.labels))
            )
        )
    made = provenance(to_config(settings), parents)
    made |= {"classes": bound.classes} if bound.classes else {}
    made |= {
        "notes": {each.region: list(each.notes) for each in bound.rdms} | {"stimuli": bound.said}
    }
    key = repr([(parent["path"], parent["fingerprint"]) for parent in parents])
    with create_store(out, bound.stimuli, made, specs, key) as writer:
        for each in bound.rdms:
            for k, values in enumerate(each.values):
                writer.write_rdm(each.region, k, 0, values)
    return Store.open(out)


def export_to_file(
    store: Path, out: Path, settings: ExportSettings, format: str = "", dry_run: bool = False
) -> None:
    """The store's RDMs at `out`, in a format of WRITERS or the one that `out`'s suffix stands for. Upper triangles go out as they are.

    Of the settings only `layers` can be said: the rest is for a run.
    """
    others = [each.name for each in fields(settings) if each.name != "layers"]
    reject_options(
        settings,
        others,
        f"is for a run; {store} is a store, whose RDMs go out as they are",
        hint="leave it out",
    )
    held = Store.open(store)
    format = format or FORMATS.get(out.suffix.lower(), "")
    if not format:
        raise UserError(
            f"{out} has no suffix that names a format",
            hint=f"{', '.join(FORMATS)}; or say --format {'|'.join(WRITERS)}",
        )
    WRITERS.find(format)
    asked = settings.layer_names()
    wanted = [layer for layer in held.layers if held.has_rdm(layer) or layer in asked]
    if not wanted:
        raise UserError(f"{store} holds no RDM", hint="export the teacher again with --as rdm")
    wanted = select_names(asked, wanted) if asked else wanted
    rdms = [replace(held.rdms(layer), region=layer) for layer in wanted]
    if out.exists():
        raise UserError(f"{out} exists already", hint="choose another path, or remove it first")
    log(f"{out}: {sum(len(each.values) for each in rdms)} RDMs of {len(rdms)} regions for {format}")
    if not dry_run:
        write_rdms(out, rdms, format)


def bind_stimuli(
    rdms: list[RDMs], pictures: StimulusSet | None, names: tuple[str, ...] | None
) -> BoundRdms:
    """The RDMs in one order of stimuli, each with its picture. UserError where their numbers or names don't agree."""
    rdms, said = _one_order(rdms)
    n, own = rdms[0].n_stimuli, rdms[0].stimuli
    if names is not None and len(names) != n:
        raise UserError(f"--names lists {len(names)} stimuli; the RDMs are of {n}")
    if names is not None and own is not None and names != own:
        said.append("the names of --names stand for those in the file")
    names = names or own
    numbers = tuple(map(str, range(1, n + 1)))
    if pictures is None:
        said.append(
            "no pictures: the store can be compared, and nothing can be trained against it (--stimuli)"
        )
        return BoundRdms(rdms, Stimuli(np.zeros(n, dtype="S64"), np.array(names or numbers)), said)
    rows, called = list(range(len(pictures.images))), pictures.names or names or numbers
    if names and pictures.names:
        rows = _by_name(names, pictures.names)
        said.append(
            f"pictures bound by name: {names[0]} is {called[rows[0]]}, {names[-1]} is {called[rows[-1]]}"
        )
        if len(called) > n:
            said.append(f"{len(called) - n} pictures are of no stimulus, left out")
    elif len(rows) != n:
        raise UserError(
            f"the RDMs are of {n} stimuli, and there are {len(rows)} pictures",
            hint="without names, each picture is one stimulus",
        )
    else:
        said.append(
            f"no names to go by: pictures bound in their order, the first is {called[0]}, the last {called[-1]}"
        )
    images = np.ascontiguousarray(pictures.images[rows])
    labels = None if pictures.labels is None else pictures.labels[rows]
    known = np.array([called[row] for row in rows])
    return BoundRdms(
        rdms,
        Stimuli(image_digests(torch.from_numpy(images)), known, labels, images),
        said,
        pictures.classes,
    )


def add_categories(bound: BoundRdms, categories: CategoryTable) -> BoundRdms:
    """The stimuli with these categories, by name or else in their order. UserError where one has none, or numbers disagree."""
    names = bound.stimuli.names
    assert names is not None, "what is bound has names, at the least numbers"
    each = categories.categories
    if categories.names:
        each = tuple(each[row] for row in _by_name(names.tolist(), categories.names, "category"))
    elif len(each) != len(names):
        raise UserError(
            f"--labels lists {len(each)} categories; the RDMs are of {len(names)} stimuli",
            hint="or bind them by name,category",
        )
    classes = tuple(dict.fromkeys(each))
    how = "by name" if categories.names else "in the order of the RDMs' rows"
    replaced = "" if bound.stimuli.labels is None else ", in place of the pictures' own"
    said = f"{len(classes)} categories, {how}{replaced}: {', '.join(classes[:6])}{', …' * (len(classes) > 6)}"
    stimuli = bound.stimuli._replace(
        labels=np.array([classes.index(category) for category in each], dtype=np.int64)
    )
    return bound._replace(stimuli=stimuli, classes=classes, said=[*bound.said, said])


def _given(settings: ImportSettings) -> tuple[StimulusSet | None, tuple[str, ...] | None]:
    """The pictures and the list of names that the settings point to."""
    home, pictures, names = Path(settings.stimuli), None, None
    if settings.stimuli and home.suffix.lower() == ".mat":
        pictures = read_mat_stimuli(home)
    elif settings.stimuli:
        images, files = pictures_in(home, settings.image_size)
        kinds = [str(PurePath(file).parent) for file in files]
        classes = (
            tuple(dict.fromkeys(kinds)) if "." not in kinds else ()
        )  # a folder for each category
        labels = (
            np.array([classes.index(kind) for kind in kinds], dtype=np.int64) if classes else None
        )
        pictures = StimulusSet(images.numpy(), files, labels, classes)
    if settings.names:
        try:
            lines = read_text(Path(settings.names)).splitlines()
        except OSError as error:
            raise UserError(
                f"{settings.names} could not be read: {error}",
                hint="--names is a text file, a name on each line",
            ) from error
        names = tuple(line.strip() for line in lines if line.strip())
        if twice := [name for name, times in Counter(names).items() if times > 1]:
            raise UserError(f"{settings.names} lists `{twice[0]}` more than once")
    return pictures, names


def _read(files: Sequence[Path], settings: ImportSettings, n: int | None) -> list[RDMs]:
    axes = tuple(split_commas([settings.axes]))
    regions, repairs = split_commas(settings.regions), split_commas(settings.repair)
    if settings.responses:
        if settings.distance or repairs or settings.format:
            raise UserError(
                "--distance, --repair and --format are for files that hold RDMs",
                hint=f"--responses {settings.responses} says all",
            )
        return read_responses(files, settings.responses, n, axes, regions)
    everything = partial(
        read_rdms,
        files,
        settings.format or None,
        axes=axes,
        distance=settings.distance,
        regions=regions,
        repairs=repairs,
    )
    try:
        return everything(n=n)  # settles which axis is which
    except UserError as first:
        try:
            return everything()  # of another number than there are pictures: `bind` says so, or finds the right ones by name
        except UserError:
            raise first from None


def _one_order(rdms: list[RDMs]) -> tuple[list[RDMs], list[str]]:
    """All regions in the order of the first that names its stimuli."""
    if len({each.n_stimuli for each in rdms}) > 1:
        which = ", ".join(f"{each.region} of {each.n_stimuli}" for each in rdms[:6])
        raise UserError(
            f"the regions are not of the same stimuli: {which}",
            hint="choose with --regions, one store for each set of stimuli",
        )
    names = next((each.stimuli for each in rdms if each.stimuli), None)
    out, said = [], []
    for each in rdms:
        if names and each.stimuli and each.stimuli != names:
            each = each.subset(_by_name(names, each.stimuli))
            said.append(
                f"{each.region} lists its stimuli in another order, brought into that of the others"
            )
        out.append(replace(each, stimuli=names))
    return out, said


def _by_name(wanted: Sequence[str], there: Sequence[str], what: str = "picture") -> list[int]:
    """Where each wanted name is among those that are there, of pictures or categories: as it stands, or without folders and suffix."""
    places = {name: row for row, name in enumerate(there)}
    stems = Counter(PurePath(name).stem for name in there)
    by_stem = {
        stem: row for row, name in enumerate(there) if stems[stem := PurePath(name).stem] == 1
    }
    rows = [places.get(name, by_stem.get(PurePath(name).stem, -1)) for name in wanted]
    if missing := [name for name, row in zip(wanted, rows, strict=True) if row < 0]:
        fact = f"{len(missing)} of {len(wanted)} stimuli have no {what} of their name: {', '.join(missing[:5])}"
        hint = f"the names there are {', '.join(there[:3])}; --names FILE lists those of the pictures in the order of the RDMs' rows"
        raise UserError(fact, hint=hint)
    if twice := [
        name for row, times in Counter(rows).items() if times > 1 for name in (there[row],)
    ]:
        raise UserError(
            f"two stimuli would have the {what} of {twice[0]}",
            hint="--names FILE lists the pictures in the order of the RDMs' rows",
        )
    return rows


def _spec(each: RDMs) -> RdmSpec:
    """What the store is told of a region; columns that say nothing are left out."""
    times = each.times if not np.isnan(each.times).all() else ()
    subjects, sessions = (
        labels if any(labels) else () for labels in (each.subjects, each.sessions)
    )
    unit = UNITS.get(each.distance, "")
    return RdmSpec(
        each.region,
        len(each.values),
        each.values.dtype.name,
        each.distance,
        each.region,
        unit,
        subjects,
        sessions,
        times,
    )
