"""Messages and progress bars of commands: on stderr, so that stdout holds data only."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.segment import Segment

from rdl_cli.core.safe_text import CONTROLS, escape_controls


class SafeConsole(Console):
    """A console on which names and labels of files cannot send escape sequences."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            if segment.control or not CONTROLS.search(segment.text):
                yield segment
            else:
                yield Segment(escape_controls(segment.text), segment.style)


console = SafeConsole(stderr=True, highlight=False, soft_wrap=True)


_verbose: ContextVar[bool] = ContextVar("verbose", default=False)
_brief: ContextVar[bool] = ContextVar("brief", default=False)


def set_verbosity(quiet: bool, verbose: bool) -> None:
    """Print no messages and progress bars if quiet; all messages if verbose."""
    console.quiet = quiet
    _verbose.set(verbose)


@contextmanager
def brief() -> Iterator[None]:
    """Leave out messages within the block, unless verbose; progress bars stay."""
    token = _brief.set(not _verbose.get())
    try:
        yield
    finally:
        _brief.reset(token)


def _is_first() -> bool:
    """Return True in the first of several processes, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def log(text: str) -> None:
    """Print one line; of several processes, only the first prints."""
    if _is_first() and not _brief.get():
        console.print(text, markup=False)


class ProgressBar:
    """A progress bar on a terminal; elsewhere nothing, and messages are lines."""

    def __init__(self, progress: Progress | None, total: int, text: str):
        self._progress = progress
        self._task = progress.add_task(text, total=total) if progress else None
        self.visible = progress is not None

    def advance(self, by: int = 1, text: str | None = None) -> None:
        """Advance the bar, with a new text if one is given."""
        if self._progress and self._task is not None:
            self._progress.update(self._task, advance=by, description=text)


@contextmanager
def progress(total: int, text: str) -> Iterator[ProgressBar]:
    """Yield a progress bar for `total` steps."""
    if not console.is_terminal or console.quiet or not _is_first():
        yield ProgressBar(None, total, text)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=console) as bars:
        yield ProgressBar(bars, total, text)
