"""RDMs in the formats that people already have: found by a reader, laid out, checked, and joined by region.

A reader (one file in readers/) knows a format and nothing of RDMs; what is done here is the same for all of them. Subjects,
sessions and time points are kept apart, NaN means not measured, and every guess is said in `notes`.
"""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from rdl_cli.core.errors import UserError, unknown_name
from rdl_cli.core.patterns import match_names
from rdl_cli.core.registry import Registry
from rdl_cli.io import validation as damage
from rdl_cli.io.axes import infer_axes, looks_like_rdms, n_from_pairs, square_axes
from rdl_cli.io.file_types import detect_container
from rdl_cli.rsa.rdms import RDMs

READERS = Registry("RDM format", home="rdl_cli.io.formats", external=False)
"""A member is `function(path: Path, container: Kind) -> list[Found] | None`; None where the content is of another format."""

ANY = "hdf5"
"""The reader of what no tool wrote; it is asked last."""

RESPONSE_DISTANCE_TEXTS = {
    "crossnobis": "cross-validated squared Mahalanobis distance of responses",
    "mahalanobis": "squared Mahalanobis distance of responses, over the number of channels",
    "poisson": "symmetrised Kullback-Leibler divergence of Poisson rates",
    "poisson_cv": "the same, cross-validated",
    "decoding": "how well two stimuli are told apart by their responses",
    "arrangement": "how far apart people put two pictures",
}
"""Distances in which RDMs come and which nothing here computes of a network's layers."""


@dataclass(frozen=True, eq=False)
class RawArray:
    """An array as it lies in a file, and what the file says of it.

    `axes` names its axes where the format fixes them. `subjects`, `sessions` and `times` are names along such an axis, or a
    single name for an array without one. `certain` is false for a variable that may be something else than an RDM.
    `stimuli` are the stimuli's names; `texts` other lists of strings, one of which may be the names.
    """

    region: str
    array: np.ndarray
    axes: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    times: tuple[float, ...] = ()
    distance: str = ""
    stimuli: tuple[str, ...] | None = None
    texts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    certain: bool = True
    notes: tuple[str, ...] = ()


def read_rdms(
    paths: Sequence[Path],
    format: str | None = None,
    n: int | None = None,
    axes: Sequence[str] = (),
    distance: str = "",
    regions: Sequence[str] = (),
    repairs: Collection[str] = (),
) -> list[RDMs]:
    """All RDMs of the files, joined by region.

    The format shows in a file's content; `format` insists on one. `n` is how many stimuli there are, `axes` names an array's
    axes in order, `distance` overrides what the file says, `repairs` are names of `damage.REPAIRS`. `regions` chooses: `IT`,
    `V*`, or under another name, `IT=IT_RDMs`; where several become one (`IT=subject*`), their names are the subjects.
    UserError for a file that is damaged, doubtful or of no known format.
    """
    damage.check_repair_names(repairs)
    chosen = RegionSelection(regions)
    out: dict[str, list[RDMs]] = {}
    for path in paths:
        found = find_arrays(path, format)
        wanted = (
            [replace(each, certain=True) for each in found if chosen.name(each.region)]
            if regions
            else _select_rdm_arrays(found, path, n)
        )
        settled = [_to_rdms(each, path, n, axes, distance, repairs) for each in wanted]
        if len(sizes := {each.n_stimuli for each in settled}) > 1:
            which = ", ".join(f"{each.region} of {each.n_stimuli}" for each in settled[:6])
            raise UserError(
                f"{path} holds RDMs of {len(sizes)} numbers of stimuli: {which}",
                hint="choose with --regions, or by the stimuli",
            )
        for each in settled:
            out.setdefault(chosen.name(each.region), []).append(each)
    chosen.check()
    return [_merge_regions(region, parts) for region, parts in out.items()]


class RegionSelection:
    """The regions that were asked for, by patterns `OLD` or `NEW=OLD`; all where there is no pattern."""

    def __init__(self, patterns: Sequence[str]):
        self._pairs = [
            (old or new, new) for new, _, old in (pattern.partition("=") for pattern in patterns)
        ]
        self._seen: dict[str, None] = {}

    def name(self, region: str) -> str:
        """What a region is to be called; '' where it was not asked for."""
        self._seen[region] = None
        if not self._pairs:
            return region
        return next(
            (
                region if new == old else new
                for old, new in self._pairs
                if match_names(old, [region])
            ),
            "",
        )

    def check(self) -> None:
        """UserError where a pattern met no region."""
        for old, _ in self._pairs:
            if not match_names(old, self._seen):
                raise unknown_name("region", old, self._seen)


