"""The page and the tuning table of `rdl reproduce`; a mistake is one error with exit code 2."""

import csv
import io
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from rdl_cli.cli import main as cli
from rdl_cli.cli.render.comparison import to_rich
from rdl_cli.cli.render.report import render_results, render_trials
from rdl_cli.commands.compare.compare import compare
from rdl_cli.commands.reproduce.recipe import Recipe
from rdl_cli.commands.reproduce.reproduce import ExperimentResult
from rdl_cli.commands.reproduce.tuning import Trial
from rdl_cli.runs.run import Run

N = 100
TRIED = (
    Trial("rdl", {"lr": 0.1, "objective": ["rdl:weight=3,pairs=500", "kd"]}, 0.0251, False),
    Trial("rdl", {"lr": 0.2, "objective": ["rdl"]}, 0.02, True),
    Trial("baseline", {"lr": 0.1}, 0.5, True),
)


def write(folder: Path, method: str, seed: int, final: int, best: int) -> Path:
    """Write a run with this many errors after the final and the best epoch."""
    labels = np.arange(N) % 10
    logits = {
        name: np.eye(10)[np.where(np.arange(N) < wrong, (labels + 1) % 10, labels)]
        for name, wrong in (("final", final), ("best", best))
    }
    run = Run(folder / f"{method}/seed{seed}")
    run.path.mkdir(parents=True)
    run.write_provenance({"parents": []})
    run.write_config({"seed": seed, "label": method})
    run.write_predictions(np.array([f"{i:064x}" for i in range(N)], dtype="S64"), labels, logits)
    return run.path


def make_result(
    tmp_path: Path,
    methods: dict[str, list[tuple[int, int]]],
    trials: tuple[Trial, ...] = (),
    **changes,
) -> ExperimentResult:
    """Return a result of runs with these errors (final, best) for each seed of each method."""
    runs = [
        write(tmp_path, name, seed, *wrong)
        for name, seeds in methods.items()
        for seed, wrong in enumerate(seeds)
    ]
    recipe = Recipe(**{"name": "mine", "title": "Digits", "methods": {}} | changes)
    final, best = (compare(runs, epoch, primary=recipe.primary) for epoch in ("final", "best"))
    return ExperimentResult(recipe, final, best, trials)


def test_render_results_has_errors_of_both_epochs_and_published_ones(tmp_path):
    methods = {"baseline": [(10, 8), (12, 7)], "rdl": [(5, 4), (6, 4)]}
    page = render_results(make_result(tmp_path, methods, paper={"rdl": 0.49}))
    assert page.startswith("# Digits\n\nErrors on 100 test images")
    assert "| baseline | 2 | 11.00 ± 1.41 | 10, 12 | 7.50 ± 0.71 | 8, 7 | – |" in page
    assert "| rdl | 2 | 5.50 ± 0.71 | 5, 6 | 4.00 ± 0.00 | 4, 4 | 0.49 |" in page
    pairs = page.split("## Pairs of methods, after the final epoch")[1]
    final, best = pairs.split("## Pairs of methods, at the epoch")
    assert "5.50" in final and "3.50" in best
    assert "Tuning" not in page


def test_render_results_names_the_primary_comparison(tmp_path):
    methods = {"baseline": [(10, 8), (12, 7)], "rdl": [(5, 4), (6, 4)]}
    page = render_results(make_result(tmp_path, methods, primary=("rdl", "baseline")))
    assert "primary" in page


def test_render_results_escapes_a_bar_in_a_name(tmp_path):
    trial = Trial("a|b", {"lr": 0.1}, 0.02, True)
    page = render_results(make_result(tmp_path, {"a|b": [(10, 8)]}, (trial,)))
    assert r"| a\|b | 1 | 10.00 | 10 | 8.00 | 8 |" in page
    assert r"| a\|b | lr = 0.1 | 2.00 | chosen |" in page


def test_render_results_leaves_out_empty_sections(tmp_path):
    page = render_results(make_result(tmp_path, {"rdl": [(5, 4)]}, title=""))
    assert page.startswith("# mine\n") and "published" not in page and "##" not in page


def test_render_results_has_brain_similarity(tmp_path):
    runs = [write(tmp_path, name, 0, 5, 5) for name in ("brain", "shuffle")]
    for run, value in zip(runs, (0.25, 0.125), strict=True):
        row = {
            "layer": "fc",
            "region": "IT@mean",
            "stimuli": "heldout",
            "n_stimuli": 20,
            "pearson": value,
            "spearman_stimulus_bn": value,
            "spearman": value,
            "mean_subject_spearman": 0.1,
            "noise_ceiling_lower": 0.3,
            "noise_ceiling_upper": 0.5,
        }
        Run(run).write_stimuli({"brain_similarity": [row]})
    recipe = Recipe(name="mine", methods={})
    page = render_results(ExperimentResult(recipe, compare(runs), compare(runs, "best"), ()))
    for method, value in (("brain", "0.250"), ("shuffle", "0.125")):
        row = f"| fc ~ IT@mean | heldout | {method} | 1 | {value} | 0.100 | 0.300 – 0.500 |"
        assert row in page
    shown = io.StringIO()
    Console(file=shown, width=200).print(to_rich(compare(runs)))
    assert "Brain similarity" in shown.getvalue() and "0.125" in shown.getvalue()


def test_render_results_has_the_trials(tmp_path):
    result = make_result(tmp_path, {"rdl": [(5, 4)]}, TRIED, tuning={"epochs": 2})
    section = render_results(result).split("## Tuning")[1]
    assert "Test images were not used. Tuning runs had epochs = 2." in section
    assert "| rdl | lr = 0.1, objective = rdl:weight=3,pairs=500 + kd | 2.51 |  |" in section
    assert "| rdl | lr = 0.2, objective = rdl | 2.00 | chosen |" in section


def test_render_trials_has_a_column_for_each_option():
    rows = list(csv.DictReader(io.StringIO(render_trials(TRIED))))
    assert list(rows[0]) == ["method", "lr", "objective", "validation_error", "chosen"]
    assert [row["objective"] for row in rows] == ["rdl:weight=3,pairs=500 + kd", "rdl", ""]
    assert [float(row["validation_error"]) for row in rows] == [0.0251, 0.02, 0.5]
    assert [row["chosen"] for row in rows] == ["False", "True", "True"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[methods.a]\nepohcs = 1", "no option in [methods.a] `epohcs`; did you mean `epochs`"),
        ('[methods.a]\ndataset = "digist"', "no dataset `digist`; did you mean `digits`"),
        ("[methods.a]\n[paper]\nb = 1", "no method in [paper] `b`"),
    ],
)
def test_reproduce_refuses_a_mistake_with_code_2_and_writes_nothing(
    text, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(text)
    monkeypatch.setattr(sys, "argv", ["rdl", "reproduce", "mine.toml"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2 and [path.name for path in tmp_path.iterdir()] == ["mine.toml"]
    output = capsys.readouterr()
    assert message in " ".join(output.err.split()) and "Traceback" not in output.err
    assert output.out == ""
