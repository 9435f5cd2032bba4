"""RDMs in the formats that people have: read, axes inferred, validated, joined by region.

A reader (one file in formats/) knows a format; everything else is here, the same for all formats.
Subjects, sessions and time points stay apart. NaN is not measured. `notes` list every guess.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rdl_cli.core.errors import UserError, unknown_name
from rdl_cli.core.patterns import match_names
from rdl_cli.core.stimulus_names import find_names
from rdl_cli.io import validation
from rdl_cli.io.axes import AxisLayout, infer_axes, looks_like_rdms, n_from_pairs, square_axes
from rdl_cli.io.child import read_file
from rdl_cli.io.raw_array import RawArray
from rdl_cli.rsa.rdms import RDMs

RESPONSE_DISTANCE_TEXTS = {
    "crossnobis": "cross-validated squared Mahalanobis distance of responses",
    "mahalanobis": "squared Mahalanobis distance of responses, over the number of channels",
    "poisson": "symmetrised Kullback-Leibler divergence of Poisson rates",
    "poisson_cv": "the same, cross-validated",
    "decoding": "how well a classifier separates two stimuli by their responses",
    "arrangement": "distance at which people arrange two stimuli",
}
"""Distances of imported RDMs that are not computed of a network's layers."""

BLANK_LABELS: dict[str, Any] = {"subject": "", "session": "", "time": float("nan")}


def read_rdms(
    paths: Sequence[Path],
    format: str | None = None,
    n: int | None = None,
    axes: Sequence[str] = (),
    distance: str = "",
    regions: Sequence[str] = (),
    repairs: Collection[str] = (),
) -> list[RDMs]:
    """Return all RDMs of the files, joined by region.

    Args:
        paths: the files.
        format: a name of READERS; by default the content decides.
        n: the number of stimuli, None where unknown.
        axes: the names of an array's axes in order.
        distance: the measure, in place of the file's own.
        regions: `IT`, `V*`, or under another name `IT=IT_RDMs`. Where several regions become one
            (`IT=subject*`), their names are the subjects.
        repairs: names of `validation.REPAIRS`.

    Raises:
        UserError: a file is damaged, ambiguous or of no known format.
    """
    validation.check_repair_names(repairs)
    selection = RegionSelection(regions)
    by_region: dict[str, list[RDMs]] = {}
    for path in paths:
        raw = read_file("rdms", path, format=format)
        if regions:
            raw = [replace(r, is_rdm=True) for r in raw if selection.rename(r.region)]
        else:
            raw = _select_rdm_arrays(raw, path, n)
        rdms = [_to_rdms(r, path, n, axes, distance, repairs) for r in raw]
        if len(sizes := {r.n_stimuli for r in rdms}) > 1:
            which = ", ".join(f"{r.region} of {r.n_stimuli}" for r in rdms[:6])
            raise UserError(
                f"{path} holds RDMs of {len(sizes)} numbers of stimuli: {which}",
                hint="choose with --regions, or by the stimuli",
            )
        for r in rdms:
            by_region.setdefault(selection.rename(r.region), []).append(r)
    selection.check()
    return [_merge_region(region, parts) for region, parts in by_region.items()]


class RegionSelection:
    """The regions selected by patterns `OLD` or `NEW=OLD`; all if there is no pattern."""

    def __init__(self, patterns: Sequence[str]):
        parts = (pattern.partition("=") for pattern in patterns)
        self._pairs = [(old or new, new) for new, _, old in parts]
        self._seen: dict[str, None] = {}

    def rename(self, region: str) -> str:
        """Return the new name of a region; "" if it is not selected."""
        self._seen[region] = None
        if not self._pairs:
            return region
        for old, new in self._pairs:
            if match_names(old, [region]):
                return region if new == old else new
        return ""

    def check(self) -> None:
        """Raise UserError if a pattern matched no region."""
        for old, _ in self._pairs:
            if not match_names(old, self._seen):
                raise unknown_name("region", old, self._seen)


