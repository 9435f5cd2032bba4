"""What a job says while it works: to stderr, so that stdout stays data; bars on a terminal, plain lines in a log."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

console = Console(stderr=True, highlight=False, soft_wrap=True)


def log(text: str) -> None:
    """One line; of several processes the first speaks for all."""
    if os.environ.get("RANK", "0") == "0":
        console.print(text, markup=False)


class ProgressBar:
    """A bar for one piece of work; in a log it is silent, and what is said there is said in lines."""

    def __init__(self, progress: Progress | None, total: int, text: str):
        self._progress = progress
        self._task = progress.add_task(text, total=total) if progress else None
        self.visible = progress is not None

    def advance(self, by: int = 1, text: str | None = None) -> None:
        if self._progress and self._task is not None:
            self._progress.update(self._task, advance=by, description=text)


@contextmanager
def progress(total: int, text: str) -> Iterator[ProgressBar]:
    if not console.is_terminal:
        yield ProgressBar(None, total, text)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=console) as progress:
        yield ProgressBar(progress, total, text)
