"""An export in two real processes (gloo): the store of one process, also after a kill."""

import os
import signal
import socket
from pathlib import Path

import pytest

from rdl_cli.commands.export_rdms.activations import own_rows
from rdl_cli.commands.processes import Processes
from rdl_cli.store.store import Store, partial

pytestmark = pytest.mark.skipif(os.name != "posix", reason="processes are forked")

EXPORT = """
import os, signal
os.environ.update(environment)
from pathlib import Path
from rdl_cli.commands.export_rdms import activations, blockwise, export_rdms as command
from rdl_cli.commands.settings import ExportSettings
activations.CHECKPOINT_EVERY, blockwise.DISTANCES_PER_BLOCK = 2, 1 << 14
read = activations.read_layers
steps = 0
def read_or_die(network, images, layers):
    global steps
    steps += 1
    if environment["RANK"] == str(killed) and steps == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    factor = 1e9 if environment["RANK"] == str(overflows) and steps == 4 else 1
    return {name: factor * reps for name, reps in read(network, images, layers).items()}
activations.read_layers = read_or_die
command.export_rdms(Path(teacher), Path(out), ExportSettings(**settings))
"""


@pytest.fixture
def export(elsewhere, teacher):
    def run(out, world=2, killed=None, overflows=None, **changes):
        """Export in several processes; return their exit codes."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "WORLD_SIZE": str(world),
            "LOCAL_WORLD_SIZE": str(world),
        }
        settings = {"layers": ["pool1,fc"], "device": "cpu", "batch_size": 60} | changes
        processes = [
            elsewhere(
                EXPORT,
                wait=False,
                teacher=str(teacher),
                out=str(out),
                settings=settings,
                killed=killed,
                overflows=overflows,
                environment=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            )
            for rank in range(world)
        ]
        for process in processes:
            process.join(300)
        return [process.exitcode for process in processes]

    return run


def list_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("rank", [0, 1, 2, 9])
def test_own_rows_are_every_third_batch(rank):
    whole = own_rows(7, 40, 4, Processes()).tolist()
    assert whole == list(range(7, 40))
    rows = own_rows(7, 40, 4, Processes(rank, 10)).tolist()
    assert rows == whole[4 * rank : 4 * rank + 4]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"views": "hflip", "dtype": "float16"},
        {"as_": "rdm", "distance": "correlation", "layers": ["fc"]},
        {"as_": "kernel", "pool": "avg"},
        {"batch_size": 700},
    ],
    ids=["activations", "views", "rdm", "kernel", "fewer batches than processes"],
)
def test_two_processes_write_the_store_of_one(changes, export, tiny, tmp_path):
    assert export(tmp_path / "one.h5", 1, **changes) == [0]
    assert export(tmp_path / "two.h5", 2, **changes) == [0, 0]
    assert tiny.same_arrays(tmp_path / "one.h5", tmp_path / "two.h5")
    assert Store.open(tmp_path / "two.h5").provenance["world_size"] == 2
    assert list_files(tmp_path) == ["one.h5", "two.h5"]


@pytest.mark.parametrize("killed", [0, 1])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_a_killed_process_leaves_a_store_that_any_number_of_processes_resumes(
    killed, world, export, tiny, tmp_path
):
    out = tmp_path / "store.h5"
    codes = export(out, killed=killed)
    assert codes[killed] == -signal.SIGKILL and 0 not in codes
    assert not out.exists() and partial(out).exists()
    assert export(out, world) == [0] * world
    assert export(tmp_path / "whole.h5", 1) == [0]
    assert tiny.same_arrays(out, tmp_path / "whole.h5")
    assert list_files(tmp_path) == ["store.h5", "whole.h5"]


def test_two_processes_add_a_layer(export, tiny, tmp_path):
    assert export(tmp_path / "store.h5", layers=["fc"]) == [0, 0]
    assert export(tmp_path / "store.h5", layers=["pool1"]) == [0, 0]
    assert export(tmp_path / "one.h5", 1, layers=["fc"]) == [0]
    assert export(tmp_path / "one.h5", 1, layers=["pool1"]) == [0]
    assert tiny.same_arrays(tmp_path / "store.h5", tmp_path / "one.h5")


@pytest.mark.parametrize("overflows", [0, 1])
def test_an_error_of_one_process_ends_all_and_leaves_nothing(overflows, export, tmp_path):
    assert export(tmp_path / "store.h5", dtype="float16", overflows=overflows) == [1, 1]
    assert list_files(tmp_path) == []


def test_a_layer_without_geometry_in_all_parts_is_refused(export, tmp_path):
    assert export(tmp_path / "store.h5", as_="kernel", distance="correlation") == [1, 1]
    assert list_files(tmp_path) == []
