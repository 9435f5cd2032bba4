"""The stream of batches that training reads."""

import os
from collections.abc import Callable, Iterable, Iterator

import torch
from torch.utils.data import DataLoader, Dataset

from rdl_cli.core.errors import UserError
from rdl_cli.core.seeds import Seeds
from rdl_cli.core.tensor_types import UNLABELLED, Batch, Ids, Images
from rdl_cli.datasets.augmentation import Views
from rdl_cli.datasets.base import Split

EVALUATION_BATCH = 250
MAX_WORKERS = 4


class Batches:
    """Batches of a labelled split, or of a labelled and an unlabelled one: equally many of each.

    An epoch is one pass over the larger split without its last partial batch, or `steps` steps if
    given; `total` limits the steps of all epochs. The shorter split is shuffled anew as often as
    needed. A shuffle is cut into whole batches, so no image occurs twice in a batch; a split that
    is smaller than a batch is one batch. Labelled rows depend on seed, epoch and step alone: a
    baseline without unlabelled images draws the same ones, and a resumed run equals an
    uninterrupted one.

    Images stay as uint8 on the device if they fit. Files, and images that need more than a quarter
    of a GPU's free memory, are streamed through a DataLoader.
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
        self.total = total
        self.steps = steps or max(
            len(split) // size for split, size in zip(self.splits, self.sizes, strict=True)
        )
        unknown = [torch.full_like(split.labels, UNLABELLED) for split in self.splits[1:]]
        self.labels = torch.cat([labelled.labels, *unknown]).to(self.device)
        self.ids = torch.cat([split.ids for split in self.splits]).to(self.device)
        self.images = _copy_to_device(self.device, self.splits)

    def __len__(self) -> int:
        """Return the steps in an epoch."""
        return self.steps

    def epoch(self, seeds: Seeds, epoch: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """Yield the batches of an epoch; process `rank` of `world` gets every `world`-th row."""
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
        own = torch.stack([torch.cat(rows, 1), torch.cat(views, 1)])[:, :steps, rank::world]
        return self._batches(own[0].flatten(), own[1].flatten(), size=own.shape[2])

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

    def _batches(self, rows: Ids, views: Ids, size: int) -> Iterator[Batch]:
        stream = _stream_images(self.splits, rows.split(size))
        rows, views = rows.to(self.device), views.to(self.device)  # once; a step waits for no copy
        for own, view in zip(rows.split(size), views.split(size), strict=True):
            images = (
                next(stream).to(self.device, non_blocking=True)
                if self.images is None
                else self.images[own]
            )
            images = self.preprocess(self.views.apply(images, view))
            yield Batch(images, self.labels[own], self.ids[own], view)


def _copy_to_device(device: torch.device, splits: list[Split]) -> Images | None:
    """Return all images on the device, or None if they are files or need too much memory."""
    images = [split.images for split in splits if isinstance(split.images, torch.Tensor)]
    if len(images) < len(splits):
        return None
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if sum(part.nbytes for part in images) > free // 4:
            return None
    return torch.cat(images).to(device) if len(images) > 1 else images[0].to(device)


def _stream_images(splits: list[Split], rows: Iterable[torch.Tensor]) -> Iterator[Images]:
    """Yield the uint8 images of each batch; files are read by other processes."""
    workers = 0
    if not all(isinstance(split.images, torch.Tensor) for split in splits):
        has_affinity = hasattr(os, "sched_getaffinity")
        cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
        workers = min(MAX_WORKERS, cores)
    batches = _ImageBatches(splits, list(rows))
    own = torch.Generator()  # a DataLoader without one draws from the global generator
    for images in DataLoader(batches, batch_size=None, num_workers=workers, generator=own):
        if isinstance(images, UserError):
            raise images
        yield images


class _ImageBatches(Dataset):
    """The images of each batch; rows of a second split continue the first's."""

    def __init__(self, splits: list[Split], rows: list[torch.Tensor]):
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
