"""The stream of batches that training reads."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch.utils.data import DataLoader, Dataset

from rdl_cli.core.errors import UserError
from rdl_cli.core.seeds import Seeds
from rdl_cli.core.tensor_types import UNLABELLED, Batch, Ids, Images
from rdl_cli.datasets.augmentation import Views
from rdl_cli.datasets.base import Split
from rdl_cli.datasets.random_augmentation import RandomAugmentation

EVALUATION_BATCH = 250
MAX_WORKERS = 16
AHEAD = 2
"""Batches that are gathered while the device computes."""


class Batches:
    """Batches of a labelled split, or of a labelled and an unlabelled one: equally many of each.

    An epoch is one pass over the larger split without its last partial batch, or `steps` steps if
    given; `total` limits the steps of all epochs. The shorter split is shuffled anew as often as
    needed. A shuffle is cut into whole batches, so no image occurs twice in a batch; a split that
    is smaller than a batch is one batch. Labelled rows depend on seed, epoch and step alone: a
    baseline without unlabelled images draws the same ones, and a resumed run equals an
    uninterrupted one.

    Images stay as uint8 on the device if they fit. Others are streamed: files are decoded and
    resized by other processes, rows of a large array are gathered ahead by a thread, both into
    pinned memory for a GPU. Samples do not depend on the number of workers.
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
        augmentation: RandomAugmentation | None = None,
        workers: int | None = None,
        device_bytes: int | None = None,
    ):
        if batch_size < 1:
            raise UserError(f"the batch size is {batch_size}; at least 1 is needed")
        if steps is not None and steps < 1:
            raise UserError(f"an epoch has {steps} steps; at least 1 is needed")
        self.splits = [labelled] if unlabelled is None else [labelled, unlabelled]
        for split, kind in zip(self.splits, ("labelled", "unlabelled"), strict=False):
            if not len(split):
                raise UserError(
                    f"there are no {kind} images to train on",
                    hint="keep at least one: see --train-size",
                )
        self.views, self.preprocess, self.device = views, preprocess, torch.device(device)
        self.sizes = [min(batch_size, len(split)) for split in self.splits]
        height, width = labelled.images.shape[2:]
        if views.max_shift >= min(height, width):
            raise UserError(
                f"`{views.spec}` can shift all pixels out of images of {height} × {width}",
                hint="use shift:1 for 28 × 28 pixels",
            )
        self.total, self.augmentation, self.workers = total, augmentation, workers
        if augmentation is not None:
            augmentation.check(tuple(labelled.images.shape[1:]))
        self.steps = steps or max(
            len(split) // size for split, size in zip(self.splits, self.sizes, strict=True)
        )
        unknown = [torch.full_like(split.labels, UNLABELLED) for split in self.splits[1:]]
        self.labels = torch.cat([labelled.labels, *unknown]).to(self.device)
        self.ids = torch.cat([split.ids for split in self.splits]).to(self.device)
        self.images = _copy_to_device(self.device, self.splits, device_bytes)

    def __len__(self) -> int:
        """Return the steps in an epoch."""
        return self.steps

    @property
    def placement(self) -> str:
        """Where the images are, in words."""
        if self.images is not None:
            return f"on {self.device}, {self.images.nbytes / 1e6:,.1f} MB"
        if any(isinstance(split.images, torch.Tensor) for split in self.splits):
            return f"in memory, copied to {self.device} batch by batch"
        return f"read from files by {_count_workers(self.workers)} processes"

    def epoch(
        self, seeds: Seeds, epoch: int, rank: int = 0, world: int = 1, first: int = 0
    ) -> Iterator[Batch]:
        """Yield the batches of an epoch from step `first` on.

        Process `rank` of `world` gets every `world`-th row.
        """
        if min(self.sizes) < world:
            raise UserError(
                f"a batch of {min(self.sizes)} can't be shared among {world} processes",
                hint="use a larger --batch-size",
            )
        rows = [self._shuffled_rows(0, seeds, "shuffle", epoch)]
        views = [self._random_views(rows[0], seeds("views", epoch))]
        if len(self.splits) == 2:
            rows.append(self._shuffled_rows(1, seeds, "unlabelled", epoch))
            views.append(self._random_views(rows[1], seeds("views of the unlabelled", epoch)))
            rows[1] += len(self.splits[0])
        steps = self.steps if self.total is None else self.total - epoch * self.steps
        own = torch.stack([torch.cat(rows, 1), torch.cat(views, 1)])[:, first:steps, rank::world]
        columns = range(rank, sum(self.sizes), world)

        def augment(images: Images, step: int) -> Images:
            assert self.augmentation is not None
            return self.augmentation.apply(images, seeds, epoch, first + step, columns)

        return self._batches(
            own[0].flatten(),
            own[1].flatten(),
            size=own.shape[2],
            augment=augment if self.augmentation else None,
        )

    def in_order(self, view: int = 0, batch_size: int = EVALUATION_BATCH) -> Iterator[Batch]:
        """Yield the labelled split once, in order, all images in one view."""
        rows = torch.arange(len(self.splits[0]))
        return self._batches(rows, torch.full_like(rows, view), size=batch_size)

    def _shuffled_rows(self, which: int, seeds: Seeds, purpose: str, epoch: int) -> torch.Tensor:
        """Return rows of a split, `steps size`, from as many shuffles as needed."""
        n, size = len(self.splits[which]), self.sizes[which]
        batches = n // size
        shuffles = [
            torch.randperm(n, generator=seeds(purpose, epoch, cycle))
            for cycle in range(-(-self.steps // batches))
        ]
        rows = [shuffle[: batches * size].view(batches, size) for shuffle in shuffles]
        return torch.cat(rows)[: self.steps]

    def _random_views(self, rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return torch.randint(len(self.views), rows.shape, generator=generator)

    def _batches(
        self,
        rows: Ids,
        views: Ids,
        size: int,
        augment: Callable[[Images, int], Images] | None = None,
    ) -> Iterator[Batch]:
        stream = self._stream(rows.split(size)) if self.images is None else iter(())
        rows, views = rows.to(self.device), views.to(self.device)  # once; a step waits for no copy
        for step, (own, view) in enumerate(zip(rows.split(size), views.split(size), strict=True)):
            images = (
                next(stream).to(self.device, non_blocking=True)
                if self.images is None
                else self.images[own]
            )
            images = self.views.apply(images, view)
            images = augment(images, step) if augment else images
            yield Batch(self.preprocess(images), self.labels[own], self.ids[own], view)

    def _stream(self, rows: Sequence[torch.Tensor]) -> Iterator[Images]:
        """Yield the uint8 images of each batch, in pinned memory for a GPU."""
        batches, pin = _ImageBatches(self.splits, rows), self.device.type == "cuda"
        if all(isinstance(split.images, torch.Tensor) for split in self.splits):
            return _gather_ahead(batches, pin)
        return _load_with_workers(batches, _count_workers(self.workers), pin)


def _copy_to_device(
    device: torch.device, splits: list[Split], limit: int | None = None
) -> Images | None:
    """Return all images on the device, or None if they are files or need too much memory.

    The limit is in bytes; by default a quarter of the free memory of a GPU.
    """
    images = [split.images for split in splits if isinstance(split.images, torch.Tensor)]
    if len(images) < len(splits):
        return None
    if limit is None and device.type == "cuda":
        limit = torch.cuda.mem_get_info(device)[0] // 4
    if limit is not None and sum(part.nbytes for part in images) > limit:
        return None
    return torch.cat(images).to(device) if len(images) > 1 else images[0].to(device)


def _count_workers(workers: int | None) -> int:
    """Return the number of processes that read files: by default one for each core."""
    if workers is not None:
        return workers
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return min(MAX_WORKERS, max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))


def _load_with_workers(batches: "_ImageBatches", workers: int, pin: bool) -> Iterator[Images]:
    """Yield the images of each batch; other processes decode and resize the next ones."""
    own = torch.Generator()  # a DataLoader without one draws from the global generator
    with warnings.catch_warnings(category=UserWarning, action="ignore"):  # more than cores
        loader = DataLoader(
            batches, batch_size=None, num_workers=workers, generator=own, pin_memory=pin
        )
        stream = iter(loader)
    for images in stream:
        if isinstance(images, UserError):
            raise images
        yield images


def _gather_ahead(batches: "_ImageBatches", pin: bool) -> Iterator[Images]:
    """Yield the images of each batch; a thread gathers the next ones."""

    def gather(batch: int) -> Images:
        images = batches[batch]
        assert isinstance(images, torch.Tensor), "arrays in memory are read without errors"
        return images.pin_memory() if pin else images

    with ThreadPoolExecutor(1) as thread:
        ahead = [thread.submit(gather, batch) for batch in range(min(AHEAD, len(batches)))]
        for batch in range(len(batches)):
            images = ahead.pop(0).result()
            if batch + AHEAD < len(batches):
                ahead.append(thread.submit(gather, batch + AHEAD))
            yield images


class _ImageBatches(Dataset[Images | UserError]):
    """The images of each batch; rows of a second split continue the first's."""

    def __init__(self, splits: list[Split], rows: Sequence[torch.Tensor]):
        self.splits, self.rows = splits, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, batch: int) -> Images | UserError:
        rows, first = self.rows[batch], len(self.splits[0])
        parts = [rows[rows < first], rows[rows >= first] - first]
        try:
            images = [split.read(part) for split, part in zip(self.splits, parts, strict=False)]
        except UserError as error:
            return error  # raised in a worker, its text would be the worker's traceback
        return torch.cat(images)
