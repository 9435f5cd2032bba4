"""Progress of many runs: one line for each on a terminal, plain lines in a log."""

import time
from types import TracebackType

from rich.live import Live
from rich.table import Table

from rdl_cli.commands.console import console, log
from rdl_cli.commands.reproduce.claims import find_claim
from rdl_cli.commands.reproduce.jobs import Job
from rdl_cli.commands.reproduce.outcomes import Outcome
from rdl_cli.commands.reproduce.status import count_epochs, planned_epochs

MAX_ROWS = 30


class RunBoard:
    """Shows the runs of an experiment. In this process (`is_serial`) each run logs its epochs."""

    def __init__(self, jobs: dict[str, Job], is_serial: bool):
        self.jobs, self.is_serial = jobs, is_serial
        self.submitted: dict[str, float] = {}
        self.n_ended = self.n_failed = 0
        self._live: Live | None = None

    def __enter__(self) -> "RunBoard":
        if not self.is_serial and console.is_terminal:
            self._live = Live(console=console, refresh_per_second=2, transient=True)
            self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.__exit__(kind, error, trace)

    def log(self, text: str) -> None:
        log(text)

    def submit(self, name: str) -> None:
        self.submitted.setdefault(name, time.monotonic())

    def end(self, name: str, outcome: Outcome) -> None:
        self.submitted.pop(name, None)
        self.n_ended += 1
        self.n_failed += outcome.state == "failed"
        if outcome.state == "failed":
            if outcome.traceback:
                log(outcome.traceback)
            log(f"{name} failed: {outcome.message}")
        elif not self.is_serial:
            detail = f": {outcome.message}" if outcome.message else ""
            log(
                f"{name} {outcome.state} after {outcome.seconds:.0f} s{detail} "
                f"({self.n_ended} of {len(self.jobs)})"
            )
        elif outcome.state == "diverged":
            log(f"{name} diverged: {outcome.message}")

    def refresh(self) -> None:
        if self._live:
            self._live.update(self._table())

    def _table(self) -> Table:
        running = {
            name: held
            for name in self.submitted
            if (held := find_claim(self.jobs[name].path)) is not None
        }
        title = f"{self.n_ended} of {len(self.jobs)} runs ended, {len(running)} running"
        if self.n_failed:
            title += f", {self.n_failed} failed"
        table = Table(title=title, box=None, title_justify="left", show_header=False)
        for name, held in list(running.items())[:MAX_ROWS]:
            n_epochs = planned_epochs(self.jobs[name])
            epochs = f"epoch {count_epochs(self.jobs[name].path)} of {n_epochs}" if n_epochs else ""
            table.add_row(name, epochs, held.describe())
        return table
