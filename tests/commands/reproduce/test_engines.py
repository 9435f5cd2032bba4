"""`--workers`: the same bytes as in one process, also when workers or commands are killed."""

import os
import signal
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from rdl_cli.commands.reproduce import engines
from rdl_cli.commands.reproduce.engines import (
    SerialExecutor,
    WorkerPool,
    make_executor,
    threads_per_worker,
)
from rdl_cli.commands.reproduce.seeds import train_seeds
from rdl_cli.commands.reproduce.status import list_job_states
from rdl_cli.core.errors import UserError

TWO_WORKERS = {"workers": 2}


@pytest.fixture
def folder(tmp_path, recipes, monkeypatch) -> Path:
    """A folder with small.toml, for workers of one thread."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "small.toml").write_text(recipes.small)
    return tmp_path


def assert_same_experiment(recipes, one: Path, other: Path) -> None:
    assert recipes.tables(one) == recipes.tables(other)
    for path in (one / "out").rglob("model.safetensors"):
        twin = other / "out" / path.relative_to(one / "out")
        assert path.read_bytes() == twin.read_bytes(), path
    hidden = [path.name for path in (one / "out").rglob(".*")]
    assert not hidden, f"left behind: {hidden}"


def child_pids(parent: int) -> list[int]:
    """Return the processes that have `parent` as parent."""
    pids = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent and fields[0] != "Z":
            pids.append(int(stat.parent.name))
    return pids


def worker_pids(parent: int) -> list[int]:
    """Return the spawned workers of a command, without multiprocessing's resource tracker."""
    pids = []
    for pid in child_pids(parent):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"spawn_main" in command:
            pids.append(pid)
    return pids


def test_make_executor_refuses_two_engines_and_no_workers():
    assert isinstance(make_executor(None, ""), SerialExecutor)
    with pytest.raises(UserError, match="--workers is 0; at least 1 is needed"):
        make_executor(0, "")
    with pytest.raises(UserError, match="--workers is 2 and --cluster is dask:x"):
        make_executor(2, "dask:x")


def test_threads_per_worker_divides_processors(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(engines.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert [threads_per_worker(n) for n in (1, 2, 3, 16)] == [8, 4, 2, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads_per_worker(1) == 3


def test_worker_pool_death_of_one_worker_leaves_the_others():
    with WorkerPool(2) as pool:
        slow = pool.submit(time.sleep, 1)
        dead = pool.submit(os._exit, 1)
        with pytest.raises(BrokenProcessPool):
            dead.result(60)
        assert slow.result(60) is None
        assert pool.submit(abs, -3).result(60) == 3, "a new worker takes its place"


@pytest.mark.slow
def test_reproduce_two_workers_give_the_same_bytes(whole, folder, recipes, elsewhere):
    assert elsewhere(recipes.run, here=str(folder), options=TWO_WORKERS) == 0
    assert_same_experiment(recipes, folder, whole)
    assert {state.state for state in list_job_states(folder / "out")} == {"done"}


@pytest.mark.slow
def test_reproduce_a_killed_worker_is_replaced(whole, folder, recipes, elsewhere):
    process = elsewhere(recipes.run, wait=False, here=str(folder), options=TWO_WORKERS)
    killed = 0
    deadline = time.monotonic() + 120
    while killed < 1 and process.is_alive() and time.monotonic() < deadline:
        running = [s for s in _states(folder) if s.state == "running"]
        for pid in worker_pids(process.pid) if running else []:
            os.kill(pid, signal.SIGKILL)
            killed += 1
            break
        time.sleep(0.02)
    process.join(300)
    assert killed == 1 and process.exitcode == 0
    assert_same_experiment(recipes, folder, whole)


@pytest.mark.slow
def test_reproduce_a_killed_command_ends_its_workers_and_resumes(whole, folder, recipes, elsewhere):
    process = elsewhere(recipes.run, wait=False, here=str(folder), options=TWO_WORKERS)
    while "running" not in [state.state for state in _states(folder)]:
        time.sleep(0.02)
    workers = worker_pids(process.pid)
    process.kill()
    process.join()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
    assert "running" not in [state.state for state in _states(folder)]
    assert elsewhere(recipes.run, here=str(folder), options=TWO_WORKERS) == 0
    assert_same_experiment(recipes, folder, whole)


@pytest.mark.slow
def test_reproduce_two_commands_on_one_folder_share_the_runs(whole, folder, recipes, elsewhere):
    processes = [
        elsewhere(recipes.run, wait=False, here=str(folder), options=options)
        for options in (TWO_WORKERS, {})
    ]
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0, 0]
    assert_same_experiment(recipes, folder, whole)


def test_train_seeds_on_workers_gives_the_runs_of_one_process(folder, tiny):
    settings = tiny.settings(seeds="1..2", epochs=1)
    with WorkerPool(2) as pool:
        train_seeds(folder / "two", settings, pool)
        with pytest.raises(UserError, match="exists already"):
            train_seeds(folder / "two", settings, pool)
        train_seeds(folder / "two", settings, pool, resume=True)
    tiny.train(folder / "one", seeds="1..2", epochs=1)
    for seed in ("seed1", "seed2"):
        assert tiny.same(folder / "one" / seed, folder / "two" / seed)
    assert [state.name for state in list_job_states(folder / "two")] == ["seed1", "seed2"]


def test_train_seeds_needs_seeds(folder, tiny):
    with pytest.raises(UserError, match="--seeds is not set"):
        train_seeds(folder / "run", tiny.settings(), SerialExecutor())
    assert not (folder / "run").exists()


def _states(folder: Path) -> list:
    try:
        return list_job_states(folder / "out")
    except UserError:
        return []
