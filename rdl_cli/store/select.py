"""Which RDMs of a layer are meant: `IT@BE` is one subject's, `IT@session1@mean` an average, `IT` all that the store holds of it.

Parts narrow in turn; `@mean` averages what the others leave, wherever it stands. A subject is called by name or `subjectNAME`,
a session `sessionNAME`, a time point `150ms`, each exactly. A layer whose own name holds an `@` is called by its whole name.
"""

import math
from typing import NamedTuple

import numpy as np

from rdl_cli.core.errors import UserError, unknown_name
from rdl_cli.core.tensor_types import Ids
from rdl_cli.rsa.condensed import condensed_pairs, pair_index
from rdl_cli.store.store import RdmStack, Store

MEAN = "mean"


class SelectedRdms(NamedTuple):
    """RDMs of one layer. `said` tells in words which they are and what was averaged."""

    layer: str
    stack: RdmStack
    said: str


def split_layer(store: Store, text: str) -> tuple[str, list[str]]:
    """The layer that the text names, and its parts. UserError where the store has no such layer."""
    if text in store.layers:
        return text, []
    holders = [layer for layer in store.layers if text.startswith(f"{layer}@")]
    if not holders:
        raise unknown_name(
            "layer",
            text.partition("@")[0],
            store.layers,
            hint=f"{store.path} holds: {', '.join(store.layers)}",
        )
    layer = max(holders, key=len)
    return layer, text.removeprefix(f"{layer}@").split("@")


def select(store: Store, text: str) -> SelectedRdms:
    """The RDMs that the text names, one at least. UserError for a part that is not there; the hint lists those that are."""
    layer, parts = split_layer(store, text)
    stack = store.rdm(layer)
    for part in (part for part in parts if part != MEAN):
        stack = _narrow(stack, part, f"{layer} of {store.path}")
    said = ", ".join([layer, *(part for part in parts if part != MEAN)])
    if MEAN in parts:
        said += f": mean of {describe_count(stack)}"
        stack = average(stack)
    return SelectedRdms(layer, stack, said)


def select_one(store: Store, text: str) -> SelectedRdms:
    """As `select`, where one RDM is needed: `stack.values[0]`. UserError where several are left, naming ways to choose."""
    found = select(store, text)
    if len(found.stack.values) > 1:
        some = ", ".join(f"{text}@{part}" for part in (MEAN, *list_parts(found.stack)[:3]))
        raise UserError(
            f"`{text}` of {store.path} is {describe_count(found.stack)}; one RDM is needed",
            hint=f"say which: {some}",
        )
    return found


def list_parts(stack: RdmStack) -> list[str]:
    """What can follow the `@`, but `mean`: the subjects, sessions and times of which there are several."""
    labels = (
        list(dict.fromkeys(stack.subject)),
        [f"session{each}" for each in dict.fromkeys(stack.session)],
        [f"{each:g}ms" for each in _times(stack)],
    )
    return [each for several in labels if len(several) > 1 for each in several]


def describe_count(stack: RdmStack) -> str:
    """How many RDMs of whom: `8 RDMs (4 subjects, 2 sessions)`."""
    k = len(stack.values)
    words: dict[str, set] = {
        "subject": set(stack.subject),
        "session": set(stack.session),
        "time point": set(_times(stack)),
    }
    several = [f"{len(labels)} {word}s" for word, labels in words.items() if len(labels) > 1]
    return f"{k} RDM{'s' if k > 1 else ''}" + (f" ({', '.join(several)})" if several else "")


def average(stack: RdmStack) -> RdmStack:
    """One RDM, each distance the mean over those who have it; NaN where nobody has."""
    return stack._replace(
        values=_mean(stack.values)[None], subject=("",), session=("",), time=(math.nan,)
    )


def subset_stimuli(stack: RdmStack, rows: Ids, n: int) -> RdmStack:
    """The RDMs over some of their n stimuli, in this order; of what is mapped no more is read."""
    i, j = condensed_pairs(len(rows))
    return stack._replace(values=stack.values[:, pair_index(rows[i], rows[j], n).numpy()])


def mean_over_sessions(stack: RdmStack) -> RdmStack:
    """One RDM for each subject, sessions averaged. Without names all RDMs are one subject's. UserError for several time points."""
    if len(times := _times(stack)) > 1:
        some = ", ".join(f"@{t:g}ms" for t in times[:3])
        raise UserError(
            f"the RDMs are of {len(times)} time points, which are no samples of one thing",
            hint=f"choose one ({some}) or @mean",
        )
    subjects = tuple(dict.fromkeys(stack.subject))
    of = np.array([subjects.index(each) for each in stack.subject])
    values = np.stack([_mean(stack.values[of == s]) for s in range(len(subjects))])
    return stack._replace(
        values=values,
        subject=subjects,
        session=("",) * len(subjects),
        time=stack.time[:1] * len(subjects),
    )


def _narrow(stack: RdmStack, part: str, where: str) -> RdmStack:
    times = [f"{each:g}ms" for each in stack.time]
    families = (
        stack.subject,
        [f"subject{each}" for each in stack.subject],
        [f"session{each}" for each in stack.session],
        times,
    )
    for labels in families:
        rows = [row for row, label in enumerate(labels) if part and label == part]
        if rows:
            pick = [tuple(labels[row] for row in rows) for labels in (stack.subject, stack.session)]
            return stack._replace(
                values=stack.values[rows],
                subject=pick[0],
                session=pick[1],
                time=tuple(stack.time[row] for row in rows),
            )
    known = list_parts(stack)
    there = (
        f"there are: {', '.join([*known, MEAN])}"
        if known
        else "it is one RDM, of which there are no parts"
    )
    raise unknown_name("part", part, [*known, MEAN], hint=f"of {where} {there}")


def _times(stack: RdmStack) -> list[float]:
    """The time points, each once, without the NaN of what has none."""
    return list(dict.fromkeys(t for t in stack.time if not math.isnan(t)))


def _mean(values: np.ndarray) -> np.ndarray:
    """The mean of rows over what is measured, in float64."""
    there = ~np.isnan(values)
    total = np.where(there, values, 0).sum(0, dtype=np.float64)
    return np.where(there.any(0), total / np.maximum(there.sum(0), 1), np.nan)
