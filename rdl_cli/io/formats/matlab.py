"""MATLAB files of every version: rsatoolbox_matlab's struct arrays with a field RDM, and bare matrices and stacks (Algonauts)."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rdl_cli.core.errors import UserError
from rdl_cli.io import matlab as matlab_files
from rdl_cli.io.file_types import Container, unique_names
from rdl_cli.io.read import READERS, RawArray, to_milliseconds

TIME = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*(?:ms)?")
TIMES = ("t", "time", "times", "timepoints", "time_ms", "times_ms")


@READERS.register("matlab")
def matlab(path: Path, container: Container) -> list[RawArray] | None:
    """A region for each mask or name of a struct array, and for each variable that is an RDM, a stack or a cell array of them.

    A field of a struct counts as a variable. One called `time` (`times`, `t`, ...) names the time points; a cell of n strings names
    the stimuli, a cell of n matrices holds those of n subjects.
    """
    if container != "matlab" or any(
        name.startswith("rdmutv") for name in matlab_files.list_variables(path)
    ):
        return None
    leaves = dict(_leaves(matlab_files.read_variables(path)))
    variables = dict(zip(unique_names(leaves), leaves.values(), strict=True))
    texts = {
        key: strings
        for key, value in variables.items()
        if (strings := matlab_files.to_strings(value))
    }
    times = next(
        (
            to_milliseconds(np.ravel(variables[key]).tolist())
            for key in TIMES
            if _numbers(variables.get(key))
        ),
        (),
    )
    out: list[RawArray] = []
    for name, value in variables.items():
        if matlab_files.to_structs(value) and "RDM" in value.flat[0]:
            out += _structs(name, value, texts, path)
        elif _numbers(value) and name.lower() not in TIMES:
            out.append(RawArray(name, value, times=times, texts=texts, certain=False))
        elif (stack := _stacked(value)) is not None:
            out.append(
                RawArray(
                    name,
                    stack,
                    ("subject", *_axes(value.flat[0])),
                    times=times,
                    texts=texts,
                    certain=False,
                )
            )
    if not out:
        raise UserError(
            f"{path} holds no RDM; its variables: {', '.join(variables)}",
            hint="an RDM is a matrix, a vector, or a struct with a field RDM",
        )
    return out


def _leaves(
    held: dict[str, Any], above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The variables, and in place of each lone struct without RDM its fields, each with its place."""
    for name, value in held.items():
        if matlab_files.to_structs(value) and value.size == 1 and "RDM" not in value.flat[0]:
            yield from _leaves(value.flat[0], (*above, name))
        else:
            yield (*above, name), value


def _stacked(cell: Any) -> np.ndarray | None:
    """The matrices or vectors of a cell array, one behind the other; None where they are of several sizes or something else."""
    if (
        not isinstance(cell, np.ndarray)
        or cell.dtype != object
        or cell.size < 2
        or max(cell.shape) < cell.size
    ):
        return None
    each = list(cell.flat)
    if not all(map(_numbers, each)) or len({one.shape for one in each}) > 1 or not _axes(each[0]):
        return None
    return np.stack(each)


def _numbers(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiub" and value.size > 1


def _structs(
    variable: str, array: np.ndarray, texts: dict[str, tuple[str, ...]], path: Path
) -> list[RawArray]:
    """rsatoolbox_matlab's masks × subjects × sessions; a name is 'mask | subject | Session: k', or as much of it as there is.

    Where names are not enough to tell two entries apart, the place in the array numbers subject and session.
    """
    entries = []
    for at in np.ndindex(array.shape):
        struct: dict[str, Any] = array.item(*at)
        name = next(
            (
                str(struct[key])
                for key in ("name", "measModelName", "reprName")
                if isinstance(struct.get(key), str) and struct[key]
            ),
            variable,
        )
        entries.append((at, _read_variables(name), struct.get("RDM")))
    unique = len({tuple(map(str, labels)) for _, labels, _ in entries}) == len(
        entries
    )  # NaN differs from itself
    out = []
    for at, (region, subject, session, time), rdm in entries:
        if rdm is None or not _numbers(rdm):
            raise UserError(
                f"{path}: `{variable}{list(np.add(at, 1))}` has no numbers in its field RDM",
                hint="the file is damaged, or this entry was left empty",
            )
        if not unique:
            subject = subject or (str(at[1] + 1) if len(at) > 1 and array.shape[1] > 1 else "")
            session = session or (str(at[2] + 1) if len(at) > 2 and array.shape[2] > 1 else "")
        out.append(RawArray(region, rdm, _axes(rdm), (subject,), (session,), (time,), texts=texts))
    return out


def _axes(rdm: np.ndarray) -> tuple[str, ...]:
    return (
        ("i", "j")
        if rdm.ndim == 2 and rdm.shape[0] == rdm.shape[1]
        else ("pair",)
        if max(rdm.shape) == rdm.size
        else ()
    )


def _read_variables(name: str) -> tuple[str, str, str, float]:
    region, *parts = (part.strip() for part in name.split("|"))
    subject, session, time = "", "", float("nan")
    for part in parts:
        key, colon, value = (p.strip() for p in part.partition(":"))
        if colon and key.lower() == "session":
            session = value
        elif colon and key.lower() == "time" and (found := TIME.fullmatch(value)):
            time = float(found[1])
        elif subject or (colon and key.lower() == "time"):
            session = " | ".join(filter(None, (session, part)))
        else:
            subject = part
    return region, subject, session, time
