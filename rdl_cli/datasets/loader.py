"""Which pictures these are, and the stream of them that training reads."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from rdl_cli.core.errors import UserError
from rdl_cli.core.pixels import pixel_digests
from rdl_cli.core.seeds import Seeds
from rdl_cli.core.tensor_types import UNLABELLED, Batch, Ids, Images
from rdl_cli.datasets.augmentation import Views
from rdl_cli.datasets.base import LazyImages, Split, Splits, image_shape_at

EVALUATION_BATCH = 250


def image_digests(images: Images | LazyImages) -> np.ndarray:
    """What every picture is known by, S64 (n,): core/pixels.py says of what it is the digest."""
    found = np.empty(images.shape[0], dtype="S64")
    for first in range(0, len(found), 1000):
        found[first : first + 1000] = pixel_digests(
            image_shape_at(images, slice(first, first + 1000)).cpu().numpy()
        )
    return found


def number_occurrences(digests: np.ndarray) -> np.ndarray:
    """How many equal pictures came before each, int64 (n,): (digest, occurrence) is a key even where pictures repeat."""
    order = np.argsort(digests, kind="stable")
    ordered = digests[order]
    place = np.arange(len(ordered))
    first = (
        np.maximum.accumulate(np.where(np.r_[True, ordered[1:] != ordered[:-1]], place, 0))
        if len(ordered)
        else place
    )
    found = np.empty(len(ordered), dtype=np.int64)
    found[order] = place - first
    return found


def shared_images(mine: Split, theirs: Split) -> int:
    """How many pictures of mine are also among theirs, pixel for pixel."""
    return int(np.isin(image_digests(mine.images), image_digests(theirs.images)).sum())


def dataset_fingerprint(splits: Splits) -> str:
    """What a data set is known by: SHA-256 over the digests, labels and ids of its three splits, in their order."""
    whole = hashlib.sha256()
    for split in splits:
        whole.update(image_digests(split.images).tobytes())
        for column in (split.labels, split.ids):
            whole.update(column.cpu().numpy().astype("<i8").tobytes())
    return whole.hexdigest()


class Batches:
    """Batches of a labelled split, or of a labelled and an unlabelled one: then each holds as many of both, labelled first.

    An epoch is one pass over the larger split, without its last partial batch, or `steps` steps where they are given; after
    `total` steps there are no more. The shorter split starts again with a fresh shuffle as often as it takes, and no picture
    comes twice in a batch: a shuffle is dealt out in whole batches, and a split smaller than a batch is one batch. What is
    drawn from the labelled split depends on seed, epoch and step alone, so a baseline without the unlabelled pictures gets the
    same draws, and a resumed run goes on as if it had never stopped.

    The pictures live as uint8 on the device where they fit. Files, and what would take more than a quarter of an
    accelerator's free memory, stream through a DataLoader.
    """

    def __init__(
        self,
        labelled: Split,
        unlabelled: Split | None,
        batch_size: int,
        views: Views,
        preprocess: Callable[[Images], Images],
        device: torch.device | str = "cpu",
        steps: int | None = None,
        total: int | None = None,
    ):
        if batch_size < 1:
            raise UserError(
                f"a batch of {batch_size} images is not possible",
                hint="the batch size is 1 or more",
            )
        if steps is not None and steps < 1:
            raise UserError(
                f"an epoch of {steps} steps is not possible",
                hint="the number of steps is 1 or more",
            )
        self.splits = [labelled] if unlabelled is None else [labelled, unlabelled]
        for split, kind in zip(self.splits, ("labelled", "unlabelled"), strict=False):
            if not len(split):
                raise UserError(
                    f"there are no {kind} images to train on",
                    hint="keep at least one: see --train-size",
                )
        self.views, self.preprocess, self.device = views, preprocess, torch.device(device)
        self.sizes = [min(batch_size, len(split)) for split in self.splits]
        if views.reach >= min(labelled.images.shape[2:]):
            height, width = labelled.images.shape[2:]
            raise UserError(
                f"`{views.spec}` moves pictures of {height} × {width} pixels out of sight",
                hint="shift:1 is usual for 28 × 28",
            )
        self.total = total
        self.steps = steps or max(
            len(split) // size for split, size in zip(self.splits, self.sizes, strict=True)
        )
        labels = [
            labelled.labels,
            *(torch.full_like(split.labels, UNLABELLED) for split in self.splits[1:]),
        ]
        self.labels = torch.cat(labels).to(self.device)
        self.ids = torch.cat([split.ids for split in self.splits]).to(self.device)
        self.images = _to_device(self.device, self.splits)

    def __len__(self) -> int:
        """Steps in an epoch."""
        return self.steps

    def epoch(self, seeds: Seeds, epoch: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """The batches of one epoch; of `world` processes each takes every `world`-th row of every batch, from row `rank` on."""
        if min(self.sizes) < world:
            raise UserError(
                f"a batch of {min(self.sizes)} can't be shared among {world} processes",
                hint="choose a larger batch size",
            )
        rows = [self._dealt(0, seeds, "shuffle", epoch)]
        views = [self._drawn(rows[0], seeds("views", epoch))]
        if len(self.splits) == 2:
            rows.append(self._dealt(1, seeds, "unlabelled", epoch))
            views.append(self._drawn(rows[1], seeds("views of the unlabelled", epoch)))
            rows[1] += len(self.splits[0])
        left = self.steps if self.total is None else self.total - epoch * self.steps
        mine = torch.stack([torch.cat(rows, 1), torch.cat(views, 1)])[:, :left, rank::world]
        return self._batches(mine[0].flatten(), mine[1].flatten(), size=mine.shape[2])

    def in_order(self, view: int = 0, batch_size: int = EVALUATION_BATCH) -> Iterator[Batch]:
        """The labelled split once, in its order, every picture in the same view: for evaluating and for exporting."""
        rows = torch.arange(len(self.splits[0]))
        return self._batches(rows, torch.full_like(rows, view), size=batch_size)

    def _dealt(self, which: int, seeds: Seeds, purpose: str, epoch: int) -> torch.Tensor:
        """Rows of a split, `steps size`: as many shuffles as it takes, each dealt out in whole batches."""
        n, size = len(self.splits[which]), self.sizes[which]
        batches = n // size
        shuffles = [
            torch.randperm(n, generator=seeds(purpose, epoch, cycle))
            for cycle in range(-(-self.steps // batches))
        ]
        return torch.cat([shuffle[: batches * size].view(batches, size) for shuffle in shuffles])[
            : self.steps
        ]

    def _drawn(self, rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return torch.randint(len(self.views), rows.shape, generator=generator)

    def _batches(self, rows: Ids, views: Ids, size: int) -> Iterator[Batch]:
        streamed = _streamed(self.splits, rows.split(size))
        rows, views = (
            rows.to(self.device),
            views.to(self.device),
        )  # once, so that no step waits for a copy
        for mine, view in zip(rows.split(size), views.split(size), strict=True):
            images = (
                next(streamed).to(self.device, non_blocking=True)
                if self.images is None
                else self.images[mine]
            )
            yield Batch(
                self.preprocess(self.views.apply(images, view)),
                self.labels[mine],
                self.ids[mine],
                view,
            )


def _to_device(device: torch.device, splits: list[Split]) -> Images | None:
    """All pictures on the device, or None where they are files or too many."""
    images = [split.images for split in splits if isinstance(split.images, torch.Tensor)]
    if len(images) < len(splits):
        return None
    if (
        device.type == "cuda"
        and sum(each.nbytes for each in images) > torch.cuda.mem_get_info(device)[0] // 4
    ):
        return None
    return torch.cat(images).to(device) if len(images) > 1 else images[0].to(device)


def _streamed(splits: list[Split], rows: Iterable[torch.Tensor]) -> Iterator[Images]:
    """The uint8 pictures of each batch, read by other processes while the network learns."""
    files = not all(isinstance(split.images, torch.Tensor) for split in splits)
    workers = (
        min(
            4,
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1,
        )
        if files
        else 0
    )
    generator = (
        torch.Generator()
    )  # its own: a DataLoader without one draws from the global generator
    for images in DataLoader(
        _Pictures(splits, list(rows)), batch_size=None, num_workers=workers, generator=generator
    ):
        if isinstance(images, UserError):
            raise images
        yield images


class _Pictures(Dataset):
    """The pictures of a batch, for every batch; the rows of a second split count on from the first's."""

    def __init__(self, splits: list[Split], rows: list[torch.Tensor]):
        self.splits, self.rows = splits, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, batch: int) -> Images | UserError:
        rows, first = self.rows[batch], len(self.splits[0])
        parts = [rows[rows < first], rows[rows >= first] - first]
        try:
            return torch.cat(
                [split.read(part) for split, part in zip(self.splits, parts, strict=False)]
            )
        except UserError as damaged:
            return damaged  # raised in a worker it would come back with the worker's traceback for its text
