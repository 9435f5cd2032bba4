"""The report of runs: what it shows, and of runs whose networks cannot be read."""

import json
import sys

import numpy as np
import pytest

from rdl_cli.commands.compare.compare import compare
from rdl_cli.commands.report.report import write_comparison_report
from rdl_cli.core.errors import UserError
from rdl_cli.core.frames import make_frame
from rdl_cli.runs.run import Run

N = 200
LABELS = np.arange(N) % 10
DIGESTS = np.array([f"{i:064x}" for i in range(N)], dtype="S64")


@pytest.fixture
def runs(tmp_path):
    """Two methods of three seeds, with an error each 10 and 20 images; no network is stored."""
    for method, step in (("rdl <a>", 20), ("task & b", 10)):
        for seed in range(3):
            run = Run(tmp_path / method / f"seed{seed}")
            run.path.mkdir(parents=True)
            run.write_config({"network": "mnist-cnn", "seed": seed, "label": method, "lr": step})
            run.write_provenance(
                {
                    "parents": [],
                    "command": f"rdl train-student '{method}'",
                    "made": "2026",
                    "versions": {"python": "3"},
                }
            )
            rows = [
                {
                    "epoch": e,
                    "train_error": 0.5 / (e + 1),
                    "validation_error": 0.4 / (e + 1),
                    "grad_fraction/task": 0.75,
                    "grad_fraction/rdl/fc": 0.25,
                }
                for e in range(3)
            ]
            run.write_metrics(rows)
            run.weights.write_bytes(b"no network")
            predicted = LABELS.copy()
            predicted[seed::step] = (predicted[seed::step] + 1) % 10
            logits = np.eye(10)[predicted]
            run.write_predictions(DIGESTS, LABELS, {"final": logits, "best": logits})
    return [tmp_path / "rdl <a>", tmp_path / "task & b"]


def write(runs, tmp_path, **options):
    comparison = compare(runs, primary=("task & b", "rdl <a>"))
    path = tmp_path / "report.html"
    write_comparison_report(path, comparison, runs, "rdl compare", **options)
    return comparison, path.read_text(encoding="utf-8")


def test_write_comparison_report_shows_errors_pairs_curves_terms_settings_and_commands(
    runs, tmp_path
):
    comparison, html = write(runs, tmp_path)
    for title in (
        *("Question", "Errors", "Methods against one another", "Learning curves"),
        *("Gradient of each loss term", "Settings", "Provenance"),
    ):
        assert f">{title}</h2>" in html
    assert "rdl &lt;a&gt;" in html and "rdl <a>" not in html and "task &amp; b" in html
    assert "Declared before the runs: task &amp; b − rdl &lt;a&gt;." in html
    pair = comparison.method_pairs[0]
    assert f"{100 * pair.smallest_detectable:.2f}" in html
    assert "rdl train-student &#39;task &amp; b&#39;" in html
    assert "rdl/fc, epoch 3: 0.25" in html


def test_write_comparison_report_explains_why_rdms_are_missing(runs, tmp_path):
    _, html = write(runs, tmp_path, layers=["fc"])
    assert "RDMs are not shown:" in html and '<svg class="rdm"' not in html


def test_write_comparison_report_is_the_same_for_the_same_runs(runs, tmp_path):
    assert write(runs, tmp_path)[1] == write(runs, tmp_path)[1]


def test_to_frame_has_the_records_of_a_table(runs):
    comparison = compare(runs)
    frame = comparison.to_frame()
    assert frame["errors"].tolist() == [run.errors for run in comparison.runs]
    assert comparison.to_frame("method_pairs")["p"].item() == comparison.method_pairs[0].p
    json.loads(comparison.to_frame("methods").to_json())


def test_make_frame_without_pandas_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UserError, match="pandas is not installed") as error:
        make_frame({"runs": []}, "runs")
    assert error.value.hint == "pip install pandas"


def test_repr_html_of_a_comparison_is_tables_without_script(runs):
    html = compare(runs)._repr_html_()
    assert html.count("<table>") == 4 and "rdl &lt;a&gt;" in html and "<script" not in html