def _select_rdm_arrays(raw: list[RawArray], path: Path, n: int | None) -> list[RawArray]:
    """Return the arrays that are RDMs or look like one; without any square, vectors that fit."""
    arrays = [r.array.squeeze() for r in raw]
    pairs = [square_axes(array, n) for array in arrays]
    square_sizes = [
        {array.shape[a] for a, _ in at} for array, at in zip(arrays, pairs, strict=True)
    ]
    vector_sizes = [
        {m for length in array.shape if (m := n_from_pairs(length)) and m > 2 and n in (None, m)}
        for array in arrays
    ]
    sound = [
        r.is_rdm or any(looks_like_rdms(array, at) for at in candidates)
        for r, array, candidates in zip(raw, arrays, pairs, strict=True)
    ]
    sizes = {
        size for k in range(len(raw)) if sound[k] for size in square_sizes[k] or vector_sizes[k]
    }
    # an asymmetric matrix of the right size is a damaged RDM: it is refused later, by name
    chosen = [
        sound[k] or bool((square_sizes[k] | vector_sizes[k]) & sizes if sizes else square_sizes[k])
        for k in range(len(raw))
    ]
    if not any(chosen):
        chosen = [bool(sizes) for sizes in vector_sizes]
    if not any(chosen):
        shapes = ", ".join(f"{r.region} {' × '.join(map(str, r.array.shape))}" for r in raw[:8])
        raise UserError(
            f"{path} holds no RDM{f' of {n} stimuli' if n else ''}; its variables: {shapes}",
            hint="an RDM is n × n, or n(n-1)/2 distances; for responses (stimuli × channels) pass"
            " --responses",
        )
    selected = [r for r, is_chosen in zip(raw, chosen, strict=True) if is_chosen]
    if skipped := [r.region for r, is_chosen in zip(raw, chosen, strict=True) if not is_chosen]:
        notes = (*selected[0].notes, f"not RDMs, skipped: {', '.join(skipped)}")
        selected[0] = replace(selected[0], notes=notes)
    return selected


def _to_rdms(
    raw: RawArray,
    path: Path,
    n: int | None,
    axes: Sequence[str],
    distance: str,
    repairs: Collection[str],
) -> RDMs:
    """Return one array as RDMs of one region, validated."""
    what = f"{path.name}: {raw.region}"
    if n is None and raw.stimuli is not None:
        n = len(raw.stimuli)
    array = _to_floats(raw.array, what)
    layout = infer_axes(array, what, n, axes or raw.axes, len(raw.times))
    labels = _label_rdms(raw, layout, what)
    titles = [
        what + "".join(f", {axis} {labels[axis][k]}" for axis in labels if axis in layout.rest)
        for k in range(len(labels["subject"]))
    ]
    notes = [*raw.notes, layout.guessed]
    values = layout.array.reshape(len(titles), *layout.array.shape[len(layout.rest) :])
    if layout.square:
        values, repaired = validation.to_condensed(values, titles, repairs)
        notes += [f"{layout.n} × {layout.n}, upper triangle taken", *repaired]
    elif not distance:
        validation.check_declared_distance((raw.region, raw.distance), titles[0], repairs)
    values, repaired = validation.validate(
        values, titles, layout.n, distance or raw.distance, repairs
    )
    stimuli, note = _stimulus_names(raw, layout.n)
    return RDMs(
        values,
        distance or raw.distance,
        raw.region,
        stimuli=stimuli,
        subjects=tuple(labels["subject"]),
        sessions=tuple(labels["session"]),
        times=tuple(labels["time"]),
        notes=tuple(filter(None, [*notes, *repaired, note])),
    )


def _to_floats(array: np.ndarray, what: str) -> np.ndarray:
    """Return numbers as floats that hold them exactly; uint8 and int16 do fit float32."""
    if array.dtype.kind not in "fiub":
        raise UserError(f"{what} holds {array.dtype}, not real numbers")
    narrow = array.dtype.kind == "f" or array.dtype.itemsize <= 2
    dtype = np.result_type(array.dtype, np.float32) if narrow else np.float64
    return array.astype(dtype, copy=False)


def _label_rdms(raw: RawArray, layout: AxisLayout, what: str) -> dict[str, list[Any]]:
    """Return subject, session and time of each RDM; an axis without labels is numbered."""
    lengths = layout.array.shape[: len(layout.rest)]
    labels = {}
    for axis, blank in BLANK_LABELS.items():
        names: Sequence[Any] = getattr(raw, f"{axis}s")
        if axis not in layout.rest:
            label = names[0] if len(names) == 1 else blank
            labels[axis] = [label for _ in np.ndindex(lengths)]
            continue
        at = layout.rest.index(axis)
        if names and len(names) != lengths[at]:
            raise UserError(f"{what} has {lengths[at]} {axis}s; the file names {len(names)}")
        numbers = range(lengths[at])
        numbered = [float(k) if axis == "time" else str(k + 1) for k in numbers]
        labels[axis] = [(names or numbered)[place[at]] for place in np.ndindex(lengths)]
    return labels


