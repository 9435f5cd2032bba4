"""`rdl train-teacher` and `rdl train-student`."""

from rdl_cli.cli.options import DryRun, Out, Resume
from rdl_cli.commands.settings import StudentSettings, TrainingSettings


def train_teacher(
    out: Out, settings: TrainingSettings, resume: Resume = False, dry_run: DryRun = False
) -> None:
    """Train a network, to be a teacher or a baseline."""
    from rdl_cli.commands.train.train import train

    train(out, settings, resume, dry_run)


def train_student(
    out: Out, settings: StudentSettings, resume: Resume = False, dry_run: DryRun = False
) -> None:
    """Train a network whose layers follow a teacher's: a store's layers, or a live run's."""
    from rdl_cli.commands.train.train import train

    train(out, settings, resume, dry_run)
