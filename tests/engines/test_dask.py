"""A Dask scheduler and two workers as separate processes over TCP, some of them killed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("distributed", reason="needs the extra rdl[dask]")


class DaskCluster:
    """A scheduler and workers, each a process. `address` is known once the scheduler answers."""

    def __init__(self, folder: Path, engines):
        self.folder, self.engines = folder, engines
        self.processes: list[subprocess.Popen] = []
        self.workers: list[subprocess.Popen] = []
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(self, n_workers: int = 2, hidden: Path | None = None) -> str:
        """Return the cluster's option. Workers do not see the files in `hidden`."""
        file = self.folder / f"scheduler-{len(self.processes)}.json"
        options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
        self.scheduler = self._start_dask("scheduler", *options, "--scheduler-file", str(file))
        self.engines.wait_until(lambda: file.is_file() and file.stat().st_size > 0)
        self.workers = [
            self._start_dask(
                *("worker", "--scheduler-file", str(file), "--nthreads", "1"),
                *("--no-nanny", "--no-dashboard", "--host", "127.0.0.1"),
                hidden=hidden,
            )
            for _ in range(n_workers)
        ]
        return f"dask:{_read_address(file)}"

    def stop(self) -> None:
        for process in self.processes:
            self.engines.kill_group(process)

    def _start_dask(self, *words: str, hidden: Path | None = None) -> subprocess.Popen:
        """Start `dask ...`; another disk, mounted over `hidden`, hides the files there."""
        other_disk = [
            "unshare",
            "--mount",
            "sh",
            "-c",
            f'mount -t tmpfs tmpfs "{hidden}" && exec "$@"',
        ]
        process = subprocess.Popen(
            [*([*other_disk, "sh"] if hidden else []), sys.executable, "-m", "dask", *words],
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.processes.append(process)
        return process


def _read_address(file: Path) -> str:
    return json.loads(file.read_text())["address"]


@pytest.fixture
def cluster(tmp_path_factory, engines):
    cluster = DaskCluster(tmp_path_factory.mktemp("dask"), engines)
    yield cluster
    cluster.stop()


def test_dask_gives_the_results_of_one_process(command, cluster, engines):
    code, text = command.run("--cluster", cluster.start())
    assert code == 0, text
    assert command.results() == engines.reference
    assert not command.hidden_files()


def test_dask_moves_the_run_of_a_killed_worker(command, cluster, engines):
    process = command.start("--cluster", cluster.start())
    command.wait_for("running", process)
    cluster.workers[0].send_signal(signal.SIGKILL)
    _, text = process.communicate(timeout=400)
    assert process.returncode == 0, text
    assert command.results() == engines.reference
    assert not command.hidden_files()


def test_dask_killed_scheduler_ends_the_command_and_the_same_command_resumes(
    command, cluster, engines
):
    process = command.start("--cluster", cluster.start())
    command.wait_for("running", process)
    cluster.scheduler.send_signal(signal.SIGKILL)
    _, text = process.communicate(timeout=400)
    assert process.returncode == 2 and "Traceback" not in text, text
    cluster.stop()
    code, text = command.run("--cluster", cluster.start())
    assert code == 0, text
    assert command.results() == engines.reference


def test_dask_killed_command_is_resumed_by_the_same_command(command, cluster, engines):
    address = cluster.start()
    process = command.start("--cluster", address)
    command.wait_for("running", process)
    engines.kill_group(process)
    code, text = command.run("--cluster", address)
    assert code == 0, text
    assert command.results() == engines.reference
    assert not command.hidden_files()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting another disk needs root")
def test_dask_workers_on_another_disk_are_refused_before_training(command, cluster):
    code, text = command.run("--cluster", cluster.start(hidden=command.folder))
    assert code == 2 and "Traceback" not in text
    assert "does not see" in text and "on a disk that all workers share" in text
    assert not list(command.out.rglob("config.toml"))


def test_dask_without_answer_is_one_error_before_anything_is_written(command):
    code, text = command.run("--cluster", "dask:tcp://127.0.0.1:9")
    assert code == 2 and "no Dask scheduler answers at tcp://127.0.0.1:9" in text
    assert not command.out.exists()
