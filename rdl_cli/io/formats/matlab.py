"""MATLAB files of every version: struct arrays of rsatoolbox_matlab, matrices and stacks."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from rdl_cli.core.errors import UserError
from rdl_cli.io import matlab as matlab_files
from rdl_cli.io.file_types import Container, unique_names
from rdl_cli.io.matlab import Unread
from rdl_cli.io.raw_array import READERS, RawArray, to_milliseconds

TIME = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*(?:ms)?")
TIMES = ("t", "time", "times", "timepoints", "time_ms", "times_ms")
NAMES = ("name", "measModelName", "reprName")


@READERS.register("matlab")
def read_matlab(path: Path, container: Container) -> list[RawArray] | None:
    """Read MATLAB variables: RDMs, stacks, cells and struct arrays of RDMs.

    A field of a struct counts as a variable. One called `time` (`times`, `t`, ...) has the time
    points. A cell of n strings names the stimuli, a cell of n matrices has those of n subjects.
    """
    if container != "matlab":
        return None
    content = matlab_files.read_variables(path)
    if any(name.startswith("rdmutv") for name in content):
        return None
    leaves = dict(matlab_files.iterate_leaves(content))
    variables = dict(zip(unique_names(leaves), leaves.values(), strict=True))
    texts = {
        name: strings
        for name, value in variables.items()
        if (strings := matlab_files.to_strings(value))
    }
    times = next(
        (
            to_milliseconds(np.ravel(variables[name]).tolist())
            for name in TIMES
            if _is_numeric(variables.get(name))
        ),
        (),
    )
    left_out = [
        f"`{name}` ({value.kind})" for name, value in variables.items() if isinstance(value, Unread)
    ]
    notes = (f"left out, as they hold no plain numbers: {', '.join(left_out)}",) if left_out else ()
    arrays: list[RawArray] = []
    for name, value in variables.items():
        if matlab_files.is_struct_array(value) and "RDM" in value.flat[0]:
            arrays += _read_structs(name, value, texts, notes, path)
            continue
        axes: tuple[str, ...] = ()
        if (stack := _stack_cell(value)) is not None:
            axes, value = ("subject", *_axes(value.flat[0])), stack
        elif not _is_numeric(value) or name.lower() in TIMES:
            continue
        arrays.append(
            RawArray(name, value, axes, times=times, texts=texts, is_rdm=False, notes=notes)
        )
    if not arrays:
        raise UserError(
            f"{path} holds no RDM; its variables: {', '.join(variables)}",
            hint=". ".join([*notes, "an RDM is a matrix, a vector, or a struct with a field RDM"]),
        )
    return arrays


def _stack_cell(cell: Any) -> np.ndarray | None:
    """Return the equal matrices or vectors of a cell array as one array; None for other cells."""
    if not isinstance(cell, np.ndarray) or cell.dtype != object or cell.size < 2:
        return None
    items = list(cell.flat)
    if max(cell.shape) < cell.size or not all(map(_is_numeric, items)):
        return None
    if len({item.shape for item in items}) > 1 or not _axes(items[0]):
        return None
    return np.stack(items)


def _is_numeric(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiub" and value.size > 1


def _read_structs(
    variable: str,
    structs: np.ndarray,
    texts: dict[str, tuple[str, ...]],
    notes: tuple[str, ...],
    path: Path,
) -> list[RawArray]:
    """Return the RDMs of rsatoolbox_matlab's masks × subjects × sessions.

    A name is 'mask | subject | Session: k', or a part of it. If names do not tell all entries
    apart, the place in the array numbers subject and session.
    """
    entries = []
    for at in np.ndindex(structs.shape):
        struct: dict[str, Any] = structs.item(*at)
        names = (struct[key] for key in NAMES if isinstance(struct.get(key), str))
        label = next(filter(None, names), variable)
        entries.append((at, _parse_label(label), struct.get("RDM")))
    # as text, for NaN differs from itself
    unique = len({tuple(map(str, labels)) for _, labels, _ in entries}) == len(entries)
    arrays = []
    for at, (region, subject, session, time), rdm in entries:
        if not _is_numeric(rdm):
            raise UserError(
                f"{path}: `{variable}{list(np.add(at, 1))}` has no numbers in its field RDM",
                hint="the file is damaged, or this entry was left empty",
            )
        assert isinstance(rdm, np.ndarray)
        if not unique:
            subject = subject or (str(at[1] + 1) if structs.shape[1:2] > (1,) else "")
            session = session or (str(at[2] + 1) if structs.shape[2:3] > (1,) else "")
        arrays.append(
            RawArray(
                region,
                rdm,
                _axes(rdm),
                (subject,),
                (session,),
                (time,),
                texts=texts,
                notes=notes,
            )
        )
    return arrays


def _axes(rdm: np.ndarray) -> tuple[str, ...]:
    if rdm.ndim == 2 and rdm.shape[0] == rdm.shape[1]:
        return ("i", "j")
    return ("pair",) if max(rdm.shape) == rdm.size else ()


def _parse_label(label: str) -> tuple[str, str, str, float]:
    """Return region, subject, session and time of 'IT | BE | Session: 1 | Time: 50 ms'."""
    region, *parts = (part.strip() for part in label.split("|"))
    subject, session, time = "", "", float("nan")
    for part in parts:
        key, colon, value = (p.strip() for p in part.partition(":"))
        if colon and key.lower() == "session":
            session = value
        elif colon and key.lower() == "time" and (number := TIME.fullmatch(value)):
            time = float(number[1])
        elif subject or (colon and key.lower() == "time"):
            session = " | ".join(filter(None, (session, part)))
        else:
            subject = part
    return region, subject, session, time
