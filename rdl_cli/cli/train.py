"""`rdl train-teacher` and `rdl train-student`."""

from pathlib import Path

from rdl_cli.cli.options import Cluster, DryRun, Out, Resume, Workers
from rdl_cli.commands.settings import StudentSettings, TrainingSettings


def train_teacher(
    out: Out,
    settings: TrainingSettings,
    resume: Resume = False,
    dry_run: DryRun = False,
    workers: Workers = None,
    cluster: Cluster = "",
) -> None:
    """Train a network, to be a teacher or a baseline."""
    _train(out, settings, resume, dry_run, workers, cluster)


def train_student(
    out: Out,
    settings: StudentSettings,
    resume: Resume = False,
    dry_run: DryRun = False,
    workers: Workers = None,
    cluster: Cluster = "",
) -> None:
    """Train a network whose layers follow a teacher's: a store's layers, or a live run's."""
    _train(out, settings, resume, dry_run, workers, cluster)


def _train(
    out: Path,
    settings: TrainingSettings,
    resume: bool,
    dry_run: bool,
    workers: int | None,
    cluster: str,
) -> None:
    if dry_run or (workers is None and not cluster):
        from rdl_cli.commands.train.train import train

        train(out, settings, resume, dry_run)
        return
    from rdl_cli.commands.reproduce.engines import make_executor
    from rdl_cli.commands.reproduce.seeds import train_seeds

    with make_executor(workers, cluster, out) as executor:
        train_seeds(out, settings, executor, resume)
