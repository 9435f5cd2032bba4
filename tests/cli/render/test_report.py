"""What `rdl reproduce` says: a page, a table of what was tried, and for a mistake one error with exit code 2."""

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
from rdl_cli.commands.reproduce.recipe import FigureSettings, Recipe
from rdl_cli.commands.reproduce.reproduce import ExperimentResult, Trial
from rdl_cli.runs.run import Run

N = 100
TRIED = (
    Trial("rdl", {"lr": 0.1, "objective": ["rdl:weight=3,pairs=500", "kd"]}, 0.0251, False),
    Trial("rdl", {"lr": 0.2, "objective": ["rdl"]}, 0.02, True),
    Trial("baseline", {"lr": 0.1}, 0.5, True),
)


def write(place: Path, method: str, seed: int, final: int, best: int) -> Path:
    """A run with so many errors after each of the two epochs."""
    labels = np.arange(N) % 10
    logits = {
        name: np.eye(10)[np.where(np.arange(N) < wrong, (labels + 1) % 10, labels)]
        for name, wrong in (("final", final), ("best", best))
    }
    (run := Run(place / f"{method}/seed{seed}")).path.mkdir(parents=True)
    run.write_config({"seed": seed, "label": method})
    run.write_predictions(np.array([f"{i:064x}" for i in range(N)], dtype="S64"), labels, logits)
    return run.path


def reproduced(
    tmp_path: Path,
    methods: dict[str, list[tuple[int, int]]],
    trials: tuple[Trial, ...] = (),
    **changes,
) -> ExperimentResult:
    runs = [
        write(tmp_path, name, seed, *wrong)
        for name, seeds in methods.items()
        for seed, wrong in enumerate(seeds)
    ]
    told = {"title": "Digits", "tuning": {}, "paper": {}} | changes
    recipe = Recipe(
        name="mine", teacher=None, store=None, methods={}, tune={}, figures=FigureSettings(), **told
    )
    return ExperimentResult(recipe, compare(runs), compare(runs, "best"), trials)


def test_a_page_has_the_errors_of_both_epochs_beside_the_published_ones(tmp_path):
    told = render_results(
        reproduced(
            tmp_path, {"baseline": [(10, 8), (12, 7)], "rdl": [(5, 4), (6, 4)]}, paper={"rdl": 0.49}
        )
    )
    assert told.startswith("# Digits\n\nErrors on 100 test images")
    assert "| baseline | 2 | 11.00 ± 1.41 | 10, 12 | 7.50 ± 0.71 | 8, 7 | – |" in told
    assert "| rdl | 2 | 5.50 ± 0.71 | 5, 6 | 4.00 ± 0.00 | 4, 4 | 0.49 |" in told
    final, best = told.split("## Every two methods, after the final epoch")[1].split(
        "## Every two methods, at the epoch"
    )
    assert (
        "mean difference -5.50 percentage points" in final
        and "mean difference -3.50 percentage points" in best
    )
    assert "tried" not in told and "Holm's correction" in best


def test_a_bar_in_a_name_is_no_new_cell(tmp_path):
    told = render_results(
        reproduced(tmp_path, {"a|b": [(10, 8)]}, (Trial("a|b", {"lr": 0.1}, 0.02, True),))
    )
    assert (
        r"| a\|b | 1 | 10.00 | 10 | 8.00 | 8 |" in told
        and r"| a\|b | lr = 0.1 | 2.00 | chosen |" in told
    )


def test_nothing_is_said_of_what_there_is_not(tmp_path):
    told = render_results(reproduced(tmp_path, {"rdl": [(5, 4)]}, title=""))
    assert told.startswith("# mine\n") and "published" not in told and "##" not in told


def test_likeness_to_a_brain_stands_beside_the_errors(tmp_path):
    runs = [write(tmp_path, name, 0, 5, 5) for name in ("brain", "shuffle")]
    for run, value in zip(runs, (0.25, 0.125), strict=True):
        row = {
            "layer": "fc",
            "region": "IT@mean",
            "stimuli": "held-out",
            "spearman": value,
            "subjects": 0.1,
            "lower": 0.3,
            "upper": 0.5,
        }
        Run(run).write_stimuli({"brain_similarity": [row]})
    recipe = Recipe(
        name="mine",
        title="",
        teacher=None,
        store=None,
        methods={},
        tune={},
        tuning={},
        figures=FigureSettings(),
        paper={},
    )
    told = render_results(ExperimentResult(recipe, compare(runs), compare(runs, "best"), ()))
    for method, value in (("brain", "0.250"), ("shuffle", "0.125")):
        assert (
            f"| fc ~ IT@mean | held-out | {method} | 1 | {value} | 0.100 | 0.300 – 0.500 |" in told
        )
    shown = io.StringIO()
    Console(file=shown, width=200).print(to_rich(compare(runs)))
    assert "Brain similarity to the brain" in shown.getvalue() and "0.125" in shown.getvalue()


def test_what_was_tried_is_said_to_be_of_validation_images(tmp_path):
    told = render_results(
        reproduced(tmp_path, {"rdl": [(5, 4)]}, TRIED, tuning={"epochs": 2})
    ).split("## What was tried, on validation images")[1]
    assert "Tuning runs had epochs = 2." in told
    assert "| rdl | lr = 0.1, objective = rdl:weight=3,pairs=500 + kd | 2.51 |  |" in told
    assert "| rdl | lr = 0.2, objective = rdl | 2.00 | chosen |" in told


def test_the_table_of_what_was_tried_has_a_column_for_each_option():
    rows = list(csv.DictReader(io.StringIO(render_trials(TRIED))))
    assert list(rows[0]) == ["method", "lr", "objective", "validation_error", "chosen"]
    assert [row["objective"] for row in rows] == ["rdl:weight=3,pairs=500 + kd", "rdl", ""]
    assert [float(row["validation_error"]) for row in rows] == [0.0251, 0.02, 0.5] and [
        row["chosen"] for row in rows
    ] == [
        "False",
        "True",
        "True",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[methods.a]\nepohcs = 1", "no option in [methods.a] `epohcs`; did you mean `epochs`"),
        ('[methods.a]\ndataset = "digist"', "no dataset `digist`; did you mean `digits`"),
        ("[methods.a]\n[paper]\nb = 1", "no method in [paper] `b`"),
    ],
)
def test_a_mistaken_recipe_ends_with_code_2_and_writes_nothing(
    text, says, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(text)
    monkeypatch.setattr(sys, "argv", ["rdl", "reproduce", "mine.toml"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2 and [path.name for path in tmp_path.iterdir()] == ["mine.toml"]
    told = capsys.readouterr()
    assert says in " ".join(told.err.split()) and "Traceback" not in told.err and told.out == ""
