"""Import RDMs from foreign files into a store, and export a store's RDMs to other formats."""

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from rdl_cli.commands.bind_stimuli import add_categories, bind_stimuli, read_images, read_names
from rdl_cli.commands.console import log
from rdl_cli.commands.options import split_commas, to_config
from rdl_cli.commands.settings import ImportSettings
from rdl_cli.core.errors import UserError, unknown_name
from rdl_cli.core.files import file_digest, refuse_existing
from rdl_cli.core.provenance import Parent, collect_provenance
from rdl_cli.io.read import RESPONSE_DISTANCE_TEXTS, read_rdms
from rdl_cli.io.responses import read_responses
from rdl_cli.io.stimuli import read_categories
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.rsa.rdms import RDMs
from rdl_cli.store.layout import RdmSpec, store_size
from rdl_cli.store.store import Stimuli, Store
from rdl_cli.store.writer import create_store

UNITS = {"correlation": "1 - r"}


def import_rdms(
    files: Sequence[Path], out: Path, settings: ImportSettings, dry_run: bool = False
) -> Store | None:
    """Create a store of all RDMs in the files and return it; None after a dry run.

    Stimuli are bound by the names in the files or in `--names`, otherwise by their order. The log
    lists what was read, guessed and repaired.

    Args:
        files: files of RDMs, or of responses with `--responses`.
        out: the path of the store, which must not exist.
        settings: stimuli, names, and properties that the files lack.
        dry_run: check everything, write nothing.

    Raises:
        UserError: bad input, before anything is written.
    """
    settings.check()
    if not files:
        raise UserError("no file is named", hint="rdl import-rdms FILE... STORE")
    distances = [*DISTANCES.names(), *RESPONSE_DISTANCE_TEXTS]
    if settings.distance not in ("", *distances):
        raise unknown_name("distance", settings.distance, distances)
    images, names = read_images(settings), read_names(settings)
    table = read_categories(Path(settings.labels)) if settings.labels else None
    n = len(names) if names else len(images.images) if images else None
    bound = bind_stimuli(_read_files(files, settings, n), images, names)
    if table:
        bound = add_categories(bound, table)
    for region in bound.rdms:
        log(f"{region}")
        for note in region.notes:
            log(f"  {note}")
    for note in bound.notes:
        log(note)
    specs = [_to_spec(region) for region in bound.rdms]
    refuse_existing(out)
    megabytes = store_size(bound.stimuli, specs) / 1e6
    log(f"{out}: {len(specs)} regions of {len(bound.stimuli.digests)} stimuli, {megabytes:,.1f} MB")
    if dry_run:
        return None
    parents = _collect_parents(files, settings, bound.stimuli)
    provenance = collect_provenance(to_config(settings), parents)
    if bound.classes:
        provenance["classes"] = bound.classes
    notes = {region.region: list(region.notes) for region in bound.rdms}
    provenance["notes"] = notes | {"stimuli": bound.notes}
    key = repr([(parent["path"], parent["fingerprint"]) for parent in parents])
    with create_store(out, bound.stimuli, provenance, specs, key) as writer:
        for region in bound.rdms:
            for k, values in enumerate(region.values):
                writer.write_rdm(region.region, k, 0, values)
    return Store.open(out)


def _read_files(files: Sequence[Path], settings: ImportSettings, n: int | None) -> list[RDMs]:
    """Return the RDMs of the files, read as those of n stimuli where that is possible."""
    axes = tuple(split_commas([settings.axes]))
    regions, repairs = split_commas(settings.regions), split_commas(settings.repair)
    if settings.responses:
        if settings.distance or repairs or settings.format:
            raise UserError(
                "--distance, --repair and --format are for files of RDMs",
                hint=f"leave them out with --responses {settings.responses}",
            )
        return read_responses(files, settings.responses, n, axes, regions)
    read = partial(
        read_rdms,
        files,
        settings.format or None,
        axes=axes,
        distance=settings.distance,
        regions=regions,
        repairs=repairs,
    )
    try:
        return read(n=n)  # n tells which axis is which
    except UserError as first:
        try:
            return read()  # there may be more images than stimuli
        except UserError:
            raise first from None


def _collect_parents(
    files: Sequence[Path], settings: ImportSettings, stimuli: Stimuli
) -> list[Parent]:
    parents = [Parent(kind="file", path=str(path), fingerprint=file_digest(path)) for path in files]
    if settings.stimuli:
        path = Path(settings.stimuli)
        images = hashlib.sha256(stimuli.digests.tobytes()).hexdigest()
        fingerprint = images if path.is_dir() else file_digest(path)
        parents.append(Parent(kind="stimuli", path=str(path), fingerprint=fingerprint))
    if settings.labels:
        fingerprint = file_digest(Path(settings.labels))
        parents.append(Parent(kind="labels", path=settings.labels, fingerprint=fingerprint))
    return parents


def _to_spec(rdms: RDMs) -> RdmSpec:
    """Return the store's description of a region, without empty columns."""
    return RdmSpec(
        rdms.region,
        len(rdms),
        rdms.values.dtype.name,
        rdms.distance,
        rdms.region,
        UNITS.get(rdms.distance, ""),
        rdms.subjects if any(rdms.subjects) else (),
        rdms.sessions if any(rdms.sessions) else (),
        () if np.isnan(rdms.times).all() else rdms.times,
    )
