"""Clusters as engines: an existing Dask scheduler, or Slurm through submitit.

`--cluster dask:ADDRESS` and `--cluster slurm:OPTION=VALUE,...`. Runs, stores and the command share
one disk; a worker needs only that disk and an installed rdl.
"""

import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

from rdl_cli.core.errors import UserError, did_you_mean, first_line

ENGINES = ("dask", "slurm")
ANSWER_SECONDS = 10
SLURM_POLL_SECONDS = 1.0
LOST_SECONDS = 30.0
"""A job that is no longer queued and has no result by then has died; shared disks lag."""
SLURM_OPTIONS: dict[str, tuple[str, type]] = {
    "partition": ("partition", str),
    "time": ("time", str),
    "gpus": ("gpus_per_node", int),
    "cpus": ("cpus_per_task", int),
    "mem": ("mem_gb", int),
    "account": ("account", str),
    "qos": ("qos", str),
    "constraint": ("constraint", str),
    "exclude": ("exclude", str),
    "parallel": ("array_parallelism", int),
}
"""Our option → sbatch's parameter as submitit names it, and its type. Memory is in GB."""
DEFAULT_TIME = "1d"
"""Submitit's own limit is 5 minutes. A run that reaches its limit is queued again and resumes."""


def connect_cluster(spec: str, folder: Path) -> Executor:
    """Return the engine of `--cluster`. `folder` takes the logs of Slurm jobs.

    UserError for an unknown engine or option, an extra that is not installed, or no answer.
    """
    name, _, rest = spec.partition(":")
    if name == "dask":
        return DaskExecutor(rest)
    if name == "slurm":
        return SlurmExecutor(_slurm_parameters(rest), folder)
    raise UserError(
        f"--cluster {spec} begins with no engine{did_you_mean(name, ENGINES)}",
        hint="write dask:ADDRESS or slurm:partition=NAME,time=2h",
    )


