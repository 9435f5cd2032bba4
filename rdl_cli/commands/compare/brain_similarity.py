"""The brain similarity of each method's students, over their seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from rdl_cli.runs.run import Run


@dataclass(frozen=True)
class BrainSimilaritySummary:
    """The similarity of a method's layer to a brain region, as means over the method's runs.

    Attributes:
        stimuli: `train` or `heldout`, the stimuli that it was measured on.
        spearman: rank correlation of the two RDMs; `sd` between runs is None for one run.
        mean_subject_spearman: mean correlation with each subject's RDM, None without subjects;
            the noise ceiling (Nili et al. 2014) bounds it.
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
    runs_by_method: Mapping[str, Sequence[Run]],
) -> tuple[BrainSimilaritySummary, ...]:
    """Summarise the runs' stimuli.json by method, layer, region and stimuli.

    Methods that follow no brain have no summary.
    """
    summaries = []
    for method, runs in runs_by_method.items():
        records: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
        for run in runs:
            for record in (run.stimuli or {}).get("brain_similarity", ()):
                key = (record["stimuli"], record["layer"], record["region"])
                records.setdefault(key, []).append(record)
        summaries += [_summarise(method, *key, of_layer) for key, of_layer in records.items()]
    return tuple(sorted(summaries, key=lambda s: (s.layer, s.region, s.stimuli)))


def _summarise(
    method: str, stimuli: str, layer: str, region: str, records: list[dict[str, Any]]
) -> BrainSimilaritySummary:
    values = [record["spearman"] for record in records]
    subjects, lower, upper = (
        _mean([record.get(key) for record in records])
        for key in ("mean_subject_spearman", "noise_ceiling_lower", "noise_ceiling_upper")
    )
    return BrainSimilaritySummary(
        method=method,
        layer=layer,
        region=region,
        stimuli=stimuli,
        runs=len(records),
        spearman=fmean(values),
        sd=stdev(values) if len(values) > 1 else None,
        mean_subject_spearman=subjects,
        noise_ceiling_lower=lower,
        noise_ceiling_upper=upper,
    )


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean, or None where a value is missing."""
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None
