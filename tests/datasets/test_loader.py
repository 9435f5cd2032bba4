"""Batches: which images, when, in which process."""

import itertools
from dataclasses import dataclass

import pytest
import torch

from rdl_cli.core.errors import UserError
from rdl_cli.core.seeds import Seeds
from rdl_cli.core.tensor_types import UNLABELLED, Batch
from rdl_cli.datasets.augmentation import VIEWS
from rdl_cli.datasets.base import Split
from rdl_cli.datasets.loader import Batches
from rdl_cli.datasets.preprocessing import PREPROCESSING


def split_of(n: int, first: int = 0) -> Split:
    """Return images that all differ; ids count from `first`."""
    ids = torch.arange(first, first + n)
    images = (ids[:, None] * torch.tensor([1, 7, 31, 101]) % 256).to(torch.uint8).view(n, 1, 2, 2)
    return Split(images, ids % 10, ids, tuple("0123456789"))


@dataclass(frozen=True)
class OnDisk:
    """Images that do not fit in memory."""

    images: torch.Tensor

    @property
    def shape(self) -> torch.Size:
        return self.images.shape

    def __getitem__(self, rows: torch.Tensor) -> "OnDisk":
        return OnDisk(self.images[rows])

    def read(self, rows: torch.Tensor | slice) -> torch.Tensor:
        return self.images[rows]


def on_disk(split: Split) -> Split:
    return Split(OnDisk(split.images), split.labels, split.ids, split.classes)  # type: ignore[arg-type]


def batches(
    labelled: Split,
    unlabelled: Split | None = None,
    size: int = 10,
    views: str = "none",
    steps: int | None = None,
) -> Batches:
    return Batches(
        labelled,
        unlabelled,
        size,
        VIEWS.make(views),
        PREPROCESSING.make("unit", labelled),
        steps=steps,
    )


def epoch(stream: Batches, number: int = 0, seed: int = 0, **process: int) -> list[Batch]:
    return list(stream.epoch(Seeds(seed), number, **process))


def same(a: list[Batch], b: list[Batch]) -> bool:
    return len(a) == len(b) and all(all(map(torch.equal, x, y)) for x, y in zip(a, b, strict=True))


def ids(drawn: list[Batch]) -> list[int]:
    return torch.cat([batch.ids for batch in drawn]).tolist()


