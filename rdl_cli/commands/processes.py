"""The processes that torchrun starts for one command, and what they send each other.

torchrun sets WORLD_SIZE, RANK and a few more variables in each. Without them there is one process.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from rdl_cli.core.errors import UserError

VARIABLES = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
WAIT = timedelta(hours=6)
"""For the slowest process, such as the first while it computes the checksums of a large store."""


class SharedError(UserError):
    """An error of one process that all know of."""


@dataclass(frozen=True)
class Processes:
    """This process' number and the number of all. Calls must come in all, in the same order."""

    rank: int = 0
    world: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def gather(self, value: Any = None, error: UserError | None = None) -> list[Any]:
        """Return the value of every process, in order. Raise SharedError if one has an error.

        The only message between processes, so an error reaches the others wherever they wait.
        """
        if self.world == 1:
            if error is not None:
                raise error
            return [value]
        own = None if error is None else (str(error), error.hint)
        messages: list[Any] = [None] * self.world
        distributed.all_gather_object(messages, (value, own))
        for _, text in messages:
            if text is not None:
                raise SharedError(*text) from error
        return [value for value, _ in messages]

    @contextmanager
    def share_errors(self) -> Iterator[None]:
        """Raise an error of the block in all processes, and wait for all at its end."""
        error = None
        try:
            yield
        except SharedError:
            raise
        except UserError as raised:
            error = raised
        self.gather(error=error)

    def run_on_first(self, function: Callable[[], None]) -> None:
        """Call a function in the first process. Raise its UserError in all."""
        with self.share_errors():
            if self.is_first:
                function()


ALONE = Processes()
"""A command in one process."""


def read_world() -> tuple[int, int]:
    """Return the number of processes, and of those on this machine; 1 and 1 without torchrun.

    UserError if the variables hold other texts, or some are missing.
    """
    world, local = read_count("WORLD_SIZE"), read_count("LOCAL_WORLD_SIZE")
    missing = [name for name in VARIABLES if not os.environ.get(name)]
    if world > 1 and missing:
        raise UserError(
            f"the environment variable WORLD_SIZE is {world}, but {missing[0]} is not set",
            hint="unset WORLD_SIZE, or start with torchrun",
        )
    if world % local:
        raise UserError(
            f"WORLD_SIZE is {world} and LOCAL_WORLD_SIZE is {local}, which does not divide it",
            hint="start as many processes on each machine",
        )
    return world, local


def read_count(variable: str) -> int:
    """Return the number of processes that torchrun set, 1 without it. UserError for other texts."""
    text = os.environ.get(variable, "1")
    if not text.isdecimal() or not int(text):
        raise UserError(
            f"the environment variable {variable} is `{text}`, not a number of processes",
            hint=f"unset {variable}, or start with torchrun",
        )
    return int(text)


def local_device(name: str) -> torch.device:
    """Return this process' device of a kind: the GPU of its number on this machine.

    UserError if the machine has fewer GPUs than processes.
    """
    world, local = read_world()
    if name != "cuda" or world == 1:
        return torch.device(name)
    if local > (gpus := torch.cuda.device_count()):
        raise UserError(
            f"torchrun started {local} processes here, and this machine has {gpus} GPUs",
            hint=f"pass --nproc-per-node {gpus}, or --device cpu",
        )
    return torch.device(name, int(os.environ["LOCAL_RANK"]))


@contextmanager
def joined_processes() -> Iterator[Processes]:
    """Yield the processes of this command, which can exchange values inside the block."""
    world, _ = read_world()
    if world == 1:
        yield Processes()
        return
    distributed.init_process_group("gloo", timeout=WAIT)
    try:
        yield Processes(distributed.get_rank(), world)
    finally:
        distributed.destroy_process_group()


def require_one_process(what: str) -> None:
    """Raise UserError if torchrun started several processes for a command that uses one."""
    if (world := read_world()[0]) > 1:
        raise UserError(
            f"{what} uses one process; torchrun started {world}", hint="start it without torchrun"
        )
