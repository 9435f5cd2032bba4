"""The engines that run jobs, each a `concurrent.futures.Executor`, chosen by an option."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import Any

from rdl_cli.core.errors import UserError

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def make_executor(workers: int | None, cluster: str, out: Path = Path()) -> Executor:
    """Return the engine of `--workers` or `--cluster`; without both, this process.

    Slurm jobs write their logs to `out`/slurm.

    UserError for both at once, an unknown cluster, an extra that is not installed, or a cluster
    that does not answer.
    """
    if workers is not None and cluster:
        raise UserError(
            f"--workers is {workers} and --cluster is {cluster}", hint="pass only one of them"
        )
    if cluster:
        from rdl_cli.commands.reproduce.clusters import connect_cluster

        return connect_cluster(cluster, out / "slurm")
    if workers is None:
        return SerialExecutor()
    if workers < 1:
        raise UserError(f"--workers is {workers}; at least 1 is needed", hint="use --workers 2")
    return WorkerPool(workers)


class SerialExecutor(Executor):
    """Runs every call at once in this process."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class WorkerPool(Executor):
    """Processes of this machine, each a pool of one: the death of one leaves the others running.

    `ProcessPoolExecutor(n)` ends all n processes when one of them dies.
    """

    def __init__(self, workers: int):
        self.threads = threads_per_worker(workers)
        self._local = threading.local()
        self._pools: set[ProcessPoolExecutor] = set()
        self._queue = ThreadPoolExecutor(workers, thread_name_prefix="rdl-worker")

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self._queue.submit(self._call, function, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes. With `cancel_futures` running calls are killed; runs can resume."""
        self._queue.shutdown(wait=False, cancel_futures=cancel_futures)
        for pool in list(self._pools):
            if cancel_futures:
                for process in list((pool._processes or {}).values()):
                    process.kill()
            pool.shutdown(wait=wait, cancel_futures=cancel_futures)
        self._queue.shutdown(wait=wait)

    def _call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        pool: ProcessPoolExecutor | None = getattr(self._local, "pool", None)
        if pool is None:
            pool = ProcessPoolExecutor(
                1, get_context("spawn"), initializer=_start_worker, initargs=(self.threads,)
            )
            self._local.pool = pool
            self._pools.add(pool)
        try:
            return pool.submit(function, *args, **kwargs).result()
        except BrokenProcessPool:
            self._pools.discard(pool)
            self._local.pool = None
            pool.shutdown(wait=False)
            raise


def threads_per_worker(workers: int) -> int:
    """Return the threads of each worker: OMP_NUM_THREADS, or the processors divided by workers.

    Two processes with two threads each on two processors wait for each other (see LOG).
    """
    if (given := os.environ.get("OMP_NUM_THREADS", "")).isdecimal() and int(given) > 0:
        return int(given)
    affinity = getattr(os, "sched_getaffinity", None)
    processors = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, processors // workers)


def _start_worker(threads: int) -> None:
    """Prepare a worker process: threads, no reaction to Ctrl-C, an end with the parent's."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in THREAD_VARIABLES:
        os.environ[name] = str(threads)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    import torch

    torch.set_num_threads(threads)


def _exit_with_parent() -> None:
    """End this process when the command is killed; its run can be resumed from the checkpoint."""
    parent = parent_process()
    assert parent is not None, "a worker has a parent"
    connection.wait([parent.sentinel])
    os._exit(1)
