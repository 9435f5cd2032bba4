"""Bind imported RDMs to their stimuli: images, names and categories, in one order."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np
import torch

from rdl_cli.commands.options import reject_options
from rdl_cli.commands.settings import ImportSettings
from rdl_cli.core.errors import UserError
from rdl_cli.core.stimulus_names import match_stimuli
from rdl_cli.datasets.decoding import WHITE
from rdl_cli.datasets.digests import file_digests, image_digests
from rdl_cli.datasets.image_files import find_images, native_file_digests
from rdl_cli.io.file_types import read_text
from rdl_cli.io.stimuli import CategoryTable, StimulusSet, read_mat_stimuli
from rdl_cli.rsa.rdms import RDMs
from rdl_cli.store.store import Stimuli


class BoundRdms(NamedTuple):
    """RDMs and their stimuli in one order; `notes` describe the binding, `classes` the labels."""

    rdms: list[RDMs]
    stimuli: Stimuli
    notes: list[str]
    classes: tuple[str, ...] = ()


def read_images(settings: ImportSettings) -> StimulusSet | None:
    """Return the images of `--stimuli`, from a .mat file or a folder; None without the option.

    In a folder of folders each is a category.
    """
    if not settings.stimuli:
        return None
    path = Path(settings.stimuli)
    if path.suffix.lower() == ".mat":
        reject_options(
            settings,
            ("image_size", "background"),
            f"is for image files; {path} holds pixels",
            hint="leave it out: images are resized to the network when they are shown",
        )
        return read_mat_stimuli(path)
    folder_images = find_images(path, settings.image_size, settings.background or WHITE)
    folders = [str(PurePath(name).parent) for name in folder_images.names]
    classes = tuple(dict.fromkeys(folders)) if "." not in folders else ()
    labels = np.array([classes.index(f) for f in folders], dtype=np.int64) if classes else None
    pixels = folder_images.images.numpy()
    return StimulusSet(
        pixels,
        tuple(folder_images.names),
        labels,
        classes,
        tuple(folder_images.files),
        None
        if settings.image_size is None
        else native_file_digests(folder_images.files, pixels.shape[1], folder_images.decode),
        folder_images.decode.describe(),
        (f"{path}: {folder_images.note}",) if folder_images.note else (),
    )


def read_names(settings: ImportSettings) -> tuple[str, ...] | None:
    """Return the names in the file `--names`; None without the option."""
    return read_name_list(Path(settings.names)) if settings.names else None


def read_name_list(path: Path) -> tuple[str, ...]:
    """Return the names in a text file, a line each. UserError if one occurs twice."""
    names = tuple(line.strip() for line in read_text(path).splitlines() if line.strip())
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise UserError(f"{path} lists `{repeated[0]}` more than once")
    return names


def bind_stimuli(
    rdms: list[RDMs], images: StimulusSet | None, names: tuple[str, ...] | None
) -> BoundRdms:
    """Return the RDMs in one order of stimuli, with the image of each stimulus.

    Args:
        rdms: the RDMs of all regions.
        images: the stimuli's images, which may be more.
        names: the stimuli's names, in place of those in the files.

    Raises:
        UserError: numbers or names of stimuli disagree.
    """
    rdms, notes = _reorder_regions(rdms)
    n, own_names = rdms[0].n_stimuli, rdms[0].stimuli
    if names is not None and len(names) != n:
        raise UserError(f"--names lists {len(names)} stimuli; the RDMs are of {n}")
    if names is not None and own_names is not None and names != own_names:
        notes.append("names from --names, in place of those in the file")
    names = names or own_names
    numbers = tuple(map(str, range(1, n + 1)))
    if images is None:
        notes.append("no images: the store can be compared, but not trained against (--stimuli)")
        stimuli = Stimuli(np.zeros(n, dtype="S64"), np.array(names or numbers))
        return BoundRdms(rdms, stimuli, notes)
    image_names = images.names or names or numbers
    if names and images.names:
        rows = match_stimuli(names, images.names, "image")
        first, last = image_names[rows[0]], image_names[rows[-1]]
        notes.append(f"images bound by name: {names[0]} is {first}, {names[-1]} is {last}")
        if len(images.names) > n:
            notes.append(f"{len(images.names) - n} images are of no stimulus, left out")
    elif len(images.images) != n:
        raise UserError(
            f"the RDMs are of {n} stimuli, and there are {len(images.images)} images",
            hint="without names, there must be one image for each stimulus",
        )
    else:
        rows = list(range(n))
        notes.append(
            f"no names: images bound in their order, first {image_names[0]}, last {image_names[-1]}"
        )
    notes += images.notes
    return BoundRdms(rdms, _to_stimuli(images, rows, image_names), notes, images.classes)


def add_categories(bound: BoundRdms, table: CategoryTable) -> BoundRdms:
    """Return the RDMs with a category for each stimulus, by name or else in order.

    UserError if a stimulus has no category, or the numbers differ.
    """
    names = bound.stimuli.names
    assert names is not None, "bound stimuli have names, at least numbers"
    categories = table.categories
    if table.names:
        rows = match_stimuli(names.tolist(), table.names, "category")
        categories = tuple(categories[row] for row in rows)
    elif len(categories) != len(names):
        raise UserError(
            f"--labels lists {len(categories)} categories; the RDMs are of {len(names)} stimuli",
            hint="bind them by name: write name,category on each line",
        )
    classes = tuple(dict.fromkeys(categories))
    how = "by name" if table.names else "in the order of the RDMs' rows"
    replaced = "" if bound.stimuli.labels is None else ", in place of the images' own"
    some = f"{', '.join(classes[:6])}{', …' * (len(classes) > 6)}"
    labels = np.array([classes.index(category) for category in categories], dtype=np.int64)
    return bound._replace(
        stimuli=bound.stimuli._replace(labels=labels),
        classes=classes,
        notes=[*bound.notes, f"{len(classes)} categories, {how}{replaced}: {some}"],
    )


def _reorder_regions(rdms: list[RDMs]) -> tuple[list[RDMs], list[str]]:
    """Return all regions in the order of the first with names, and notes on the others."""
    if len({region.n_stimuli for region in rdms}) > 1:
        which = ", ".join(f"{region.region} of {region.n_stimuli}" for region in rdms[:6])
        raise UserError(
            f"the regions are not of the same stimuli: {which}",
            hint="choose with --regions, one store for each set of stimuli",
        )
    names = next((region.stimuli for region in rdms if region.stimuli), None)
    reordered, notes = [], []
    for region in rdms:
        if names and region.stimuli and region.stimuli != names:
            rows = match_stimuli(names, region.stimuli, f"row in {region.region}")
            if rows != list(range(len(names))):
                notes.append(f"{region.region} lists its stimuli in another order, reordered")
            region = region.subset(rows)
        reordered.append(replace(region, stimuli=names))
    return reordered, notes


def _to_stimuli(images: StimulusSet, rows: Sequence[int], names: Sequence[str]) -> Stimuli:
    """Return images as stimuli, identified by their files, or by their pixels without files."""
    pixels = np.ascontiguousarray(images.images[rows])
    labels = None if images.labels is None else images.labels[rows]
    selected = np.array([names[row] for row in rows])
    digests = image_digests(torch.from_numpy(pixels))
    if images.files is None:
        return Stimuli(digests, selected, labels, pixels)
    files = file_digests([images.files[row] for row in rows])
    native = None if images.native_digests is None else images.native_digests[rows]
    return Stimuli(
        files,
        selected,
        labels,
        pixels,
        digests if native is None else native,
        "file",
        images.decode,
        image_digests=None if native is None else digests,
    )
