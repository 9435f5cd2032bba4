"""`--workers 2` and kills at random moments: the same command ends with the same results."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

N_KILLS = int(os.environ.get("RDL_KILLS", "3"))
"""Kills at random moments for each victim; 20 take a quarter of an hour."""


def test_workers_give_the_results_of_one_process(command, engines):
    code, text = command.run("--workers", "2")
    assert code == 0, text
    assert command.results() == engines.reference


@pytest.mark.parametrize("seed", range(N_KILLS))
def test_workers_killed_command_is_resumed(command, engines, seed):
    process = command.start("--workers", "2")
    time.sleep(random.Random(seed).uniform(1, 12))
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)  # also waits for the workers: they hold the pipe
    code, text = command.run("--workers", "2")
    assert code == 0, text
    assert command.results() == engines.reference
    assert not command.hidden_files()


@pytest.mark.parametrize("seed", range(N_KILLS))
def test_workers_killed_worker_is_replaced(command, engines, seed):
    process = command.start("--workers", "2")
    command.wait_for("running", process)
    time.sleep(random.Random(seed).uniform(0, 4))
    for pid in _descendants(process.pid):
        os.kill(pid, signal.SIGKILL)
        break
    _, text = process.communicate(timeout=400)
    assert process.returncode == 0, text
    assert command.results() == engines.reference
    assert not command.hidden_files()


def test_workers_interrupted_command_says_how_to_go_on(command, engines):
    process = command.start("--workers", "2")
    command.wait_for("running", process)
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in text
    assert "the same command continues" in text
    assert not command.hidden_files()
    code, text = command.run("--workers", "2")
    assert code == 0 and command.results() == engines.reference


def _descendants(parent: int) -> list[int]:
    """Return the workers of a command that have no run yet or are in one."""
    pids = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == parent and b"spawn_main" in command:
            pids.append(int(process.name))
    return pids
