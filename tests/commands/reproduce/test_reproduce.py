"""`reproduce`: tuning, tables and figures, and the same bytes after kills and on every engine."""

import csv
import signal
from pathlib import Path

import pytest

from rdl_cli.cli import reproduce as command
from rdl_cli.cli.render.report import render_results
from rdl_cli.commands.reproduce.figures import draw_figures
from rdl_cli.commands.reproduce.reproduce import (
    ExperimentOptions,
    list_run_commands,
    reproduce,
    run_one_job,
)
from rdl_cli.commands.reproduce.tuning import trial_path
from rdl_cli.core.errors import UserError
from rdl_cli.runs.run import Run

KILLED = -signal.SIGKILL

KILL = """
import os, signal
replace = os.replace
def kill_before(one, other, **kwargs):
    if str(other).endswith(part):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(one, other, **kwargs)
os.replace = os.rename = kill_before
"""


def test_reproduce_like_takes_options_and_the_chosen_setting(recipe, recipes, tmp_path):
    result = reproduce(ExperimentOptions(recipe(recipes.like), tmp_path / "out"))
    few, more = (Run(tmp_path / "out" / name).config for name in ("few", "more"))
    assert (few["train_size"], more["train_size"]) == (200, 100)
    assert few["lr"] == more["lr"] == 0.1, "a rate of 0 learns nothing and can't be chosen"
    assert not (tmp_path / "out" / "tuning" / "more").exists()
    drawn = {path.stem for path in draw_figures(result.recipe, tmp_path / "out", tmp_path)}
    assert drawn == {"curves", "labels"}, "the number of labels varies, and no layers are named"


def test_reproduce_a_diverged_trial_is_a_result(recipe, recipes, tmp_path):
    name = recipe(recipes.like.replace("[0.0, 0.1]", "[1e30, 0.1]"))
    result = reproduce(ExperimentOptions(name, tmp_path / "out"))
    assert [(t.settings["lr"], t.chosen) for t in result.tried] == [(1e30, False), (0.1, True)]
    assert result.tried[0].error == float("inf")
    assert "| few | lr = 1e+30 | diverged |  |" in render_results(result)
    name = recipe(recipes.like.replace("[0.0, 0.1]", "[1e30, 1e29]"))
    with pytest.raises(UserError, match="every setting that was tried for few diverged"):
        reproduce(ExperimentOptions(name, tmp_path / "again"))


def test_reproduce_a_failed_run_stops_only_those_that_need_it(recipe, recipes, tmp_path):
    diverging = recipes.small.replace("[methods.rdl]", "[methods.rdl]\nlr = 1e30")
    with pytest.raises(UserError, match=r"2 of 7 runs failed: rdl/seed3: .*; rdl/seed4: ") as error:
        reproduce(ExperimentOptions(recipe(diverging), tmp_path / "out"))
    assert "were not run" not in str(error.value)
    assert Run(tmp_path / "out/baseline").finished
    diverging = recipes.small.replace("lr = 0.1\n[store]", "lr = 1e30\n[store]")
    with pytest.raises(UserError, match=r"1 of 7 runs failed, and 3 that need them were not run"):
        reproduce(ExperimentOptions(recipe(diverging), tmp_path / "again"))
    assert Run(tmp_path / "again/baseline").finished


def test_reproduce_writes_tables_figures_and_predictions(whole):
    results = whole / "out/results"
    figures = ["curves", "map-correlation", "map-normalised", "rdms"]
    texts = ["compare.csv", "compare-best.csv", "compare.json", "results.md", "tuning.csv"]
    assert sorted(path.name for path in results.iterdir()) == sorted(
        [f"{name}.{suffix}" for name in figures for suffix in ("svg", "png")]
        + texts
        + ["predictions.npz", "report.html", "results.tex"]
    )
    page = (results / "results.md").read_text()
    for words in (
        "# small\n",
        "lowest validation error",
        "| baseline | 1 |",
        "| rdl | 2 |",
        "| 0.63 |",
        "lr = 0.01",
        "| chosen |",
    ):
        assert words in page
    assert max(path.stat().st_size for path in results.glob("*.svg")) < 500_000


def test_reproduce_tuning_table_holds_validation_errors(whole):
    rows = list(csv.DictReader((whole / "out/results/tuning.csv").read_text().splitlines()))
    assert [(row["method"], row["lr"]) for row in rows] == [
        ("baseline", "0.01"),
        ("baseline", "0.1"),
    ]
    for row in rows:
        run = Run(whole / f"out/tuning/baseline/lr={row['lr']}")
        assert float(row["validation_error"]) == float(run.metrics()[-1]["validation_error"])
        assert run.config["epochs"] == 1
    (chosen,) = (row for row in rows if row["chosen"] == "True")
    assert float(chosen["validation_error"]) == min(float(row["validation_error"]) for row in rows)
    assert Run(whole / "out/baseline").config["lr"] == float(chosen["lr"])


