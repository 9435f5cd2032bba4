"""A kill before each call that changes a file, in a worker and in the command itself.

The calls are Python's audit events: opening to write, renaming, removing, making a folder. By
default every tenth is tried; RDL_KILL_STRIDE=1 tries all of them, in an hour or two.
"""

import os
import signal
from pathlib import Path

import pytest

from rdl_cli.core.files import write_text

STRIDE = int(os.environ.get("RDL_KILL_STRIDE", "10"))

TINY = """
[teacher]
dataset = "digits"
network = "mnist-cnn:width=0.125"
epochs = 1
lr = 0.1
[store]
layers = ["fc"]
[students]
dataset = "digits"
network = "mnist-cnn:width=0.125"
epochs = 1
train_size = 100
batch_size = 50
[methods.baseline]
tune.lr = [0.01, 0.1]
[methods.rdl]
targets = "store"
match = ["fc"]
[figures]
methods = ["baseline"]
layers = ["fc"]
per_class = 1
"""

# runs in every Python process of the command, before anything else
SITE = """
import os, signal, sys
OUT, STATE = os.environ["KILL_OUT"], os.environ["KILL_STATE"]
ROLE, AT = os.environ["KILL_ROLE"], int(os.environ["KILL_AT"])
role = "worker" if "--multiprocessing-fork" in sys.orig_argv else "command"
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate", "os.utime"}
count = 0
def count_changes(event, args):
    global count
    if event == "open":
        path, mode, flags = args
        if not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
    elif event in CHANGES:
        path = args[0]
    else:
        return
    try:
        path = os.path.abspath(os.fsdecode(path))
    except TypeError:
        return
    if not path.startswith(OUT):
        return
    count += 1
    if AT < 0:
        descriptor = os.open(f"{STATE}/{role}-{os.getpid()}", os.O_WRONLY | os.O_CREAT)
        os.write(descriptor, b"%8d" % count)
        os.close(descriptor)
    elif role == ROLE and count == AT:
        try:
            os.close(os.open(f"{STATE}/killed", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(count_changes)
"""


class KillPoints:
    """Runs the tiny recipe with a kill at one of its calls."""

    def __init__(self, engines, folder: Path):
        self.engines, self.folder = engines, folder
        site = folder / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(SITE)
        self.site = site

    def command(self, name: str, role: str, at: int):
        here = self.folder / name
        state = here / "state"
        state.mkdir(parents=True)
        path = os.pathsep.join([str(self.site), os.environ.get("PYTHONPATH", "")])
        command = self.engines.command(
            here,
            PYTHONPATH=path,
            KILL_OUT=str(here / "out"),
            KILL_STATE=str(state),
            KILL_ROLE=role,
            KILL_AT=str(at),
        )
        write_text(here / "recipe.toml", TINY)
        return command, state


@pytest.fixture(scope="module")
def points(engines, tmp_path_factory):
    """The kill points of each role, and the results of a run without a kill."""
    kills = KillPoints(engines, tmp_path_factory.mktemp("kills"))
    command, state = kills.command("whole", "none", -1)
    code, text = command.run("--workers", "2")
    assert code == 0, text
    counts = {"worker": 0, "command": 0}
    for file in state.iterdir():
        role = file.name.partition("-")[0]
        counts[role] = max(counts[role], int(file.read_text()))
    assert min(counts.values()) > 20, counts
    return kills, counts, command.results()


@pytest.mark.parametrize("role", ["worker", "command"])
def test_kill_before_a_change_of_a_file_changes_no_result(points, role):
    kills, counts, reference = points
    for at in range(1, counts[role] + 1, STRIDE):
        command, state = kills.command(f"{role}-{at}", role, at)
        code, text = command.run("--workers", "2")
        assert code == (-signal.SIGKILL if role == "command" else 0), f"{role} {at}: {text}"
        if code:
            code, text = command.run("--workers", "2")
        assert code == 0, f"{role} {at}: {text}"
        killed = (state / "killed").exists()
        assert killed or role == "worker", f"{role} made fewer calls than {at}"
        assert command.results() == reference, f"{role} {at}"
        assert not command.hidden_files(), f"{role} {at}: {command.hidden_files()}"
