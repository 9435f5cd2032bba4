"""Run one job: in this process, in a worker process of this machine, or on a cluster."""

import os
import platform
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from rdl_cli.commands.console import console
from rdl_cli.commands.options import to_config
from rdl_cli.commands.reproduce.claims import ClaimedError, claim
from rdl_cli.commands.reproduce.jobs import Job
from rdl_cli.commands.reproduce.outcomes import Failure, Outcome, remove_failure, write_failure
from rdl_cli.commands.settings import ExportSettings
from rdl_cli.core.errors import Diverged, UserError, first_line
from rdl_cli.core.registry import NameSource

ONE_AT_A_TIME = threading.Lock()
"""A Dask worker may have several threads; training is for one of them at a time."""


@dataclass(frozen=True)
class WorkerContext:
    """What a worker needs besides the job: the folder of the command, its environment.

    `job_list` is a file that the command wrote beside the runs; a worker that does not see it is
    on another disk.
    """

    folder: Path
    environment: dict[str, str]
    job_list: Path
    quiet: bool


def run_job(job: Job, context: WorkerContext) -> Outcome:
    """Claim the job's run or store and make it. Never raises, so that every engine can report it.

    A finished run is checked against its settings and kept; a begun one is resumed.
    """
    with ONE_AT_A_TIME:
        start = time.monotonic()
        try:
            _enter(context)
            with claim(job.path):
                outcome = _run(job)
        except ClaimedError as error:
            outcome = Outcome("claimed", str(error), error.hint)
        except UserError as error:
            outcome = Outcome("failed", str(error), error.hint)
        except Exception as error:  # of any library; the engine goes on with other runs
            text = f"{type(error).__name__}: {first_line(error)}"
            outcome = Outcome("failed", text, None, traceback.format_exc(), may_retry=True)
        return Outcome(**vars(outcome) | {"seconds": time.monotonic() - start})


def _enter(context: WorkerContext) -> None:
    console.quiet = context.quiet
    if not context.folder.is_dir():
        raise UserError(
            f"a worker on {platform.node()} does not see the folder {context.folder}",
            hint="start the workers where the folder is on a shared disk",
        )
    os.chdir(context.folder)
    os.environ.update(context.environment)
    if not context.job_list.is_file():
        raise UserError(
            f"a worker on {platform.node()} does not see {context.job_list}",
            hint="put --out on a disk that all workers share",
        )


def _run(job: Job) -> Outcome:
    from rdl_cli.commands.export_rdms.export_rdms import export_rdms
    from rdl_cli.commands.names import check_names
    from rdl_cli.commands.train.train import train

    try:
        if job.recipe:
            check_names(job.settings, NameSource(job.recipe, job.settings.trust))
        if isinstance(job.settings, ExportSettings):
            assert job.source, f"the store {job.name} has no teacher"
            export_rdms(job.source, job.path, job.settings)
        else:
            train(job.path, job.settings, resume=True)
    except (ClaimedError, KeyboardInterrupt):
        raise
    except Exception as error:
        diverged = isinstance(error, Diverged)
        write_failure(job.path, Failure(str(error), diverged, to_config(job.settings)))
        if diverged and job.may_diverge:
            return Outcome("diverged", str(error))
        raise
    remove_failure(job.path)
    return Outcome("done")
