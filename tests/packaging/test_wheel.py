"""A wheel, installed in an environment of its own, runs a recipe with all its files.

The environment borrows the installed dependencies (torch alone takes gigabytes) through a .pth
file; rdl itself comes from the wheel. pip fetches the build backend, so the test needs a network.
"""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_wheel_in_a_clean_environment_runs_a_recipe(tmp_path):
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    wheels = tmp_path / "wheels"
    subprocess.run([*pip, "wheel", "--no-deps", "-w", wheels, ROOT], check=True)
    (wheel,) = wheels.glob("rdl-*.whl")

    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    subprocess.run([*pip, "--python", python, "install", "--no-deps", wheel], check=True)
    query = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = run([python, "-c", query], tmp_path).strip()
    (Path(site) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    where = run([python, "-c", "import rdl_cli; print(rdl_cli.__file__)"], tmp_path)
    assert Path(where.strip()).is_relative_to(site), "rdl is that of the wheel"
    rdl = python.with_name("rdl")
    versions = run([rdl, "--version"], tmp_path)
    assert f"rdl {wheel.name.split('-')[1]}" in versions.splitlines() and "\ntorch " in versions
    run([rdl, "reproduce", "digits", "--quick", "--out", "digits"], tmp_path)
    results = {path.name for path in (tmp_path / "digits/results").iterdir()}
    assert {"results.md", "report.html", "compare.csv"} <= results


def run(command, folder):
    """Return what a command prints; outside the checkout, without its path."""
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