def find_arrays(path: Path, format: str | None = None) -> list[RawArray]:
    """What a file holds, by the one reader that knows it. UserError where none does."""
    container = detect_container(path)
    for name in [format] if format else sorted(READERS, key=ANY.__eq__):
        found = READERS.find(name)(path, container)
        if found:
            return found
        if found is not None or format:
            raise UserError(
                f"{path} holds no RDM" + (f" in the format `{format}`" if format else "")
            )
    raise UserError(
        f"{path} is {container}, but no known layout of RDMs", hint=f"known: {', '.join(READERS)}"
    )


def _select_rdm_arrays(found: list[RawArray], path: Path, n: int | None) -> list[RawArray]:
    """What is surely an RDM and the variables that look like one; where nothing is square, the vectors that fit."""
    arrays = [each.array.squeeze() for each in found]
    squares = [square_axes(array, n) for array in arrays]
    as_square = [{array.shape[a] for a, _ in at} for array, at in zip(arrays, squares, strict=True)]
    as_vector = [
        {m for length in array.shape if (m := n_from_pairs(length)) and m > 2 and n in (None, m)}
        for array in arrays
    ]
    sound = [
        f.certain or any(looks_like_rdms(a, at) for at in ats)
        for f, a, ats in zip(found, arrays, squares, strict=True)
    ]
    sizes = set().union(*(as_square[k] or as_vector[k] for k in range(len(found)) if sound[k]))
    keep = list(sound)
    for k in range(len(found)):
        # an asymmetric matrix of the right size is a damaged RDM, not something else: it is kept, and refused later by name
        keep[k] |= bool((as_square[k] | as_vector[k]) & sizes if sizes else as_square[k])
    if not any(keep):
        keep = [bool(vector) for vector in as_vector]
    kept = [each for each, wanted in zip(found, keep, strict=True) if wanted]
    if not kept:
        shapes = ", ".join(f"{e.region} {' × '.join(map(str, e.array.shape))}" for e in found[:8])
        raise UserError(
            f"{path} holds no RDM{f' of {n} stimuli' if n else ''}; its variables: {shapes}",
            hint="an RDM is n × n, or n(n-1)/2 distances; activations and responses (stimuli × channels) are no RDMs yet",
        )
    if skipped := [each.region for each, wanted in zip(found, keep, strict=True) if not wanted]:
        kept[0] = replace(
            kept[0], notes=(*kept[0].notes, f"not RDMs, skipped: {', '.join(skipped)}")
        )
    return kept


def _to_rdms(
    found: RawArray,
    path: Path,
    n: int | None,
    axes: Sequence[str],
    distance: str,
    repairs: Collection[str],
) -> RDMs:
    """One array as RDMs of one region, checked."""
    what = f"{path.name}: {found.region}"
    if found.array.dtype.kind not in "fiub":
        raise UserError(f"{what} holds {found.array.dtype}, not real numbers")
    if n is None and found.stimuli is not None:
        n = len(found.stimuli)
    wide = found.array.dtype.kind == "f" or found.array.dtype.itemsize <= 2
    array = found.array.astype(
        np.result_type(found.array.dtype, np.float32) if wide else np.float64, copy=False
    )  # uint8 and int16 are exact in float32
    layout = infer_axes(array, what, n, axes or found.axes, len(found.times))
    lengths = layout.array.shape[: len(layout.rest)]
    places = list(np.ndindex(lengths))
    labels = {
        axis: _labels(axis, getattr(found, f"{axis}s"), layout.rest, lengths, what)
        for axis in ("subject", "session", "time")
    }
    at = {
        axis: [
            labels[axis][p[layout.rest.index(axis)] if axis in layout.rest else 0] for p in places
        ]
        for axis in labels
    }
    titles = [
        f"{what}{''.join(f', {axis} {at[axis][k]}' for axis in at if axis in layout.rest)}"
        for k in range(len(places))
    ]
    said = [*found.notes, layout.guessed]
    flat = layout.array.reshape(len(places), *layout.array.shape[len(lengths) :])
    if layout.square:
        flat, repaired = damage.to_condensed(flat, titles, repairs)
        said += [f"{layout.n} × {layout.n}, upper triangle taken", *repaired]
    known = distance or found.distance
    values, repaired = damage.validate(flat, titles, layout.n, known, repairs)
    said += repaired
    stimuli, note = _stimulus_names(found, layout.n)
    said.append(note)
    subjects, sessions, times = (tuple(at[axis]) for axis in ("subject", "session", "time"))
    return RDMs(
        values,
        known,
        found.region,
        stimuli=stimuli,
        subjects=subjects,
        sessions=sessions,
        times=times,
        notes=tuple(filter(None, said)),
    )


