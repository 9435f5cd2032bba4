"""What a comparison of representations looks like on a terminal, in a pipe and in a program."""

import csv
import io
import json
import subprocess
import sys

import numpy as np
import pytest
import typer
from scipy.spatial.distance import pdist
from typer.testing import CliRunner

from rdl_cli.cli.compare_rdms import compare_rdms
from rdl_cli.core.errors import UserError
from rdl_cli.store.layout import ActivationSpec, KernelSpec, RdmSpec
from rdl_cli.store.store import Stimuli
from rdl_cli.store.writer import create_store

N = 8


@pytest.fixture
def path(tmp_path):
    rng = np.random.default_rng(0)
    truth = rng.random(N * (N - 1) // 2)
    specs = [
        RdmSpec("IT", 4, "float64", "correlation", "IT", "", tuple("abcd")),
        RdmSpec("model", 1, "float64", "sqeuclidean"),
    ]
    with create_store(
        tmp_path / "s.h5", Stimuli(np.array([f"{k:064x}" for k in range(N)], "S64")), {}, specs, "f"
    ) as writer:
        for spec in specs:
            for k in range(spec.count):
                writer.write_rdm(spec.name, k, 0, truth + 0.2 * rng.random(truth.shape))
    return tmp_path / "s.h5"


def run(*arguments):
    app = typer.Typer()
    app.command()(compare_rdms)
    found = CliRunner().invoke(app, [str(a) for a in arguments])
    if found.exception and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found


def test_a_person_reads_values_intervals_and_ceilings(path):
    text = run(path, "--n-resamples", 30, "--measure", "spearman", "--measure", "pearson").stdout
    for part in (
        "8 stimuli, aligned by digest",
        "spearman (n=8)",
        "pearson (n=8)",
        "Pairs",
        "Noise ceilings",
        "Holm",
        "30 bootstrap draws",
    ):
        assert part in text
    assert "b or a" not in text


def test_a_person_reads_what_is_known_of_a_representation(tmp_path):
    x = np.random.default_rng(0).normal(size=(N, 5)).astype(np.float32)
    specs = [
        KernelSpec("sums", "float32", "mse", 5),
        ActivationSpec("patterns", (5,), "float32", ("identity",), "mse"),
    ]
    with create_store(
        tmp_path / "s.h5", Stimuli(np.array([f"{k:064x}" for k in range(N)], "S64")), {}, specs, "f"
    ) as writer:
        writer.write_kernel("sums", 0, (x @ x.T)[np.triu_indices(N)])
        writer.write("patterns", 0, x)
    lines = [
        line.split() for line in run(tmp_path / "s.h5", "--n-resamples", 0).stdout.splitlines()
    ]
    assert ["sums", "kernel", "mse", "1"] in lines and [
        "patterns",
        "activations",
        "mse",
        "1",
    ] in lines


def test_too_few_draws_for_so_many_pairs_are_said(path):
    layers = "IT@a,IT@b,IT@c,model"
    assert (
        "None of 6 pairs can get below 0.19"
        in run(path, "--n-resamples", 30, "--layers", layers).stdout
    )
    assert "None of" not in run(path, "--n-resamples", 130, "--layers", layers).stdout


def test_json_and_csv_hold_the_same(path):
    found = json.loads(run(path, "--n-resamples", 30, "--json").stdout)
    rows = list(csv.DictReader(io.StringIO(run(path, "--n-resamples", 30, "--csv").stdout)))
    (pair,), (ceiling,) = found["tables"][0]["pairs"], found["tables"][0]["ceilings"]
    assert [row["table"] for row in rows] == ["pair", "ceiling"]
    for key in ("value", "low", "high", "p", "holm"):
        assert float(rows[0][key]) == pair[key]
    assert (float(rows[1]["low"]), float(rows[1]["high"])) == (ceiling["lower"], ceiling["upper"])
    assert (rows[0]["first"], rows[0]["second"], rows[0]["subjects"], rows[0]["n"]) == (
        "IT",
        "model",
        "4",
        "8",
    )


def test_without_draws_there_is_no_chance(path):
    found = run(path, "--n-resamples", 0)
    assert (
        "Pairs" not in found.stdout
        and "bootstrap" not in found.stdout
        and "spearman (n=8)" in found.stdout
    )
    (pair,) = json.loads(run(path, "--n-resamples", 0, "--json").stdout)["tables"][0]["pairs"]
    assert pair["p"] is None and pair["low"] is None


def test_bayesian_values_are_shown_with_all_they_depend_on(path, tmp_path):
    rng = np.random.default_rng(1)
    specs = [RdmSpec(name, 1, "float64", "sqeuclidean") for name in ("near", "far")]
    with create_store(
        tmp_path / "models.h5",
        Stimuli(np.array([f"{k:064x}" for k in range(N)], "S64")),
        {},
        specs,
        "f",
    ) as writer:
        for spec in specs:
            writer.write_rdm(spec.name, 0, 0, pdist(rng.normal(size=(N, 3)), "sqeuclidean"))
    text = run(tmp_path / "models.h5", "--n-resamples", 0, "--measure", "skl:center=stimuli").stdout
    assert (
        "skl:center=stimuli (n=8, b=0.01, a=0.0740741, center=stimuli)" in text
        and "n, b or a can't be compared" in text
    )
    assert "b or a" not in run(path, "--n-resamples", 0).stdout


def test_the_self_check_passes_and_says_so(path):
    found = run(path, "--self-check", "--measure", "spearman", "--measure", "cosine")
    assert (
        found.exit_code == 0
        and "pass" in found.stdout
        and "sees it" in found.stdout
        and "Every measure gives" in found.stdout
    )
    checks = json.loads(run(path, "--self-check", "--json").stdout)
    assert checks["passed"] and {check["copy"] for check in checks["checks"]} == {
        "identical",
        "scaled",
        "offset",
    }
    assert run(path, "--self-check", "--csv").stdout.startswith(
        "layer,measure,copy,found,expected,deviation,passed\n"
    )


def test_a_failed_self_check_is_an_exit_code(path, monkeypatch):
    monkeypatch.setattr("rdl_cli.commands.compare_rdms.self_check.compare_with_copy", lambda *_: 0.5)
    found = run(path, "--self-check")
    assert found.exit_code == 1 and "FAIL" in found.stdout and "Not every" in found.stdout


def test_two_ways_to_print_are_refused(path):
    with pytest.raises(UserError, match="--json and --csv"):
        run(path, "--json", "--csv")


def test_nothing_imports_torch_before_it_is_needed():
    code = "import sys; import rdl_cli.cli.compare_rdms; assert 'torch' not in sys.modules, 'torch'"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
