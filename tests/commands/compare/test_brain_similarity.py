"""Brain similarity to a brain, over the seeds of each method."""

import json
import statistics
from pathlib import Path

import pytest

from rdl_cli.commands.compare.brain_similarity import summarise_brain_similarity
from rdl_cli.runs.run import Run


def run(path: Path, *rows: dict) -> Run:
    path.mkdir(parents=True)
    (path / "config.toml").write_text("seed = 0\n")
    if rows:
        (path / "stimuli.json").write_text(json.dumps({"brain_similarity": rows}))
    return Run(path)


def row(spearman: float, stimuli: str = "held-out", subjects: float | None = 0.1) -> dict:
    ceiling = {"lower": 0.3, "upper": 0.5} if subjects else {"lower": None, "upper": None}
    return {
        "layer": "fc",
        "region": "IT@mean",
        "stimuli": stimuli,
        "spearman": spearman,
        "subjects": subjects,
    } | ceiling


def test_likeness_is_the_mean_over_seeds_and_methods_stand_together(tmp_path):
    found = summarise_brain_similarity(
        {
            "brain": [
                run(tmp_path / f"brain{k}", row(value, "taught"), row(value / 2))
                for k, value in enumerate((0.2, 0.4))
            ],
            "shuffle": [run(tmp_path / "shuffle", row(0.1))],
            "baseline": [run(tmp_path / "baseline")],
        }
    )
    assert [(each.stimuli, each.method, each.runs) for each in found] == [
        ("held-out", "brain", 2),
        ("held-out", "shuffle", 1),
        ("taught", "brain", 2),
    ]
    held, alone, taught = found
    assert held.spearman == pytest.approx(0.15) and held.sd == pytest.approx(
        statistics.stdev([0.1, 0.2])
    )
    assert (alone.sd, alone.subjects, alone.lower, alone.upper) == (None, 0.1, 0.3, 0.5)
    assert taught.spearman == pytest.approx(0.3)


def test_a_region_without_subjects_has_no_ceiling(tmp_path):
    (found,) = summarise_brain_similarity(
        {"brain": [run(tmp_path / "brain", row(0.2, subjects=None))]}
    )
    assert (found.subjects, found.lower, found.upper) == (None, None, None)