def to_milliseconds(times: Sequence[float]) -> tuple[float, ...]:
    """Times whose unit nobody says: fractions within 20 are seconds (as MNE has them), all else is milliseconds."""
    named = [t for t in times if math.isfinite(t)]
    seconds = all(abs(t) < 20 for t in named) and any(t != round(t) for t in named)
    return tuple(round(float(t) * 1000, 6) if seconds else float(t) for t in times)


def _labels(
    axis: str, names: Sequence[Any], rest: tuple[str, ...], lengths: tuple[int, ...], what: str
) -> Sequence[Any]:
    length = lengths[rest.index(axis)] if axis in rest else 1
    if len(names) == length:
        return names
    if names and axis in rest:
        raise UserError(f"{what} has {length} {axis}s; {len(names)} are named in the file")
    if axis in rest:
        return (
            [float(t) for t in range(length)]
            if axis == "time"
            else [str(s + 1) for s in range(length)]
        )
    return [float("nan")] if axis == "time" else [""]


def _stimulus_names(found: RawArray, n: int) -> tuple[tuple[str, ...] | None, str]:
    """The stimuli's names: what the reader knows, or else the file's one list of n different strings."""
    if found.stimuli is not None:
        if len(found.stimuli) != n:
            raise UserError(
                f"{found.region} has {n} stimuli; {len(found.stimuli)} are named in the file"
            )
        return found.stimuli, ""
    fitting = {
        key: names for key, names in found.texts.items() if len(names) == n == len(set(names))
    }
    if len(fitting) == 1:
        key, names = next(iter(fitting.items()))
        return names, f"stimulus names from `{key}`"
    return (
        None,
        f"stimulus names could be any of {', '.join(fitting)}: none taken" if fitting else "",
    )


def _merge_regions(region: str, parts: list[RDMs]) -> RDMs:
    """One region's RDMs from several arrays or files; names in another order are brought into the first's."""
    if len({part.region for part in parts}) > 1:
        parts = [
            part
            if any(part.subjects)
            else replace(part, subjects=(part.region,) * len(part.subjects))
            for part in parts
        ]
    first = parts[0]
    said = list(dict.fromkeys(note for part in parts for note in part.notes))
    for part in parts[1:]:
        if part.n_stimuli != first.n_stimuli or part.distance != first.distance:
            here, there = (
                f"{each.n_stimuli} stimuli by {each.distance or 'an unknown distance'}"
                for each in (first, part)
            )
            fact = f"{region} has {here} in one place and {there} in another"
            raise UserError(
                fact, hint="--distance says what both are; or import them into stores of their own"
            )
    values = [first.values, *(_reordered(part, first, said) for part in parts[1:])]
    subjects, sessions, times = (
        tuple(label for part in parts for label in getattr(part, f"{axis}s"))
        for axis in ("subject", "session", "time")
    )
    k = len(subjects)
    if k > 1 and not any(subjects) and _twice(subjects, sessions, times):
        subjects = tuple(str(s + 1) for s in range(k))
        said.append(f"{k} RDMs without names taken as {k} subjects")
    if twice := _twice(subjects, sessions, times):
        who = ", ".join(
            f"{word} {label}"
            for word, label in zip(("subject", "session", "time"), twice, strict=True)
            if label not in ("", "nan")
        )
        raise UserError(
            f"two RDMs of {region} are both {who or 'without a name'}",
            hint="give the files one by one, into stores of their own",
        )
    together, distance = np.concatenate(values), first.distance
    if not distance and float(np.nanmin(together)) >= 0 and 1 < float(np.nanmax(together)) <= 2:
        distance = "correlation"
        said.append("taken as 1 - r, as its values suggest (say --distance if it is another)")
    return RDMs(
        together,
        distance,
        region,
        stimuli=first.stimuli,
        subjects=subjects,
        sessions=sessions,
        times=times,
        notes=tuple(said),
    )


def _reordered(part: RDMs, first: RDMs, said: list[str]) -> np.ndarray:
    if part.stimuli == first.stimuli or part.stimuli is None or first.stimuli is None:
        return part.values
    if set(part.stimuli) != set(first.stimuli):
        odd = sorted(set(part.stimuli) ^ set(first.stimuli))
        raise UserError(
            f"{part.region} is not of the same stimuli in all its files: `{odd[0]}` is only in some"
        )
    place = {name: row for row, name in enumerate(part.stimuli)}
    said.append("stimuli listed in different orders, brought into the first one's")
    return part.subset([place[name] for name in first.stimuli]).values


def _twice(*labels: Iterable[Any]) -> tuple[str, ...] | None:
    seen: set[tuple[str, ...]] = set()
    for each in zip(*(map(str, column) for column in labels), strict=True):
        if each in seen:
            return each
        seen.add(each)
    return None
