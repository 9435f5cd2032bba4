"""How like a brain the students of each method became, over their seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from rdl_cli.runs.run import Run


@dataclass(frozen=True)
class BrainSimilaritySummary:
    """A method's layer and the region that it follows, over `taught` or `held-out` stimuli: means over its runs.

    `spearman` is the rank correlation of their RDMs, with `sd` between runs (None for one). Where the region has subjects, `subjects`
    is the mean with each of them, which their noise ceiling, `lower` to `upper`, bounds.
    """

    method: str
    layer: str
    region: str
    stimuli: str
    runs: int
    spearman: float
    sd: float | None
    mean_subject_spearman: float | None
    noise_ceiling_lower: float | None
    noise_ceiling_upper: float | None


def summarise_brain_similarity(
    by_method: Mapping[str, Sequence[Run]],
) -> tuple[BrainSimilaritySummary, ...]:
    """For each method what its runs' stimuli.json say of each layer; nothing of methods that follow no brain."""
    found = []
    for method, runs in by_method.items():
        rows: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
        for run in runs:
            for row in (run.stimuli or {}).get("brain_similarity", ()):
                rows.setdefault((row["stimuli"], row["layer"], row["region"]), []).append(row)
        for (stimuli, layer, region), mine in rows.items():
            values = [row["spearman"] for row in mine]
            subjects, lower, upper = (
                _mean([row.get(key) for row in mine])
                for key in ("mean_subject_spearman", "noise_ceiling_lower", "noise_ceiling_upper")
            )
            sd = stdev(values) if len(values) > 1 else None
            found.append(
                BrainSimilaritySummary(
                    method,
                    layer,
                    region,
                    stimuli,
                    len(mine),
                    fmean(values),
                    sd,
                    subjects,
                    lower,
                    upper,
                )
            )
    return tuple(sorted(found, key=lambda each: (each.layer, each.region, each.stimuli)))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None
