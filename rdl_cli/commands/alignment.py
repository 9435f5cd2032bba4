"""Match the same stimulus in stores and data sets, by digest, name or position."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from rdl_cli.commands.console import log
from rdl_cli.commands.settings import Align
from rdl_cli.core.errors import UserError
from rdl_cli.core.stimulus_names import find_names
from rdl_cli.core.tensor_types import Ids
from rdl_cli.datasets.base import Split
from rdl_cli.datasets.digests import number_occurrences
from rdl_cli.datasets.image_files import native_digests
from rdl_cli.store.store import Store


@dataclass(frozen=True, eq=False)
class StimulusList:
    """The stimuli of a store or data set, as far as needed to match them.

    Args:
        owner: their store or data set, the subject of messages.
        digests: S64 (n,), empty for stimuli of which only the name is known.
        digest_kind: `pixels` or `file`, the source of the digests.
        names: texts (n,).
        pixel_digests: returns the digests of pixels at native size, None if they are not known.
        decode: how image files became pixels; empty for arrays.
    """

    owner: str
    digests: np.ndarray
    digest_kind: str
    names: Sequence[str] | None
    pixel_digests: Callable[[], np.ndarray | None]
    decode: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.digests)

    def __str__(self) -> str:
        return f"{self.owner} holds {len(self):,} stimuli"


def list_stimuli(store: Store) -> StimulusList:
    """Return the stimuli of a store."""
    stimuli = store.stimuli
    names = None if stimuli.names is None else stimuli.names.tolist()
    pixels = stimuli.digests if stimuli.digest_kind == "pixels" else stimuli.pixel_digests
    return StimulusList(
        str(store.path),
        stimuli.digests,
        stimuli.digest_kind,
        names,
        lambda: pixels,
        stimuli.decode,
    )


def list_images(split: Split, owner: str) -> StimulusList:
    """Return the images of a split. Files are decoded only if their pixels are asked for."""
    decode = {} if split.decode is None else split.decode.describe()
    return StimulusList(
        owner, split.digests, split.digest_kind, split.names, lambda: native_digests(split), decode
    )


def match_keys(lists: Sequence[StimulusList], align: Align) -> list[list[Hashable]]:
    """Return a key for every stimulus of every list; equal keys are the same stimulus.

    By digest, equal images are matched in their order. Raise UserError if a list lacks digests,
    names or, by position, is of another length.
    """
    if align == "position":
        for stimuli in lists:
            if len(stimuli) != len(lists[0]):
                raise UserError(
                    f"{lists[0]}, {stimuli}; they cannot be matched by position",
                    hint="pass --align digest, or --align name",
                )
        return [list(range(len(stimuli))) for stimuli in lists]
    if align == "name":
        return _name_keys(lists)
    return [
        list(zip(digests.tolist(), number_occurrences(digests).tolist(), strict=True))
        for digests in _comparable_digests(lists)
    ]


def align_images(store: Store, split: Split, ids: Ids, align: Align) -> Ids:
    """Return the store's row of every image of a split by id, -1 if it has none: (largest id + 1,).

    `digest` matches sources, equal images in order of occurrence; `name` matches file names;
    `position` matches rows. Raise UserError if an image with one of `ids` has no row.
    """
    stored = list_stimuli(store)
    images = list_images(split, "the training split")
    stored_keys, keys = match_keys([stored, images], align)
    row_of = {key: row for row, key in enumerate(stored_keys)}
    rows = torch.full((int(split.ids.max()) + 1,), -1)
    rows[split.ids] = torch.tensor([row_of.get(key, -1) for key in keys])
    if missing := int((rows[ids] < 0).sum()):
        raise UserError(
            f"{stored}; {missing:,} of the {len(ids):,} training images are not among them",
            hint="export the targets of these images:"
            " rdl export-rdms RUN STORE --dataset ... --split train",
        )
    if differences := describe_decode_differences(stored, images):
        log(f"note: the same files were decoded differently: {differences}")
    return rows


def contains_images(store: Store, split: Split) -> bool:
    """Return True if every image of a split is among a store's stimuli, by digest."""
    stored = list_stimuli(store)
    digests = split.digests
    if stored.digest_kind != split.digest_kind:
        pixels = stored.pixel_digests()
        if pixels is None or len(set(digests.tolist())) > len(stored):  # nothing to decode for
            return False
        return set(native_digests(split).tolist()) <= set(pixels.tolist())
    return set(digests.tolist()) <= set(stored.digests.tolist())


def _comparable_digests(lists: Sequence[StimulusList]) -> list[np.ndarray]:
    """Return digests of one kind for all lists; of pixels if the lists have different kinds."""
    for stimuli in lists:
        # numpy 1.26 converts bytes to bool by reading a number
        if not (stimuli.digests != b"").all():
            raise UserError(
                f"{stimuli.owner} has no digests of its stimuli",
                hint="pass --align name, or --align position",
            )
    if len({stimuli.digest_kind for stimuli in lists}) == 1:
        return [stimuli.digests for stimuli in lists]
    digests = []
    for stimuli in lists:
        pixels = stimuli.pixel_digests()
        if pixels is None:
            other = next(one for one in lists if one.digest_kind != stimuli.digest_kind)
            raise UserError(
                f"{stimuli.owner} has digests of image files, {other.owner} of pixels;"
                " they cannot be compared",
                hint="pass --align name, or --align position",
            )
        digests.append(pixels)
    return digests


def _name_keys(lists: Sequence[StimulusList]) -> list[list[Hashable]]:
    """Return a number for every stimulus; two of one name, by `core.stimulus_names`, share it."""
    hint = "pass --align digest, or --align position"
    known: list[str] = []
    keys: list[list[Hashable]] = []
    for stimuli in lists:
        if stimuli.names is None:
            raise UserError(f"{stimuli.owner} has no names of its stimuli", hint=hint)
        rows = find_names(stimuli.names, known)
        for place, row in enumerate(rows):
            if row < 0:
                rows[place] = len(known)
                known.append(stimuli.names[place])
        if len(set(stimuli.names)) < len(stimuli.names) or len(set(rows)) < len(rows):
            raise UserError(f"{stimuli.owner} has several stimuli of one name", hint=hint)
        keys.append([*rows])
    return keys


def describe_decode_differences(first: StimulusList, second: StimulusList) -> str:
    """Return how the decoding of two lists of image files differs, "" if it does not.

    Example: `background white in a.h5, black in the training split`.
    """
    if not first.decode or not second.decode:
        return ""
    names = sorted({*first.decode, *second.decode})
    return "; ".join(
        f"{name} {first.decode.get(name, 'unknown')} in {first.owner},"
        f" {second.decode.get(name, 'unknown')} in {second.owner}"
        for name in names
        if first.decode.get(name) != second.decode.get(name)
    )
