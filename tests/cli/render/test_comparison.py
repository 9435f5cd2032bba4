"""A comparison on a terminal, in a pipe, as LaTeX, CSV and JSON."""

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from rdl_cli.cli.compare import Epoch
from rdl_cli.cli.compare import compare as command
from rdl_cli.cli.render import comparison as tables
from rdl_cli.cli.render.latex import to_latex
from rdl_cli.commands.compare.compare import Comparison, compare
from rdl_cli.core.errors import UserError
from rdl_cli.runs.run import EPOCHS, Run

N = 200
NASTY = r"50%_R&D #1 {~^\$} [bold]"


def write(place: Path, wrong: int, **config: object) -> Path:
    """Write a run with errors on the first `wrong` images."""
    place.mkdir(parents=True)
    labels = np.arange(N) % 10
    logits = np.eye(10)[np.where(np.arange(N) < wrong, (labels + 1) % 10, labels)]
    run = Run(place)
    run.write_config({"seed": 0} | config)
    run.write_provenance({"parents": []})
    run.write_predictions(
        np.array([f"{i:064x}" for i in range(N)], dtype="S64"),
        labels,
        {"final": logits, "best": logits},
    )
    return place


@pytest.fixture
def single(tmp_path: Path) -> Comparison:
    """Compare runs with exact p 0.0039 (Holm 0.012), 0.031 (0.0625) and 0.25."""
    return compare(
        [
            write(tmp_path / "baseline", 9),
            write(tmp_path / "x", 0, label=NASTY),
            write(tmp_path / "hints", 3, network="hints"),
        ],
    )


@pytest.fixture
def several(tmp_path: Path) -> Comparison:
    wrong = {"baseline": (20, 22, 21), "rdl": (2, 3, 4), "teacher": (5,)}
    return compare(
        [
            write(tmp_path / m / f"seed{s}", n, seed=s, method=m)
            for m, counts in wrong.items()
            for s, n in enumerate(counts)
        ]
    )


def text(comparison: Comparison, width: int = 10_000) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(tables.to_rich(comparison))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def cells(comparison: Comparison, row: str) -> list[str]:
    """Return the cells of a row of the matrix, of each the first line."""
    matrix = text(comparison).split(
        "McNemar's exact p" if comparison.one_run_each else "Pairs of methods"
    )[1]
    below_header = re.split("─{3,}", matrix)[1].splitlines()
    return re.split(
        r"  +", next(line for line in below_header if line.strip().startswith(row)).strip()
    )


def test_to_rich_arrows_point_to_the_better_method(single: Comparison) -> None:
    """Above the diagonal `↑`: the column's is better; its mirror image `←`: the row's is."""
    assert cells(single, "baseline") == ["baseline", "—", "0.0039 ↑*", "0.031 ↑"]
    assert cells(single, NASTY) == [NASTY, "0.0039 ←*", "—", "0.25"]
    assert cells(single, "hints") == ["hints", "0.031 ←", "0.25", "—"]


def test_to_rich_prints_counts_and_intervals(single: Comparison) -> None:
    printed = text(single)
    assert "Test error on 200 images, final epoch" in printed
    pair = single.pairs[1]
    assert re.search(
        r"baseline +hints +0 +6 +0\.031 +0\.016 +0\.062 +↑ +-3\.00 \[-6\.[0-9]+, -[0-9.]+\]",
        printed,
    )
    assert f"[{100 * pair.low:+.2f}, {100 * pair.high:+.2f}]" in printed
    assert re.search(r"hints +0 +3 +1\.50 +\[0\.31, 4\.32\]", printed)
    assert "[bold]" in printed  # a name is no markup


def test_to_rich_compares_methods_over_seeds(several: Comparison) -> None:
    printed = text(several)
    assert re.search(r"baseline +3 +10\.50 ± 0\.50", printed)
    assert re.search(r"teacher +1 +2\.50\n", printed.replace(" \n", "\n"))
    pair = tables.find_pair(several, "rdl", "baseline")
    assert "p <0.001 ↑*" in printed and pair.winner == "rdl"
    assert "↑* rdl − baseline: -9.00 points [" in printed
    assert "+9.00 [" in printed  # below the diagonal the sign turns
    assert "for one network of teacher" in printed
    assert "80 % power at" in printed and "limit of these images" in printed


def test_renderers_show_a_single_run_without_pairs(tmp_path: Path) -> None:
    comparison = compare([write(tmp_path / "only", 3)])
    assert "only" in text(comparison)
    assert "↑" not in text(comparison)
    assert to_latex(comparison).count(r"\begin{tabular}") == 1
    assert [row["table"] for row in csv.DictReader(io.StringIO(tables.to_csv(comparison)))] == [
        "run",
        "method",
    ]


def test_to_rich_folds_on_narrow_terminals(single: Comparison) -> None:
    narrow = text(single, width=60)
    assert max(map(len, narrow.splitlines())) <= 60
    assert "…" not in narrow