@pytest.mark.parametrize("n", [1, 9, 10, 25, 60])
def test_batches_an_epoch_shows_each_image_at_most_once_and_drops_the_last_partial_batch(n: int):
    stream = batches(split_of(n))
    drawn = epoch(stream)
    assert len(drawn) == len(stream) == max(1, n // 10)
    assert all(len(batch.ids) == min(n, 10) for batch in drawn)
    assert len(set(ids(drawn))) == len(ids(drawn)) == (n if n < 10 else n // 10 * 10)


def test_batches_have_the_images_of_its_ids():
    split = split_of(60, first=100)
    for batch in epoch(batches(split)):
        rows = batch.ids - 100
        assert torch.equal(batch.labels, split.labels[rows])
        torch.testing.assert_close(batch.images, split.images[rows] / 255)


def test_batches_epochs_and_seeds_differ_and_can_be_repeated():
    stream = batches(split_of(60), split_of(200, 60), views="shift:1")
    assert same(
        epoch(stream, 3), epoch(batches(split_of(60), split_of(200, 60), views="shift:1"), 3)
    ), "a resumed run sees other images"
    assert not same(epoch(stream, 3), epoch(stream, 4))
    assert not same(epoch(stream, 3), epoch(stream, 3, seed=1))


@pytest.mark.parametrize("views", ["none", "shift:1"])
@pytest.mark.parametrize("n", [7, 60, 95])
def test_batches_labelled_rows_do_not_depend_on_the_unlabelled(views: str, n: int):
    labelled, unlabelled = split_of(n), split_of(230, 1000)
    together = epoch(batches(labelled, unlabelled, views=views))
    alone = epoch(batches(labelled, views=views, steps=23))
    half = min(n, 10)
    assert len(together) == len(alone) == 23
    assert same([Batch(*(part[:half] for part in batch)) for batch in together], alone)
    for batch in together:
        assert (
            (batch.labels[half:] == UNLABELLED).all()
            and (batch.ids[half:] >= 1000).all()
            and len(batch.ids) == half + 10
        )


def test_batches_the_shorter_split_is_shuffled_anew():
    drawn = epoch(batches(split_of(25), split_of(200, 1000)))
    cycles = [
        ids([Batch(*(part[:10] for part in batch)) for batch in drawn[k : k + 2]])
        for k in range(0, 20, 2)
    ]
    assert all(len(set(cycle)) == 20 for cycle in cycles), "a shuffle showed an image twice"
    assert len(set(map(tuple, cycles))) == len(cycles), "a shuffle came twice"
    assert set(itertools.chain(*cycles)) == set(range(25)), "some image never came"
    assert sorted(ids([Batch(*(part[10:] for part in batch)) for batch in drawn])) == list(
        range(1000, 1200)
    )


@pytest.mark.parametrize("steps", [1, 4, 17])
def test_batches_an_epoch_has_the_given_steps(steps: int):
    long, short = epoch(batches(split_of(60), steps=17)), epoch(batches(split_of(60), steps=steps))
    assert len(short) == steps and ids(short) == ids(long)[: 10 * steps]


def test_batches_total_limits_the_steps():
    stream = Batches(
        split_of(60),
        None,
        10,
        VIEWS.make("none"),
        PREPROCESSING.make("unit", split_of(60)),
        steps=4,
        total=10,
    )
    whole = batches(split_of(60), steps=4)
    for number, steps in enumerate((4, 4, 2)):
        drawn, unlimited = (list(batch.epoch(Seeds(0), number)) for batch in (stream, whole))
        assert len(drawn) == steps and same(drawn, unlimited[:steps])


def test_batches_a_shift_of_the_whole_image_is_refused():
    with pytest.raises(UserError, match="`shift:2` can shift all pixels out of images of 2 × 2"):
        batches(split_of(60), views="shift:2")


@pytest.mark.parametrize("world", [2, 3])
def test_batches_processes_get_disjoint_parts_of_a_batch(world: int):
    stream = batches(split_of(60), split_of(90, 1000), views="shift:1")
    parts = [epoch(stream, 2, rank=rank, world=world) for rank in range(world)]
    for step, whole in enumerate(epoch(stream, 2)):
        joined = torch.empty_like(whole.ids)
        for rank in range(world):
            joined[rank::world] = parts[rank][step].ids
            assert torch.equal(parts[rank][step].images, whole.images[rank::world])
        assert torch.equal(joined, whole.ids)


def test_batches_views_are_uniform_and_are_those_of_the_images():
    split = split_of(100)
    stream = batches(split, size=50, views="hflip")
    drawn = [batch for number in range(20) for batch in epoch(stream, number)]
    assert 900 < torch.cat([batch.views for batch in drawn]).sum() < 1100  # of 2,000; sd 22
    for batch in drawn:
        plain = split.images[batch.ids] / 255
        torch.testing.assert_close(
            batch.images, torch.where((batch.views == 1)[:, None, None, None], plain.flip(3), plain)
        )


@pytest.mark.parametrize("view", [0, 1])
def test_in_order_is_the_labelled_split_in_one_view(view: int):
    split = split_of(23)
    drawn = list(
        batches(split, split_of(50, 100), views="hflip").in_order(view=view, batch_size=10)
    )
    assert ids(drawn) == list(range(23)) and [len(batch.ids) for batch in drawn] == [10, 10, 3]
    shown = split.images.flip(3) if view else split.images
    torch.testing.assert_close(torch.cat([batch.images for batch in drawn]), shown / 255)
    assert torch.cat([batch.views for batch in drawn]).tolist() == [view] * 23


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_batches_images_from_disk_come_in_the_same_batches():
    few, many = split_of(12), split_of(40, 100)
    before = torch.get_rng_state()
    for one, other in ((on_disk(few), on_disk(many)), (few, on_disk(many))):
        assert same(
            epoch(batches(one, other, views="hflip")), epoch(batches(few, many, views="hflip"))
        )
    assert same(list(batches(on_disk(many)).in_order()), list(batches(many).in_order()))
    assert torch.equal(torch.get_rng_state(), before), "the stream drew from the global generator"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_do_not_depend_on_the_number_of_workers(workers: int):
    few, many = split_of(12), split_of(40, 100)
    hflip, unit = VIEWS.make("hflip"), PREPROCESSING.make("unit", many)
    streamed = Batches(on_disk(few), on_disk(many), 10, hflip, unit, workers=workers)
    assert streamed.placement == f"read from files by {workers} processes"
    assert same(epoch(streamed, 2), epoch(batches(few, many, views="hflip"), 2))


def test_batches_beyond_the_limit_are_gathered_ahead_in_the_same_order():
    few, many = split_of(12), split_of(40, 100)
    hflip, unit = VIEWS.make("hflip"), PREPROCESSING.make("unit", many)
    gathered = Batches(few, many, 10, hflip, unit, device_bytes=207)
    placed = Batches(few, many, 10, hflip, unit, device_bytes=208)
    assert gathered.images is None and placed.images is not None
    assert gathered.placement.startswith("in memory") and placed.placement == "on cpu, 0.0 MB"
    assert same(epoch(gathered), epoch(placed))
    assert same(list(gathered.in_order()), list(placed.in_order()))


@pytest.mark.parametrize("first", [0, 2, 4])
def test_batches_continue_within_an_epoch(first: int):
    stream = batches(split_of(60), split_of(50, 100), views="shift:1")
    resumed = list(stream.epoch(Seeds(0), 1, first=first))
    assert same(resumed, epoch(stream, 1)[first:])


@pytest.mark.parametrize(
    ("n", "size", "steps", "world"),
    [(0, 10, None, 1), (5, 0, None, 1), (5, 1, 0, 1), (1, 10, None, 2)],
)
def test_batches_impossible_ones_are_refused(n: int, size: int, steps: int | None, world: int):
    with pytest.raises(UserError):
        batches(split_of(n), size=size, steps=steps).epoch(Seeds(0), 0, world=world)