class DaskExecutor(Executor):
    """The workers of a Dask scheduler, wherever they run. Dask moves runs of lost workers."""

    def __init__(self, address: str):
        distributed = _import_extra("distributed", "dask")
        if not address:
            raise UserError("--cluster dask has no address", hint="write dask:HOST:PORT")
        try:
            self._client = distributed.Client(address, timeout=ANSWER_SECONDS, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:  # TimeoutError is an OSError
            raise UserError(
                f"no Dask scheduler answers at {address}: {first_line(error)}",
                hint="start one with: dask scheduler",
            ) from error
        self._executor = self._client.get_executor(pure=False)

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self._executor.submit(function, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Close the connection. With `cancel_futures` queued runs are dropped; running ones end."""
        self._executor.shutdown(wait=wait and not cancel_futures)
        self._client.close(timeout=ANSWER_SECONDS)


class ResumableCall:
    """A call that submitit submits again when Slurm preempts it; a run resumes its checkpoint."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]):
        self.function, self.args = function, args

    def __call__(self) -> Any:
        return self.function(*self.args)

    def checkpoint(self) -> Any:
        return import_module("submitit").helpers.DelayedSubmission(self)


class SlurmExecutor(Executor):
    """Slurm jobs through submitit. Calls that are submitted together become one job array.

    Their files are in a folder of this command's own, which is removed when all have ended well.
    """

    def __init__(self, parameters: dict[str, Any], folder: Path):
        submitit = _import_extra("submitit", "slurm")
        self._folder = folder / uuid4().hex[:8]
        try:
            self._executor = submitit.SlurmExecutor(folder=self._folder)
        except RuntimeError as error:  # no srun here
            raise UserError(
                f"Slurm is not available here: {first_line(error)}",
                hint="run the command where sbatch is, or use --workers",
            ) from error
        self._executor.update_parameters(job_name="rdl", **parameters)
        _ask_slurm(["sinfo", "--noheader"])
        self._waiting: list[tuple[Future[Any], ResumableCall]] = []
        self._jobs: dict[Future[Any], Any] = {}
        self._lost_since: dict[Future[Any], float] = {}
        self._has_failed = False
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        assert not kwargs, "runs are submitted by position"
        future: Future[Any] = Future()
        with self._lock:
            self._waiting.append((future, ResumableCall(function, args)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Stop watching. With `cancel_futures` the jobs are cancelled; runs can resume."""
        while wait and not cancel_futures and (self._waiting or self._jobs):
            time.sleep(SLURM_POLL_SECONDS)
        self._stop.set()
        self._thread.join()
        for job in self._jobs.values() if cancel_futures else ():
            job.cancel(check=False)
        if not self._jobs and not self._has_failed:
            shutil.rmtree(self._folder, ignore_errors=True)
            with suppress(OSError):  # another command's files are in it, or none ever were
                self._folder.parent.rmdir()
        self._waiting.clear()
        self._jobs.clear()

    def _watch(self) -> None:
        while not self._stop.wait(SLURM_POLL_SECONDS):
            try:
                self._submit_waiting()
                self._take_ended()
            except UserError as error:  # sbatch refused, or Slurm does not answer any more
                self._fail_all(error)

    def _submit_waiting(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        try:
            if len(waiting) == 1:
                jobs = [self._executor.submit(waiting[0][1])]
            else:
                with self._executor.batch():
                    jobs = [self._executor.submit(call) for _, call in waiting]
        except Exception as error:  # submitit's own kinds, with sbatch's message
            for future, _ in waiting:
                future.set_exception(UserError(f"sbatch refused the job: {first_line(error)}"))
            return
        self._jobs.update({future: job for (future, _), job in zip(waiting, jobs, strict=True)})

    def _take_ended(self) -> None:
        for future, job in list(self._jobs.items()):
            if job.paths.result_pickle.exists():
                self._end(future, job)
        if not self._jobs:
            return
        queued = set(_ask_slurm(["squeue", "--noheader", "--array", "--format=%F_%K %F"]).split())
        for future, job in list(self._jobs.items()):
            if job.job_id in queued:
                self._lost_since.pop(future, None)
            elif (
                time.monotonic() - self._lost_since.setdefault(future, time.monotonic())
                > LOST_SECONDS
            ):
                self._end(future, job)

    def _end(self, future: Future[Any], job: Any) -> None:
        del self._jobs[future]
        if not job.paths.result_pickle.exists():
            self._has_failed = True
            text = f"Slurm job {job.job_id} ended without a result; see {job.paths.stderr}"
            future.set_exception(RuntimeError(text))
            return
        state, result = job._get_outcome_and_result()
        if state == "error":
            self._has_failed = True
            future.set_exception(RuntimeError(str(result).strip().splitlines()[-1]))
        else:
            future.set_result(result)

    def _fail_all(self, error: Exception) -> None:
        for future in list(self._jobs):
            del self._jobs[future]
            future.set_exception(error)


def _slurm_parameters(text: str) -> dict[str, Any]:
    """Return submitit's parameters of `partition=gpu,gpus=1,time=2h`."""
    parameters: dict[str, Any] = {}
    for item in filter(None, text.split(",")):
        name, equals, value = item.partition("=")
        if name not in SLURM_OPTIONS:
            raise UserError(
                f"Slurm has no option `{name}` here{did_you_mean(name, SLURM_OPTIONS)}",
                hint=f"options: {', '.join(SLURM_OPTIONS)}",
            )
        parameter, kind = SLURM_OPTIONS[name]
        if not equals or not value or (kind is int and not value.isdecimal()):
            what = "a whole number" if kind is int else "a value"
            raise UserError(f"`{item}` in --cluster needs {what}", hint=f"write {name}=...")
        parameters[parameter] = kind(value)
    parameters["time"] = _minutes(parameters.get("time", DEFAULT_TIME))
    return parameters


def _minutes(text: str) -> int:
    """Return minutes of `90`, `90m`, `2h` or `1d`."""
    units = {"m": 1, "h": 60, "d": 1440}
    number, unit = (text[:-1], text[-1]) if text[-1] in units else (text, "m")
    if not number.isdecimal() or int(number) < 1:
        raise UserError(f"`time={text}` in --cluster is no duration", hint="write 90m, 2h or 1d")
    return int(number) * units[unit]


def _ask_slurm(command: list[str]) -> str:
    """Return the output of a Slurm command. UserError where Slurm does not answer."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=True, encoding="utf-8"
        )
    except FileNotFoundError:
        raise UserError(
            f"Slurm is not available here: there is no command `{command[0]}`",
            hint="run the command where sbatch is, or use --workers",
        ) from None
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        lines = str(error.stderr or error).strip().splitlines()
        raise UserError(
            f"Slurm does not answer: {lines[-1]}", hint="the command line `sinfo` has to work here"
        ) from error
    return done.stdout


def _import_extra(module: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise UserError(
            f"--cluster {extra} needs the package `{module}`: {first_line(error)}",
            hint=f"install it with: pip install 'rdl[{extra}]'",
        ) from error
