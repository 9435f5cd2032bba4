"""Names of files cannot act on a terminal or in a spreadsheet."""

import csv
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from rdl_cli.cli.render.tables import add_row, empty_table
from rdl_cli.commands.console import SafeConsole
from rdl_cli.core.safe_text import CONTROLS, escape_controls, format_csv, quote_formula

HOSTILE = [
    "\x1b[31mred",
    "a\x9b2Jb",
    "bell\x07",
    "\x1b]0;title\x07",
    "back\x08",
    "\u202etxt",
    "\x7f",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_escape_controls_leaves_none_and_loses_none(text):
    escaped = escape_controls(text)
    assert not CONTROLS.search(escaped) and escaped != text
    assert escaped.encode().decode("unicode_escape") == text


def test_escape_controls_keeps_ordinary_text():
    text = "Müsli, Käse\tand 猫\n"
    assert escape_controls(text) == text


@pytest.mark.parametrize("text", HOSTILE)
def test_safe_console_never_prints_a_control_character(text):
    table: Table = empty_table(text, text, text)
    add_row(table, text, text)
    for printed in (text, Text(text), table):
        out = io.StringIO()
        SafeConsole(file=out, width=200).print(printed, markup=False)
        assert not CONTROLS.search(out.getvalue()), out.getvalue()


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-2+3", "@SUM(A1)", "\t=1", "=HYPERLINK(1)"])
def test_format_csv_quotes_what_a_spreadsheet_would_run(text):
    [row] = csv.DictReader(io.StringIO(format_csv(["name"], [{"name": text}])))
    assert row["name"] == "'" + escape_controls(text) or row["name"].startswith("'")


@pytest.mark.parametrize("value", ["-0.5", "+3", "IT", "", -0.5, None, True, "-inf", "1e-5"])
def test_quote_formula_keeps_numbers_and_names(value):
    assert quote_formula(value) == value


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        ("show nothing", {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}),
        ("show " + "a" * 300, {}),
        ("train-teacher " + "a" * 300 + " --dataset digits --epochs 1", {}),
        ("show M\xfcsli", {"PYTHONIOENCODING": "ascii"}),
        ("train-teacher r --dataset digits --epochs 0 --init x", {"WORLD_SIZE": "many"}),
    ],
)
def test_main_answers_in_one_line_in_odd_surroundings(words, environment, tmp_path):

    result = subprocess.run(
        [sys.executable, "-m", "rdl_cli", *words.split()],
        capture_output=True,
        cwd=tmp_path,
        env=os.environ | environment,
    )
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith(b"error: ") and b"Traceback" not in result.stderr
    assert not [*tmp_path.iterdir()]


def test_main_refuses_a_name_that_is_not_utf8(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "rdl_cli", "show", b"caf\xe9"], capture_output=True, cwd=tmp_path
    )
    assert result.returncode == 2 and b"is not UTF-8" in result.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/dev/full is of Linux")
@pytest.mark.parametrize("words", ["list objectives", "list objectives --json", "--version"])
def test_main_reports_a_full_stdout(words):
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "rdl_cli", *words.split()], stdout=full, stderr=subprocess.PIPE
        )
    assert result.returncode == 2, result.stderr
    assert result.stderr.decode().strip() == "error: No space left on device"
