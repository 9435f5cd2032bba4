"""Write rows of a store that another process has laid out and will finish."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rdl_cli.store.format import read_index
from rdl_cli.store.store import partial
from rdl_cli.store.writer import Writer


class JoinedWriter(Writer):
    """Fills rows of its own in another process' unfinished store."""

    @property
    def nbytes(self) -> int:
        """The bytes that were written here."""
        return -self._unwritten

    def discard(self) -> None:
        """Write no more. The owner of the store removes it, once it has written no more either."""
        self._close()

    def checkpoint(self, rows: int) -> None:
        """Make what was written here durable; the owner of the store records the rows."""
        with self._discard_on_error():
            self._sync()


@contextmanager
def join_store(path: Path) -> Iterator[JoinedWriter]:
    """Yield a writer for the unfinished store at `path`. What it wrote is durable after the block.

    h5py has one writer for each file, but only lays it out (store/writer.py). Blocks are written to
    known places of the file, so several processes can write different rows.
    """
    writer = JoinedWriter(path, partial(path).stat().st_size, "")
    writer._open(read_index(partial(path)))
    try:
        yield writer
        writer.checkpoint(0)
    finally:
        writer._close()


def count_joined(writer: Writer, nbytes: int) -> None:
    """Count bytes that joined writers wrote, so that the owner misses none of them."""
    writer._unwritten -= nbytes
