"""A pipe or a device where a file is expected is refused at once; nothing waits for its bytes."""

import os
import shutil
import sys
import threading

import pytest

from rdl_cli.commands.import_rdms import import_rdms
from rdl_cli.commands.settings import ImportSettings
from rdl_cli.commands.show import show
from rdl_cli.core.errors import UserError
from rdl_cli.networks.weights import read_state_dict
from rdl_cli.runs.run import Run
from rdl_cli.store.store import Store

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")


def answer_within(seconds, call):
    """Return the UserError of a call; fail if it does not answer in time."""
    errors = []

    def run():
        try:
            call()
        except UserError as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "the call waits for a pipe"
    assert errors, "a pipe was read as a file"
    return errors[0]


@pytest.fixture
def pipe(tmp_path):
    path = tmp_path / "pipe.h5"
    os.mkfifo(path)
    return path


@pytest.mark.parametrize(
    "read",
    [
        Store.open,
        show,
        read_state_dict,
        Run.open,
        lambda path: import_rdms([path], path.with_name("out.h5"), ImportSettings()),
    ],
)
def test_reader_refuses_a_pipe(read, pipe):
    answer_within(60, lambda: read(pipe))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/dev/zero is of Linux")
def test_store_open_refuses_a_device():
    with pytest.raises(UserError, match="/dev/zero is a folder, pipe or device"):
        Store.open("/dev/zero")


@pytest.mark.parametrize("name", ["config.toml", "provenance.json", "checksums.txt"])
def test_run_refuses_a_pipe_in_place_of_its_files(name, teacher, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(teacher, run)
    (run / name).unlink()
    os.mkfifo(run / name)
    answer_within(60, lambda: Run.open_finished(run).predictions())


def test_show_does_not_wait_for_a_pipe_in_the_provenance(student, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(student, run)
    parent = next(p for p in Run.open(run).provenance["parents"] if p["kind"] == "store")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = (run / "provenance.json").read_text().replace(parent["path"], str(pipe))
    (run / "checksums.txt").unlink()
    (run / "provenance.json").write_text(text)
    summaries = []
    thread = threading.Thread(target=lambda: summaries.append(show(run)), daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive(), "show waits for a pipe"
    assert summaries
