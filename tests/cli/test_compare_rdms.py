"""A comparison of representations on a terminal, as CSV and as JSON."""

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
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_compare_rdms_prints_values_intervals_and_ceilings(path):
    text = run(path, "--n-resamples", 30, "--measure", "spearman", "--measure", "pearson").stdout
    for part in (
        "8 stimuli, aligned by digest",
        "spearman (n=8)",
        "pearson (n=8)",
        "Pairs",
        "Noise ceilings",
        "Holm",
        "30 orders of the stimuli",
    ):
        assert part in text
    assert "b or a" not in text


def test_compare_rdms_prints_what_is_known_of_a_representation(tmp_path):
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


def test_compare_rdms_names_too_few_resamples(path):
    layers = "IT@a,IT@b,IT@c,model"
    assert (
        "None of 6 pairs can get below 0.19"
        in run(path, "--n-resamples", 30, "--layers", layers).stdout
    )
    assert "None of" not in run(path, "--n-resamples", 130, "--layers", layers).stdout


def test_compare_rdms_json_and_csv_are_the_same(path):
    result = json.loads(run(path, "--n-resamples", 30, "--json").stdout)
    rows = list(csv.DictReader(io.StringIO(run(path, "--n-resamples", 30, "--csv").stdout)))
    (pair,), (ceiling,) = result["tables"][0]["pairs"], result["tables"][0]["ceilings"]
    assert [row["table"] for row in rows] == ["pair", "ceiling"]
    for key in ("value", "low", "high", "p", "p_holm"):
        assert float(rows[0][key]) == pair[key]
    assert (float(rows[1]["low"]), float(rows[1]["high"])) == (ceiling["lower"], ceiling["upper"])
    assert (rows[0]["first"], rows[0]["second"], rows[0]["n_subjects"], rows[0]["n_stimuli"]) == (
        "IT",
        "model",
        "4",
        "8",
    )


def test_compare_rdms_csv_has_a_row_for_each_difference(path):
    arguments = ("--n-resamples", 30, "--layers", "IT,IT@a,model", "--reference", "IT")
    rows = list(csv.DictReader(io.StringIO(run(path, *arguments, "--csv").stdout)))
    kinds = [row["table"] for row in rows]
    assert kinds == ["pair"] * 3 + ["difference", "ceiling"] + ["explained"] * 3
    table = json.loads(run(path, *arguments, "--json").stdout)["tables"][0]
    for key in ("low", "high", "p", "p_holm"):
        assert float(rows[3][key]) == table["differences"][0][key]
    assert float(rows[3]["value"]) == table["differences"][0]["difference"]
    assert rows[3]["reference"] == "IT" and rows[0]["n_pairs"] == "28"
    assert float(rows[-1]["value"]) == table["explained"][0]["unique"][1]
    text = run(path, *arguments).stdout
    assert "Differences of similarities to a reference" in text and "Explained variance" in text


def test_compare_rdms_without_resamples_has_no_tests(path):
    result = run(path, "--n-resamples", 0)
    assert (
        "Pairs" not in result.stdout
        and "bootstrap" not in result.stdout
        and "spearman (n=8)" in result.stdout
    )
    (pair,) = json.loads(run(path, "--n-resamples", 0, "--json").stdout)["tables"][0]["pairs"]
    assert pair["p"] is None and pair["low"] is None


def test_compare_rdms_prints_bayesian_settings(path, tmp_path):
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


def test_compare_rdms_prints_a_self_check(path):
    result = run(path, "--self-check", "--measure", "spearman", "--measure", "cosine")
    assert (
        result.exit_code == 0
        and "pass" in result.stdout
        and "sensitive" in result.stdout
        and "Every measure gives" in result.stdout
    )
    checks = json.loads(run(path, "--self-check", "--json").stdout)
    assert checks["passed"] and {check["copy"] for check in checks["checks"]} == {
        "identical",
        "scaled",
        "offset",
    }
    assert run(path, "--self-check", "--csv").stdout.startswith(
        "layer,measure,copy,value,expected,deviation,passed\n"
    )


def test_compare_rdms_exits_with_1_after_a_failed_self_check(path, monkeypatch):
    monkeypatch.setattr(
        "rdl_cli.commands.compare_rdms.self_check.compare_with_copy", lambda *_: 0.5
    )
    result = run(path, "--self-check")
    assert result.exit_code == 1 and "FAIL" in result.stdout and "Not every" in result.stdout


def test_compare_rdms_refuses_two_formats(path):
    with pytest.raises(UserError, match="--json and --csv"):
        run(path, "--json", "--csv")


def test_compare_rdms_help_imports_no_torch():
    code = "import sys; import rdl_cli.cli.compare_rdms; assert 'torch' not in sys.modules, 'torch'"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