def test_trial_path_of_long_settings_is_a_digest():
    path = trial_path(Path("out"), "a", {"objective": ["x" * 300], "lr": 0.1})
    assert len(path.name) == 16
    path = trial_path(Path("out"), "a", {"lr": 0.1, "match": ["a/b"]})
    assert path == Path("out/tuning/a/lr=0.1,match=['a_b']")


def test_reproduce_seeds_of_a_trial_are_averaged(recipe, recipes, tmp_path):
    name = recipe(recipes.like.replace("[tuning]", '[tuning]\nseeds = "0..1"'))
    result = reproduce(ExperimentOptions(name, tmp_path / "out"))
    folders = sorted((tmp_path / "out/tuning/few").iterdir())
    for trial, path in zip(result.tried, folders, strict=True):
        errors = [
            float(Run(path / f"seed{seed}").metrics()[-1]["validation_error"]) for seed in (0, 1)
        ]
        assert trial.error == pytest.approx(sum(errors) / 2)


PARTS = (
    "teacher/checkpoint.pt",
    "teacher/predictions.h5",
    "store.h5",
    "lr=0.1/model.safetensors",
    "baseline/metrics.csv",
    "seed3/config.toml",
    "seed4/predictions.h5",
    "results/results.md",
    "results/compare.csv",
    "results/map-correlation.svg",
    "results/predictions.npz",
)


@pytest.mark.slow
def test_reproduce_killed_before_many_files_ends_with_the_same_tables(
    whole, recipes, elsewhere, tmp_path
):
    (tmp_path / "small.toml").write_text(recipes.small)
    names = {"here": str(tmp_path), "options": {}}
    for part in PARTS:
        code = elsewhere(KILL + recipes.run, part=part, **names)
        assert code == KILLED, f"{part} existed already, or was never written"
    assert elsewhere(recipes.run, **names) == 0
    assert recipes.tables(tmp_path) == recipes.tables(whole)
    hidden = [path.name for path in (tmp_path / "out").rglob(".*")]
    assert not hidden, f"left behind: {hidden}"


def test_reproduce_keeps_finished_runs(whole, recipes, monkeypatch):
    monkeypatch.chdir(whole)
    times = {
        path: path.stat().st_mtime_ns
        for path in Path("out").rglob("*")
        if path.is_file() and path.parent.name != "results"
    }
    tables_before = recipes.tables(whole)
    command.reproduce("small.toml", Path("out"))
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert recipes.tables(whole) == tables_before


def test_run_one_job_in_the_listed_order_makes_the_same_runs(whole, recipe, recipes, tmp_path):
    options = ExperimentOptions(recipe(recipes.small), Path("out"), data_root="some data")
    commands = list_run_commands(options)
    assert commands[0] == (
        "rdl reproduce mine.toml --out out --data-root 'some data' --run teacher"
    )
    names = [line.partition("  #")[0].split(" --run ")[1] for line in commands]
    options = ExperimentOptions("mine.toml", Path("out"))
    with pytest.raises(UserError, match=r"rdl/seed3 needs store.h5, which is not finished"):
        run_one_job(options, "rdl/seed3")
    with pytest.raises(UserError, match=r"no run in this recipe `rdl/seed5`; did you mean"):
        run_one_job(options, "rdl/seed5")
    for name in names:
        run_one_job(options, name)
    for name in ("teacher", "baseline", "rdl/seed3", "rdl/seed4"):
        one, other = (path / "out" / name / "model.safetensors" for path in (tmp_path, whole))
        assert one.read_bytes() == other.read_bytes()


def test_draw_figures_without_teacher_uses_the_named_layers(recipe, tmp_path):
    text = (
        '[students]\ndataset = "digits"\nepochs = 1\ntrain_size = 50\n'
        'network = "mnist-cnn:width=0.1"\n[methods.a]\n[methods.b]\nlr = 0.1\n'
    )
    out = tmp_path / "out"
    result = reproduce(ExperimentOptions(recipe(text), out))
    (out / "results").mkdir()
    drawn = draw_figures(result.recipe, out, out / "results")
    assert [path.stem for path in drawn] == ["curves"] * 2
    text += '[figures]\nlayers = ["fc"]\nmethods = ["b"]\nper_class = 1'
    result = reproduce(ExperimentOptions(recipe(text), out))
    drawn = draw_figures(result.recipe, out, out / "results")
    names = ("curves", "rdms", "map-correlation", "map-normalised")
    assert [path.stem for path in drawn] == [name for name in names for _ in range(2)]
    assert all(path.is_file() for path in drawn)
