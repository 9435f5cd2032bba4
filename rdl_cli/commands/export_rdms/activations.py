"""Forward a teacher's images batch by batch, and write its layers; in one process or several.

Batches are cut as by one process, and process r of `world` forwards every `world`-th. So a store's
layers do not depend on the number of processes.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from rdl_cli.commands.activation_reader import ActivationReader
from rdl_cli.commands.console import log, progress
from rdl_cli.commands.export_rdms.finite_check import FiniteCheck
from rdl_cli.commands.export_rdms.reduction import Reduction
from rdl_cli.commands.processes import Processes, SharedError
from rdl_cli.commands.settings import ExportSettings
from rdl_cli.core.errors import UserError
from rdl_cli.core.tensor_types import Batch, Ids
from rdl_cli.networks.hooks import LOGITS, read_layers
from rdl_cli.store.joined_writer import JoinedWriter, count_joined, join_store
from rdl_cli.store.writer import Writer, create_store

CHECKPOINT_EVERY = 20  # batches; each checkpoint is an fdatasync


@contextmanager
def create_shared_store(
    processes: Processes, path: Path, *arguments: Any, **options: Any
) -> Iterator[Writer]:
    """Yield a writer of the store at `path` in every process; see `create_store`.

    The first process lays the file out, and finishes it when all have written their rows.
    """
    with processes.share_errors(), ExitStack() as stack:
        writers: list[Writer] = []
        processes.run_on_first(
            lambda: writers.append(stack.enter_context(create_store(path, *arguments, **options)))
        )
        if not processes.is_first:
            writers.append(stack.enter_context(join_store(path)))
        (writer,) = writers
        writer.rows = processes.gather(writer.rows)[0]
        try:
            yield writer
        except SharedError:  # of another process; an error here has discarded the store already
            writer.discard()
            raise
        joined = isinstance(writer, JoinedWriter)
        if joined:
            stack.close()  # what was written here is durable before the first process finishes
        written = processes.gather(writer.nbytes if isinstance(writer, JoinedWriter) else 0)
        if not joined:
            count_joined(writer, sum(written))


@torch.no_grad()
def measure_error(
    reader: ActivationReader, settings: ExportSettings, processes: Processes
) -> float | None:
    """Log and return the teacher's error on the images; None if they have other classes."""
    classes, n = len(reader.split.classes), len(reader.split)
    if reader.shapes[LOGITS] != (classes,):
        log(
            f"teacher {reader.name}: no error on these images; they have {classes} classes,"
            f" its logits have shape {reader.shapes[LOGITS]}"
        )
        return None
    rows = own_rows(0, n, reader.batch_size, processes)
    errors = 0
    if len(rows):
        for batch in reader.batches_of(rows).in_order(0, reader.batch_size):
            errors += int((reader.network(batch.images).argmax(1) != batch.labels).sum())
    errors = sum(processes.gather(errors))
    log(
        f"teacher {reader.name}: error {100 * errors / n:.2f} % on the {settings.split} images"
        f" ({errors:,} of {n:,})"
    )
    return errors / n


def own_rows(start: int, n: int, batch_size: int, processes: Processes) -> Ids:
    """Return the rows from `start` on that are in this process' batches.

    >>> own_rows(0, 10, 4, Processes(0, 2))
    tensor([0, 1, 2, 3, 8, 9])
    """
    batches = torch.arange(start, n).split(batch_size)[processes.rank :: processes.world]
    return torch.cat(batches) if batches else torch.arange(0)


@torch.no_grad()
def write_activations(
    writer: Writer,
    reader: ActivationReader,
    layers: Sequence[str],
    reduction: Reduction,
    processes: Processes,
) -> None:
    """Write all layers in one pass over the images, from the first row that is missing.

    UserError in all processes if a layer has no geometry.
    """
    n, start = len(reader.split), writer.rows
    checks = {layer: FiniteCheck(layer) for layer in layers}
    if processes.is_first:
        for layer, check in checks.items():  # what a killed export wrote
            check.add(writer.read(layer, start))
    if start < n:
        _write_batches(writer, reader, layers, reduction, checks, processes)
    first, *others = processes.gather(checks)
    try:
        for layer, check in first.items():
            for other in others:
                check.merge(other[layer])
            check.finish()
    except UserError:
        writer.discard()
        raise


def _write_batches(
    writer: Writer,
    reader: ActivationReader,
    layers: Sequence[str],
    reduction: Reduction,
    checks: dict[str, FiniteCheck],
    processes: Processes,
) -> None:
    n, start, size = len(reader.split), writer.rows, reader.batch_size
    starts = range(start, n, size)
    own_starts = starts[processes.rank :: processes.world]
    batches = _batches_of_views(reader, own_rows(start, n, size, processes))
    with progress(n, writer.path.name) as bar:
        done = start
        bar.advance(done)
        for step in range(-(-len(starts) // processes.world)):
            if step < len(own_starts):
                for view, batch in enumerate(next(batches)):
                    for layer, reps in read_layers(reader.network, batch.images, layers).items():
                        values = reduction(reps.float().cpu().numpy())
                        writer.write(layer, own_starts[step], values, view)
                        checks[layer].add(values)
            stop = min(n, start + (step + 1) * size * processes.world)
            bar.advance(stop - done)
            done = stop
            if step % CHECKPOINT_EVERY == CHECKPOINT_EVERY - 1:
                _checkpoint(writer, stop, processes)


def _batches_of_views(reader: ActivationReader, rows: Ids) -> Iterator[tuple[Batch, ...]]:
    """Yield each batch of these rows in all views."""
    if not len(rows):
        return
    batches = reader.batches_of(rows)
    views = (batches.in_order(view, reader.batch_size) for view in range(len(reader.views)))
    yield from zip(*views, strict=True)


def _checkpoint(writer: Writer, stop: int, processes: Processes) -> None:
    """Record rows up to `stop` once they are durable in all processes."""
    if not processes.is_first:
        writer.checkpoint(stop)
    processes.gather()
    if processes.is_first:
        writer.checkpoint(stop)
