"""A real single-node Slurm: sbatch through submitit, job arrays, preemption and requeue."""

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

pytest.importorskip("submitit", reason="needs the extra rdl[slurm]")

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """The environment of a running Slurm with the partitions `low` and `high`."""
    folder = tmp_path_factory.mktemp("slurm")
    start = subprocess.run(
        ["sh", str(HERE / "start_slurm.sh"), str(folder)], capture_output=True, text=True
    )
    if start.returncode == 3:
        pytest.skip(start.stderr.strip())
    assert start.returncode == 0, start.stderr
    yield {"SLURM_CONF": str(folder / "slurm.conf")}
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
    subprocess.run(["scancel", "--user", "root"], env=environment, check=False)
    subprocess.run(["sh", str(HERE / "stop_slurm.sh"), str(folder)], check=True)


@pytest.fixture
def slurm_command(tmp_path, engines, slurm):
    return engines.command(tmp_path, **slurm)


def ask(environment: dict[str, str], *words: str) -> str:
    return subprocess.run(
        words, env=os.environ | environment, capture_output=True, text=True, check=True
    ).stdout


CLUSTER = ("--cluster", "slurm:partition=low,cpus=1,time=1h")


def test_slurm_gives_the_results_of_one_process(slurm_command, engines):
    code, text = slurm_command.run(*CLUSTER)
    assert code == 0, text
    assert slurm_command.results() == engines.reference
    assert not slurm_command.hidden_files()
    assert not (slurm_command.out / "slurm").exists()


def test_slurm_preempted_jobs_are_queued_again_and_resume(slurm_command, slurm, engines):
    process = slurm_command.start(*CLUSTER)
    slurm_command.wait_for("running", process)
    urgent = ["--partition=high", "--exclusive", "--output=/dev/null", "--wrap=sleep 5"]
    ask(slurm, "sbatch", *urgent)
    restarts: list[str] = []
    deadline = time.monotonic() + 60
    while not restarts and time.monotonic() < deadline and process.poll() is None:
        restarts = re.findall(r"Restarts=[1-9]", ask(slurm, "scontrol", "show", "job", "-o"))
        time.sleep(0.2)
    _, text = process.communicate(timeout=500)
    assert restarts, "no job was preempted"
    assert process.returncode == 0, text
    assert slurm_command.results() == engines.reference


def test_slurm_killed_command_is_resumed_by_the_same_command(slurm_command, engines):
    process = slurm_command.start(*CLUSTER)
    slurm_command.wait_for("running", process)
    engines.kill_group(process)
    code, text = slurm_command.run(*CLUSTER)
    assert code == 0, text
    assert slurm_command.results() == engines.reference


def test_slurm_refused_options_are_one_error(slurm_command):
    code, text = slurm_command.run("--cluster", "slurm:partition=missing")
    assert code == 2 and "Traceback" not in text and "invalid partition" in text


def test_slurm_that_does_not_answer_is_one_error(command):
    command.environment["SLURM_CONF"] = str(command.folder / "missing.conf")
    code, text = command.run("--cluster", "slurm:partition=low")
    assert code == 2 and "Traceback" not in text and "Slurm " in text
    assert not command.out.exists()