def _stimulus_names(raw: RawArray, n: int) -> tuple[tuple[str, ...] | None, str]:
    """Return the stimuli's names: the reader's, or the file's one list of n different strings."""
    if raw.stimuli is not None:
        if len(raw.stimuli) != n:
            raise UserError(f"{raw.region} has {n} stimuli; the file names {len(raw.stimuli)}")
        return raw.stimuli, ""
    fitting = {key: names for key, names in raw.texts.items() if len(names) == n == len(set(names))}
    if len(fitting) == 1:
        key, names = next(iter(fitting.items()))
        return names, f"stimulus names from `{key}`"
    note = f"stimulus names could be any of {', '.join(fitting)}: none taken" if fitting else ""
    return None, note


def _merge_region(region: str, parts: list[RDMs]) -> RDMs:
    """Return one region's RDMs from several arrays or files, in the first one's stimulus order."""
    if len({part.region for part in parts}) > 1:
        parts = [p if any(p.subjects) else replace(p, subjects=(p.region,) * len(p)) for p in parts]
    first = parts[0]
    notes = list(dict.fromkeys(note for part in parts for note in part.notes))
    for part in parts[1:]:
        if part.n_stimuli != first.n_stimuli or part.distance != first.distance:
            here, there = (
                f"{p.n_stimuli} stimuli by {p.distance or 'an unknown distance'}"
                for p in (first, part)
            )
            raise UserError(
                f"{region} has {here} in one place and {there} in another",
                hint="pass --distance for both, or import them into stores of their own",
            )
    values = [first.values, *(_reorder(part, first, notes) for part in parts[1:])]
    subjects, sessions, times = (
        tuple(label for part in parts for label in getattr(part, f"{axis}s"))
        for axis in BLANK_LABELS
    )
    k = len(subjects)
    if k > 1 and not any(subjects) and _find_repeated(subjects, sessions, times):
        subjects = tuple(str(s + 1) for s in range(k))
        notes.append(f"{k} RDMs without names taken as {k} subjects")
    if repeated := _find_repeated(subjects, sessions, times):
        labels = zip(BLANK_LABELS, repeated, strict=True)
        which = ", ".join(f"{axis} {label}" for axis, label in labels if label not in ("", "nan"))
        raise UserError(
            f"two RDMs of {region} are both {which or 'without a name'}",
            hint="import the files one by one, into stores of their own",
        )
    together, distance = np.concatenate(values), first.distance
    if not distance and float(np.nanmin(together)) >= 0 and 1 < float(np.nanmax(together)) <= 2:
        distance = "correlation"
        notes.append("taken as 1 - r, as its values suggest (pass --distance for another)")
    return RDMs(
        together,
        distance,
        region,
        stimuli=first.stimuli,
        subjects=subjects,
        sessions=sessions,
        times=times,
        notes=tuple(notes),
    )


def _reorder(part: RDMs, first: RDMs, notes: list[str]) -> np.ndarray:
    """Return the values of `part` in the order of the first one's stimuli."""
    if part.stimuli == first.stimuli or part.stimuli is None or first.stimuli is None:
        return part.values
    rows = find_names(first.stimuli, part.stimuli)
    if part.n_stimuli != first.n_stimuli or sorted(rows) != list(range(len(rows))):
        odd = next((n for n, row in zip(first.stimuli, rows, strict=True) if row < 0), "")
        raise UserError(
            f"{part.region} is not of the same stimuli in all its files: `{odd}` is only in some"
        )
    if rows != sorted(rows):
        notes.append("stimuli listed in different orders, brought into the first one's")
    return part.subset(rows).values


def _find_repeated(*labels: Iterable[Any]) -> tuple[str, ...] | None:
    """Return the first combination of labels that occurs twice, as text."""
    seen: set[tuple[str, ...]] = set()
    for combination in zip(*(map(str, column) for column in labels), strict=True):
        if combination in seen:
            return combination
        seen.add(combination)
    return None
