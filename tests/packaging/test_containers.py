"""The containers install as the README does, on the lowest supported Python."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONTAINERS = ("Dockerfile", "apptainer.def")


def install_commands(name):
    return set(re.findall(r"pip install (?:[\w.\[\],-]+)", (ROOT / name).read_text("utf-8")))


@pytest.mark.parametrize("name", CONTAINERS)
def test_container_installs_as_the_readme_does(name):
    assert install_commands(name) == install_commands("README.md") == {"pip install ."}


@pytest.mark.parametrize("name", CONTAINERS)
def test_container_has_the_lowest_python(name):
    lowest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    (version,) = re.findall(r"python:([\d.]+)-slim", (ROOT / name).read_text("utf-8"))
    assert lowest == f">={version}"


@pytest.mark.parametrize("name", CONTAINERS)
def test_container_runs_the_program(name):
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    start = re.search(r'ENTRYPOINT \["(\w+)"\]|exec (\w+) "\$@"', (ROOT / name).read_text("utf-8"))
    assert (start[1] or start[2]) in scripts
