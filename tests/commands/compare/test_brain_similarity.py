"""Brain similarity over the seeds of each method."""

import json
import statistics
from pathlib import Path

import pytest

from rdl_cli.commands.compare.brain_similarity import summarise_brain_similarity
from rdl_cli.runs.run import Run


def make_run(path: Path, *records: dict) -> Run:
    path.mkdir(parents=True)
    (path / "config.toml").write_text("seed = 0\n")
    if records:
        (path / "stimuli.json").write_text(json.dumps({"brain_similarity": records}))
    return Run(path)


def make_record(
    spearman: float, stimuli: str = "heldout", mean_subject_spearman: float | None = 0.1
) -> dict:
    lower, upper = (0.3, 0.5) if mean_subject_spearman else (None, None)
    return {
        "layer": "fc",
        "region": "IT@mean",
        "stimuli": stimuli,
        "n_stimuli": 20,
        "spearman": spearman,
        "pearson": spearman,
        "spearman_stimulus_bn": spearman,
        "mean_subject_spearman": mean_subject_spearman,
        "noise_ceiling_lower": lower,
        "noise_ceiling_upper": upper,
    }


def test_summarise_brain_similarity_means_over_seeds_and_sorts_by_layer(tmp_path):
    runs = {
        "brain": [
            make_run(tmp_path / f"brain{k}", make_record(value, "train"), make_record(value / 2))
            for k, value in enumerate((0.2, 0.4))
        ],
        "shuffle": [make_run(tmp_path / "shuffle", make_record(0.1))],
        "baseline": [make_run(tmp_path / "baseline")],
    }
    summaries = summarise_brain_similarity(runs)
    assert [(s.stimuli, s.method, s.runs) for s in summaries] == [
        ("heldout", "brain", 2),
        ("heldout", "shuffle", 1),
        ("train", "brain", 2),
    ]
    heldout, control, train = summaries
    assert heldout.spearman == pytest.approx(0.15)
    assert heldout.sd == pytest.approx(statistics.stdev([0.1, 0.2]))
    assert (control.sd, control.mean_subject_spearman) == (None, 0.1)
    assert (control.noise_ceiling_lower, control.noise_ceiling_upper) == (0.3, 0.5)
    assert train.spearman == pytest.approx(0.3)


def test_summarise_brain_similarity_has_no_ceiling_without_subjects(tmp_path):
    run = make_run(tmp_path / "brain", make_record(0.2, mean_subject_spearman=None))
    (summary,) = summarise_brain_similarity({"brain": [run]})
    assert summary.mean_subject_spearman is None
    assert (summary.noise_ceiling_lower, summary.noise_ceiling_upper) == (None, None)
