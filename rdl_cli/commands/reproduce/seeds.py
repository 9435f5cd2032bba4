"""Train the seeds of one command on an engine: `rdl train-* --seeds ... --workers N`."""

from concurrent.futures import Executor
from pathlib import Path

from rdl_cli.commands.reproduce.jobs import seed_jobs
from rdl_cli.commands.settings import TrainingSettings
from rdl_cli.core.errors import UserError


def train_seeds(
    out: Path, settings: TrainingSettings, executor: Executor, resume: bool = False
) -> None:
    """Train OUT/seedN for every seed. UserError for bad settings, before anything is written."""
    if not settings.seeds:
        raise UserError(
            "--workers and --cluster run several seeds at once, and --seeds is not set",
            hint="pass --seeds 0..4, or leave the engine out",
        )
    from rdl_cli.commands.reproduce.scheduler import run_jobs
    from rdl_cli.commands.reproduce.status import write_job_list
    from rdl_cli.commands.train.train import train

    train(out, settings, resume, dry_run=True)
    jobs = {job.name: job for job in seed_jobs(out, settings)}
    run_jobs(jobs, executor, write_job_list(out, jobs.values()))
