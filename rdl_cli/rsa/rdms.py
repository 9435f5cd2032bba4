"""The RDMs of one layer or region: the type that readers, stores, training and comparisons share.

Values are in SciPy's condensed order: the upper triangle row by row, without the diagonal. A
missing distance is NaN. NumPy only, so that reading files needs no torch; `RDMs.tensor` brings it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from rdl_cli.core.errors import UserError, unknown_name

if TYPE_CHECKING:
    import torch

MEAN = "mean"


def n_from_pairs(pairs: int) -> int:
    """Return how many stimuli have so many pairs. UserError if no number of stimuli has."""
    n = (1 + math.isqrt(1 + 8 * pairs)) // 2
    if n * (n - 1) // 2 != pairs or n < 2:
        raise UserError(
            f"{pairs:,} distances are no RDM: {n} stimuli have {n * (n - 1) // 2:,}"
            f" and {n + 1} have {n * (n + 1) // 2:,}",
            hint="an RDM is the upper triangle without its diagonal, row by row",
        )
    return n


@dataclass(frozen=True, eq=False)
class RDMs:
    """k RDMs of the same stimuli, and the subject, session and time of each.

    Args:
        values: distances (k, n(n-1)/2), in memory or a memory map. NaN is not measured.
        distance: the measure, "" where unknown.
        region: the brain region or layer.
        unit: the unit of the values.
        stimuli: the names of the n stimuli, None where unknown.
        subjects, sessions: k names, "" where there is none.
        times: k time points in milliseconds, NaN where there is none.
        notes: guesses, repairs and choices that led to these values, to be shown.

    Example:
        >>> rdms = RDMs(np.array([[1.0, 2.0, 3.0], [3.0, 4.0, 5.0]]), subjects=("a", "b"))
        >>> rdms.n_stimuli, len(rdms), rdms.mean().values.tolist()
        (3, 2, [[2.0, 3.0, 4.0]])
    """

    values: np.ndarray
    distance: str = ""
    region: str = ""
    unit: str = ""
    stimuli: tuple[str, ...] | None = None
    subjects: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    times: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert self.values.ndim == 2, f"RDMs are k × pairs, not {self.values.shape}"
        k = len(self.values)
        for name, blank in (("subjects", ""), ("sessions", ""), ("times", math.nan)):
            object.__setattr__(self, name, tuple(getattr(self, name)) or (blank,) * k)
            assert len(getattr(self, name)) == k, f"{k} RDMs need {k} {name}"
        assert self.stimuli is None or len(self.stimuli) == self.n_stimuli, "one name per stimulus"

    def __len__(self) -> int:
        return len(self.values)

    @property
    def n_stimuli(self) -> int:
        pairs = self.values.shape[1]
        return n_from_pairs(pairs) if pairs else 1

    @property
    def time_points(self) -> tuple[float, ...]:
        """The different times, in order, without NaN."""
        return tuple(dict.fromkeys(time for time in self.times if not math.isnan(time)))

    @property
    def parts(self) -> list[str]:
        """What `select` takes: the subjects, sessions and times of which there are several."""
        labels = (
            list(dict.fromkeys(self.subjects)),
            [f"session{session}" for session in dict.fromkeys(self.sessions)],
            [f"{time:g}ms" for time in self.time_points],
        )
        return [label for several in labels if len(several) > 1 for label in several]

    def describe(self) -> str:
        """Return how many RDMs there are and of what: `8 RDMs (4 subjects, 2 sessions)`."""
        counts = {
            "subject": len(set(self.subjects)),
            "session": len(set(self.sessions)),
            "time point": len(self.time_points),
        }
        several = [f"{count} {word}s" for word, count in counts.items() if count > 1]
        plural = "s" if len(self) > 1 else ""
        return f"{len(self)} RDM{plural}" + (f" ({', '.join(several)})" if several else "")

    def __str__(self) -> str:
        counts = {
            "subject": len(set(self.subjects) - {""}),
            "session": len(set(self.sessions) - {""}),
            "time point": len(self.time_points),
        }
        labels = [f"{n} {word}{'s' if n > 1 else ''}" for word, n in counts.items() if n]
        words = [
            f"{self.n_stimuli} stimuli",
            " × ".join(labels),
            self.values.dtype.name,
            f"{np.nanmin(self.values):.4g} to {np.nanmax(self.values):.4g}",
            self.distance or "distance unknown",
        ]
        return f"{self.region}: {', '.join(word for word in words if word)}"

    def take(self, rows: Sequence[int]) -> "RDMs":
        """Return some of the RDMs, in this order."""
        return replace(
            self,
            values=self.values[list(rows)],
            subjects=tuple(self.subjects[row] for row in rows),
            sessions=tuple(self.sessions[row] for row in rows),
            times=tuple(self.times[row] for row in rows),
        )

    def select(self, part: str) -> "RDMs":
        """Return the RDMs of a subject, session or time, or the `mean`.

        A subject is `NAME` or `subjectNAME`, a session `sessionNAME`, a time `150ms`, all exact.
        UserError lists the parts if there is none of this name.
        """
        if part == MEAN:
            return self.mean()
        families: tuple[Sequence[str], ...] = (
            self.subjects,
            [f"subject{subject}" for subject in self.subjects],
            [f"session{session}" for session in self.sessions],
            [f"{time:g}ms" for time in self.times],
        )
        for labels in families:
            if rows := [row for row, label in enumerate(labels) if part and label == part]:
                return self.take(rows)
        names = [*self.parts, MEAN]
        if not self.parts:
            hint = f"{self.region} is one RDM, without parts"
        else:
            hint = f"{self.region} has the parts {', '.join(names)}"
        raise unknown_name("part", part, names, hint=hint)

    def mean(self) -> "RDMs":
        """Return one RDM, in float64: the mean of each distance over those where it is measured."""
        return replace(self, values=_mean(self.values)[None], subjects=(), sessions=(), times=())

    def mean_over_sessions(self) -> "RDMs":
        """Return one RDM for each subject. Without names all RDMs are one subject's.

        UserError if there are several time points, which are no samples of one quantity.
        """
        if len(self.time_points) > 1:
            some = ", ".join(f"@{time:g}ms" for time in self.time_points[:3])
            raise UserError(
                f"the RDMs are of {len(self.time_points)} time points, which are no samples of one"
                " quantity",
                hint=f"choose one ({some}) or @mean",
            )
        subjects = tuple(dict.fromkeys(self.subjects))
        owner = np.array([subjects.index(subject) for subject in self.subjects])
        return replace(
            self,
            values=np.stack([_mean(self.values[owner == s]) for s in range(len(subjects))]),
            subjects=subjects,
            sessions=(),
            times=self.times[:1] * len(subjects),
        )

    def subset(self, rows: Sequence[int] | np.ndarray) -> "RDMs":
        """Return the RDMs of some stimuli, in this order. Of a memory map only these are read."""
        rows = np.asarray(rows, dtype=np.int64)
        i, j = np.triu_indices(len(rows), 1)
        low, high = np.minimum(rows[i], rows[j]), np.maximum(rows[i], rows[j])
        pairs = low * (2 * self.n_stimuli - low - 1) // 2 + high - low - 1
        names = None if self.stimuli is None else tuple(self.stimuli[row] for row in rows)
        return replace(self, values=self.values[:, pairs], stimuli=names)

    def to_square(self) -> np.ndarray:
        """Return the symmetric matrices (k, n, n), with zeros on their diagonals."""
        n = self.n_stimuli
        i, j = np.triu_indices(n, 1)
        squares = np.zeros((len(self), n, n), self.values.dtype)
        squares[:, i, j] = squares[:, j, i] = self.values
        return squares

    def tensor(self, device: "torch.device | str | None" = None) -> "torch.Tensor":
        """Return a copy of the values as a tensor (k, n(n-1)/2)."""
        import torch

        return torch.from_numpy(np.array(self.values)).to(device)


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean of the rows over what is measured, in float64."""
    measured = ~np.isnan(values)
    total = np.where(measured, values, 0).sum(0, dtype=np.float64)
    return np.where(measured.any(0), total / np.maximum(measured.sum(0), 1), np.nan)
