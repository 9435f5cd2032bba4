"""Real engines: commands as processes of their own, clusters of real daemons, and kills."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from rdl_cli.commands.reproduce.status import list_job_states
from rdl_cli.core.errors import UserError

RECIPE = """
title = "engines"
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
epochs = 4
train_size = 300
batch_size = 10
lr = 0.1
seeds = "0..1"
[methods.baseline]
tune.lr = [0.01, 0.1]
[methods.rdl]
targets = "store"
match = ["pool1", "fc"]
[tuning]
epochs = 2
[figures]
methods = ["baseline"]
layers = ["fc"]
per_class = 1
"""


class Command:
    """`rdl reproduce` in a folder, as a process of its own with one thread."""

    def __init__(self, folder: Path, **environment: str):
        self.folder, self.out = folder, folder / "out"
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        (folder / "recipe.toml").write_text(RECIPE)

    def start(self, *options: str) -> subprocess.Popen:
        words = ["reproduce", "recipe.toml", "--out", "out", *options]
        return subprocess.Popen(
            [sys.executable, "-m", "rdl_cli", *words],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *options: str, timeout: float = 400) -> tuple[int, str]:
        """Return the exit code and stderr."""
        process = self.start(*options)
        _, text = process.communicate(timeout=timeout)
        return process.returncode, text

    def states(self) -> dict[str, str]:
        try:
            return {state.name: state.state for state in list_job_states(self.out)}
        except UserError:
            return {}

    def wait_for(self, state: str, process: subprocess.Popen | None = None) -> None:
        """Wait until a run is in this state."""
        wait_until(
            lambda: (
                state in self.states().values()
                or (process is not None and process.poll() is not None)
            )
        )

    def results(self) -> dict[str, bytes]:
        """Return all that must not depend on the engine: results, weights and predictions.

        The HTML report names the command and times.
        """
        files = [
            path
            for path in self.out.rglob("*")
            if path.is_file()
            and path.suffix != ".html"
            and (
                path.name in ("model.safetensors", "predictions.h5")
                or path.parent.name == "results"
            )
        ]
        return {str(path.relative_to(self.out)): path.read_bytes() for path in files}

    def hidden_files(self) -> list[str]:
        return [path.name for path in self.out.rglob(".*")]


def wait_until(happened: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def kill_group(process: subprocess.Popen) -> None:
    """Kill a process with all its children."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)
    if process.stderr:
        process.stderr.close()


@pytest.fixture(scope="session")
def engines(tmp_path_factory) -> SimpleNamespace:
    """`command(folder)`, `reference` (all results without an engine), and helpers."""
    reference = Command(tmp_path_factory.mktemp("reference"))
    code, text = reference.run()
    assert code == 0, text
    return SimpleNamespace(
        command=Command,
        reference=reference.results(),
        wait_until=wait_until,
        kill_group=kill_group,
    )


@pytest.fixture
def command(tmp_path, engines) -> Command:
    return engines.command(tmp_path)
