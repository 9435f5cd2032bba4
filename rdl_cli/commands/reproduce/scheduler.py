"""Run a graph of jobs on an engine: each job as soon as those that it needs are done."""

import os
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from pathlib import Path
from typing import Any

from rdl_cli.commands.reproduce.claims import remove_stale_claims
from rdl_cli.commands.reproduce.engines import SerialExecutor
from rdl_cli.commands.reproduce.jobs import Job
from rdl_cli.commands.reproduce.outcomes import Outcome
from rdl_cli.commands.reproduce.run_board import RunBoard
from rdl_cli.commands.reproduce.worker import WorkerContext, run_job
from rdl_cli.core.errors import UserError, first_line

POLL_SECONDS = 1.0
CLAIMED_SECONDS = 5.0
"""Pause before a run that another process works on is tried again."""
ATTEMPTS = 2
PASSED_VARIABLES = ("RDL_DATA",)


def run_jobs(
    jobs: dict[str, Job],
    executor: Executor,
    job_list: Path,
    complete: Callable[[Job], Job] = lambda job: job,
) -> None:
    """Run all jobs until everything is done. Jobs that another process runs are waited for.

    `job_list` is the file of `write_job_list`. `complete` fills in the settings that earlier jobs
    decided. A job whose worker dies, or that meets an unexpected error, is run once more.
    UserError names the jobs that failed; only jobs that need them are left out.
    """
    is_serial = isinstance(executor, SerialExecutor)
    scheduler = _Scheduler(jobs, executor, complete, RunBoard(jobs, is_serial))
    scheduler.context = WorkerContext(
        Path.cwd(),
        {name: os.environ[name] for name in PASSED_VARIABLES if name in os.environ},
        job_list.resolve(),
        quiet=not is_serial,
    )
    try:
        with scheduler.board:
            scheduler.run()
    except BaseException:
        executor.shutdown(wait=True, cancel_futures=True)
        raise
    finally:
        for job in jobs.values():
            remove_stale_claims(job.path)
    _raise_failures(jobs, scheduler.outcomes)


class _Scheduler:
    """The state of a graph that is being run."""

    context: WorkerContext

    def __init__(
        self,
        jobs: dict[str, Job],
        executor: Executor,
        complete: Callable[[Job], Job],
        board: RunBoard,
    ):
        self.jobs, self.executor, self.complete, self.board = jobs, executor, complete, board
        self.outcomes: dict[str, Outcome] = {}
        self.running: dict[Future[Any], str] = {}
        self.attempts: Counter[str] = Counter()
        self.paused_until: dict[str, float] = {}

    def run(self) -> None:
        while len(self.outcomes) < len(self.jobs):
            if self._submit_ready():
                continue  # a job has ended meanwhile, so others may be ready that come first
            if not self.running:
                time.sleep(POLL_SECONDS)
                continue
            ended, _ = wait(self.running, POLL_SECONDS, FIRST_COMPLETED)
            for future in ended:
                self._take(future)
            self.board.refresh()

    def _submit_ready(self) -> bool:
        """Submit every job that can run. Return True as soon as one has ended."""
        submitted = set(self.running.values())
        for name, job in self.jobs.items():
            if name in self.outcomes or name in submitted:
                continue
            if any(self._is_lost(need) for need in job.needs):
                self.outcomes[name] = Outcome("failed")  # its need has the message
                return True
            if not all(need in self.outcomes for need in job.needs):
                continue
            if time.monotonic() < self.paused_until.get(name, 0.0):
                continue
            try:
                complete = self.complete(job)
            except UserError as error:
                self._end(name, Outcome("failed", str(error), error.hint))
                return True
            self.board.submit(name)
            try:
                future = self.executor.submit(run_job, complete, self.context)
            except Exception as error:  # of the engine: a pool that was closed, a lost scheduler
                raise UserError(
                    f"the engine takes no more runs: {first_line(error)}",
                    hint="the same command goes on where it stopped",
                ) from error
            self.running[future] = name
            if future.done():
                self._take(future)
                return True
        return False

    def _is_lost(self, name: str) -> bool:
        return name in self.outcomes and self.outcomes[name].state == "failed"

    def _take(self, future: Future[Any]) -> None:
        """Take the outcome of a job that has ended; submit it again where that is promising."""
        name = self.running.pop(future)
        try:
            outcome: Outcome = future.result()
        except Exception as error:  # of the engine: its worker died
            text = f"its worker ended: {first_line(error)}"
            outcome = Outcome("failed", text, may_retry=True)
        if outcome.state == "claimed":
            if name not in self.paused_until:
                self.board.log(f"{name}: {outcome.message}; it is looked at again later")
            self.paused_until[name] = time.monotonic() + CLAIMED_SECONDS
            return
        self.attempts[name] += 1
        if outcome.state == "failed" and outcome.may_retry and self.attempts[name] < ATTEMPTS:
            self.board.log(f"{name}: {outcome.message}; it is run once more")
            return
        self._end(name, outcome)

    def _end(self, name: str, outcome: Outcome) -> None:
        self.outcomes[name] = outcome
        self.board.end(name, outcome)


def _raise_failures(jobs: dict[str, Job], outcomes: dict[str, Outcome]) -> None:
    failed = {name: o for name, o in outcomes.items() if o.state == "failed" and o.message}
    if not failed:
        return
    lost = sum(outcome.state == "failed" for outcome in outcomes.values()) - len(failed)
    lines = "; ".join(f"{name}: {outcome.message}" for name, outcome in failed.items())
    waiting = f", and {lost} that need them were not run" if lost else ""
    hints = [outcome.hint for outcome in failed.values() if outcome.hint]
    raise UserError(
        f"{len(failed)} of {len(jobs)} runs failed{waiting}: {lines}",
        hint=hints[0] if hints else "the same command tries them again and keeps the others",
    )