def test_to_csv_is_one_table_with_everything(several: Comparison) -> None:
    rows = list(csv.DictReader(io.StringIO(tables.to_csv(several))))
    by_kind = {
        kind: [row for row in rows if row["table"] == kind]
        for kind in ("run", "pair", "method", "method_pair")
    }
    assert [len(kind) for kind in by_kind.values()] == [7, 21, 3, 3]
    assert all(
        None not in row and None not in row.values() for row in rows
    )  # no row is longer or shorter than the header
    for row, pair in zip(by_kind["pair"], several.pairs, strict=True):
        assert (int(row["b"]), int(row["c"])) == (pair.b, pair.c)
        for field in ("p_exact", "p_mid", "p_holm", "difference", "low", "high"):
            assert float(row[field]) == getattr(pair, field)
        significant = str(pair.significant_after_holm)
        assert (row["winner"] or None, row["significant_after_holm"]) == (pair.winner, significant)
    assert [float(row["rate"]) for row in by_kind["run"]] == [run.rate for run in several.runs]
    assert [Path(row["first_path"]).name for row in by_kind["run"]] == [
        "seed0",
        "seed1",
        "seed2",
    ] * 2 + ["seed0"]
    assert [float(row["p"]) for row in by_kind["method_pair"]] == [
        pair.p for pair in several.method_pairs
    ]
    assert by_kind["method"][2]["sd"] == ""


def test_to_json_is_the_result(several: Comparison) -> None:
    assert json.loads(tables.to_json(several)) == json.loads(json.dumps(several.as_dict()))


@pytest.mark.parametrize("which", ["single", "several"])
def test_to_latex_is_well_formed(which: str, request: pytest.FixtureRequest) -> None:
    source = to_latex(request.getfixturevalue(which))
    assert source.isascii()
    bare = re.sub(r"\\[\\&%$#_{}]", "", source)  # escaped signs aside, what is left must balance
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    assert "%" not in bare and "#" not in bare
    for columns, body in re.findall(
        r"\\begin{tabular}{(\w+)}(.*?)\\end{tabular}", source, re.DOTALL
    ):
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert len(rows) > 3
        assert all(len(re.findall(r"(?<!\\)&", row)) == len(columns) - 1 for row in rows)


def test_to_latex_escapes_names_and_draws_arrows(single: Comparison, several: Comparison) -> None:
    source = to_latex(single)
    assert (
        r"50\%\_R\&D \#1 \{\textasciitilde{}\textasciicircum{}\textbackslash{}\$\} [bold]" in source
    )
    assert r"baseline & --- & $0.0039 \uparrow^{*}$ & $0.031 \uparrow$ \\" in source
    assert r"hints & $0.031 \leftarrow$ & $0.25$ & --- \\" in source
    assert r"baseline & 10.50 $\pm$ 0.50 (3) \\" in to_latex(several)


def test_to_rich_with_a_baseline_has_its_row_alone(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / name, wrong, network=name)
        for name, wrong in (("a", 9), ("b", 0), ("c", 3))
    ]
    comparison = compare(paths, baseline="c")
    assert cells(comparison, "c") == ["c", "—", "0.031 ←", "0.25"]
    assert "over 2 exploratory pairs" in text(comparison)
    assert to_latex(comparison).count("---") == 1


def test_legend_counts_the_exploratory_pairs(single: Comparison) -> None:
    assert "Holm's correction over 3 exploratory pairs" in tables.legend(single)


def test_epoch_option_is_that_of_runs() -> None:
    assert tuple(Epoch) == EPOCHS


class TestCommand:
    """`rdl compare` itself; the exit code for a UserError is main's."""

    runner = CliRunner()

    def invoke(self, *arguments: object) -> str:
        app = typer.Typer()
        app.command()(command)
        result = self.runner.invoke(
            app, [str(argument) for argument in arguments], catch_exceptions=False
        )
        assert result.exit_code == 0, result.output
        assert result.stderr == ""
        return result.stdout

    def test_formats_replace_the_table(self, tmp_path: Path) -> None:
        paths = [
            write(tmp_path / name, wrong, network=name) for name, wrong in (("a" * 90, 9), ("b", 0))
        ]
        comparison = compare(paths)
        assert self.invoke(*paths, "--json") == tables.to_json(comparison)
        assert self.invoke(*paths, "--csv") == tables.to_csv(comparison)
        assert self.invoke(*paths, "--latex") == to_latex(comparison)
        printed = self.invoke(*paths)
        assert "\x1b" not in printed
        assert re.search(rf"{'a' * 90} +0 +9 +4\.50", printed)  # a pipe is not cut at 80 characters

    def test_the_best_epoch_is_asked_for_and_named(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a", 1)
        assert "best epoch" in self.invoke(path, "--epoch", "best")
        assert json.loads(self.invoke(path, "--epoch", "best", "--json"))["epoch"] == "best"

    def test_two_formats_at_once_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="exclude one another"):
            command([write(tmp_path / "a", 1)], json=True, csv=True)
