"""A small recipe, and the same run whole for comparison."""

from pathlib import Path
from types import SimpleNamespace

import pytest

SMALL = """
title = "small"
[teacher]
dataset = "digits"
network = "mnist-cnn:width=0.125"
epochs = 3
batch_size = 20
lr = 0.1
[store]
layers = ["pool1", "fc"]
[students]
dataset = "digits"
network = "mnist-cnn:width=0.125"
epochs = 2
train_size = 300
batch_size = 10
lr = 0.1
[methods.baseline]
tune.lr = [0.01, 0.1]
[methods.rdl]
targets = "store"
match = ["pool1", "fc"]
seeds = "3..4"
[tuning]
epochs = 1
[figures]
layers = ["pool1", "logits"]
per_class = 3
[quick.students]
epochs = 1
[paper]
baseline = 0.63
"""

LIKE = """
[students]
dataset = "digits"
network = "mnist-cnn:width=0.25"
batch_size = 10
epochs = 2

[methods.few]
train_size = 200
tune.lr = [0.0, 0.1]

[methods.more]
like = "few"
train_size = 100

[tuning]
epochs = 2
"""

RUN = """
from pathlib import Path
import os
os.chdir(here)
from rdl_cli.cli.reproduce import reproduce
reproduce("small.toml", Path("out"), **options)
"""


@pytest.fixture(scope="session")
def recipes() -> SimpleNamespace:
    """The recipes of these tests, and the code that runs `small.toml` in a process of its own."""
    return SimpleNamespace(small=SMALL, like=LIKE, run=RUN, tables=tables)


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """`recipe(text)` writes mine.toml into the current folder, and returns its name."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> str:
        (tmp_path / "mine.toml").write_text(text)
        return "mine.toml"

    return write


@pytest.fixture(scope="session")
def whole(elsewhere, tmp_path_factory) -> Path:
    """A folder in which SMALL ran to its end without a pause, in one process."""
    here = tmp_path_factory.mktemp("whole")
    (here / "small.toml").write_text(SMALL)
    assert elsewhere(RUN, here=str(here), options={}) == 0
    return here


def tables(here: Path) -> dict[str, bytes]:
    """Return the results that have to be equal, figures and predictions among them, by name.

    JSON and the HTML report name commands and times.
    """
    return {
        path.name: path.read_bytes()
        for path in (here / "out/results").iterdir()
        if path.suffix not in (".json", ".html")
    }
