"""Laws of the stream: what is drawn, when, by whom; and that a picture is known by its pixels."""

import hashlib
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from rdl_cli.core.errors import UserError
from rdl_cli.core.seeds import Seeds
from rdl_cli.core.tensor_types import UNLABELLED, Batch
from rdl_cli.datasets.augmentation import VIEWS
from rdl_cli.datasets.base import Split, Splits, load_dataset
from rdl_cli.datasets.loader import (
    Batches,
    dataset_fingerprint,
    image_digests,
    number_occurrences,
    shared_images,
)
from rdl_cli.datasets.preprocessing import PREPROCESSING


def split_of(n: int, first: int = 0) -> Split:
    """Pictures that all differ; ids count from `first`."""
    ids = torch.arange(first, first + n)
    images = (ids[:, None] * torch.tensor([1, 7, 31, 101]) % 256).to(torch.uint8).view(n, 1, 2, 2)
    return Split(images, ids % 10, ids, tuple("0123456789"))


@dataclass(frozen=True)
class OnDisk:
    """Stands for pictures that do not fit in memory."""

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


def epoch(stream: Batches, number: int = 0, seed: int = 0, **share: int) -> list[Batch]:
    return list(stream.epoch(Seeds(seed), number, **share))


def same(a: list[Batch], b: list[Batch]) -> bool:
    return len(a) == len(b) and all(all(map(torch.equal, x, y)) for x, y in zip(a, b, strict=True))


def ids(drawn: list[Batch]) -> list[int]:
    return torch.cat([batch.ids for batch in drawn]).tolist()


@pytest.mark.parametrize("n", [1, 9, 10, 25, 60])
def test_a_pass_shows_every_picture_at_most_once_and_drops_the_last_partial_batch(n: int):
    stream = batches(split_of(n))
    drawn = epoch(stream)
    assert len(drawn) == len(stream) == max(1, n // 10)
    assert all(len(batch.ids) == min(n, 10) for batch in drawn)
    assert len(set(ids(drawn))) == len(ids(drawn)) == (n if n < 10 else n // 10 * 10)


def test_a_batch_carries_its_pictures():
    split = split_of(60, first=100)
    for batch in epoch(batches(split)):
        rows = batch.ids - 100
        assert torch.equal(batch.labels, split.labels[rows])
        torch.testing.assert_close(batch.images, split.images[rows] / 255)


def test_epochs_and_seeds_differ_and_each_can_be_had_again():
    stream = batches(split_of(60), split_of(200, 60), views="shift:1")
    assert same(
        epoch(stream, 3), epoch(batches(split_of(60), split_of(200, 60), views="shift:1"), 3)
    ), "a resumed run sees other pictures"
    assert not same(epoch(stream, 3), epoch(stream, 4))
    assert not same(epoch(stream, 3), epoch(stream, 3, seed=1))


@pytest.mark.parametrize("views", ["none", "shift:1"])
@pytest.mark.parametrize("n", [7, 60, 95])
def test_labelled_draws_do_not_know_of_the_unlabelled(views: str, n: int):
    labelled, use_unlabelled = split_of(n), split_of(230, 1000)
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


def test_the_shorter_stream_starts_again_with_a_fresh_shuffle():
    drawn = epoch(batches(split_of(25), split_of(200, 1000)))
    cycles = [
        ids([Batch(*(part[:10] for part in batch)) for batch in drawn[k : k + 2]])
        for k in range(0, 20, 2)
    ]
    assert all(len(set(cycle)) == 20 for cycle in cycles), "a shuffle showed a picture twice"
    assert len(set(map(tuple, cycles))) == len(cycles), "a shuffle came twice"
    assert set(itertools.chain(*cycles)) == set(range(25)), "some picture never came"
    assert sorted(ids([Batch(*(part[10:] for part in batch)) for batch in drawn])) == list(
        range(1000, 1200)
    )


@pytest.mark.parametrize("steps", [1, 4, 17])
def test_an_epoch_has_the_steps_that_were_asked_for(steps: int):
    long, short = epoch(batches(split_of(60), steps=17)), epoch(batches(split_of(60), steps=steps))
    assert len(short) == steps and ids(short) == ids(long)[: 10 * steps]


def test_after_the_last_step_there_are_no_more():
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
        drawn, all_of_them = (list(each.epoch(Seeds(0), number)) for each in (stream, whole))
        assert len(drawn) == steps and same(drawn, all_of_them[:steps])


def test_pictures_are_not_moved_out_of_sight():
    with pytest.raises(UserError, match="`shift:2` moves pictures of 2 × 2 pixels out of sight"):
        batches(split_of(60), views="shift:2")


@pytest.mark.parametrize("world", [2, 3])
def test_shares_are_disjoint_and_together_the_batch(world: int):
    stream = batches(split_of(60), split_of(90, 1000), views="shift:1")
    shares = [epoch(stream, 2, rank=rank, world=world) for rank in range(world)]
    for step, whole in enumerate(epoch(stream, 2)):
        woven = torch.empty_like(whole.ids)
        for rank in range(world):
            woven[rank::world] = shares[rank][step].ids
            assert torch.equal(shares[rank][step].images, whole.images[rank::world])
        assert torch.equal(woven, whole.ids)


def test_views_are_drawn_evenly_and_are_what_is_shown():
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
def test_pictures_from_disk_come_in_the_same_batches():
    few, many = split_of(12), split_of(40, 100)
    before = torch.get_rng_state()
    for mine, theirs in ((on_disk(few), on_disk(many)), (few, on_disk(many))):
        assert same(
            epoch(batches(mine, theirs, views="hflip")), epoch(batches(few, many, views="hflip"))
        )
    assert same(list(batches(on_disk(many)).in_order()), list(batches(many).in_order()))
    assert torch.equal(torch.get_rng_state(), before), "the stream drew from the global generator"


@pytest.mark.parametrize(
    ("n", "size", "steps", "world"),
    [(0, 10, None, 1), (5, 0, None, 1), (5, 1, 0, 1), (1, 10, None, 2)],
)
def test_an_impossible_stream_is_refused(n: int, size: int, steps: int | None, world: int):
    with pytest.raises(UserError):
        batches(split_of(n), size=size, steps=steps).epoch(Seeds(0), 0, world=world)


def test_a_digest_is_sha_256_of_shape_and_pixels():
    images = torch.arange(2 * 3 * 4 * 5, dtype=torch.uint8).view(2, 3, 4, 5)
    expected = hashlib.sha256(b"3,4,5;" + bytes(range(60, 120))).hexdigest()
    assert image_digests(images)[1] == expected.encode() and image_digests(images).dtype == "S64"
    assert image_digests(images.permute(0, 1, 3, 2))[1] != expected.encode()
    assert image_digests(images.view(2, 3, 5, 4))[1] != expected.encode(), (
        "the shape is not in the digest"
    )
    assert np.array_equal(image_digests(OnDisk(images)), image_digests(images))  # type: ignore[arg-type]
    assert image_digests(images[:0]).shape == (0,)


def test_digests_survive_blocks_and_strides():
    images = split_of(2001).images
    assert image_digests(images)[2000] == image_digests(images[2000:])[0]
    channels_last = (
        torch.rand(4, 3, 5, 6).mul(255).to(torch.uint8).to(memory_format=torch.channels_last)
    )
    assert np.array_equal(image_digests(channels_last), image_digests(channels_last.contiguous()))


def test_occurrences_number_equal_pictures():
    letters = np.array([b"b", b"a", b"b", b"c", b"b", b"a"])
    assert number_occurrences(letters).tolist() == [0, 0, 1, 0, 2, 1]
    assert number_occurrences(letters[:0]).tolist() == []


def test_shared_counts_my_pictures_that_are_theirs():
    mine, theirs = split_of(20), split_of(30, 15)
    assert shared_images(mine, theirs) == 5
    twice = mine.at(torch.tensor([17, 17, 3]))
    assert shared_images(twice, theirs) == 2 and shared_images(theirs, twice) == 1


def test_a_fingerprint_knows_pixels_labels_and_order():
    splits = load_dataset("digits", Path("nowhere"))
    known = dataset_fingerprint(splits)
    assert known == dataset_fingerprint(load_dataset("digits", Path("elsewhere")))
    train = splits.train
    pixels, labels = train.images.clone(), train.labels.clone()
    pixels[5, 0, 3, 3] ^= 1
    labels[5] = (labels[5] + 1) % 10
    for other in (
        Split(pixels, train.labels, train.ids, train.classes),
        Split(train.images, labels, train.ids, train.classes),
        train.at(torch.arange(len(train)).flip(0)),
    ):
        assert dataset_fingerprint(Splits(other, splits.validation, splits.test)) != known


OVERLAP = {1100: 24083, 1357: 32205}
"""Two of the ten test images of CIFAR-100 that are also training images, with their rows; each is in a mosaic of 2,000."""


def test_cifar100_has_test_images_that_are_training_images(unpack):
    def mosaic(split: str, number: int) -> Split:
        pixels = unpack.np.asarray(unpack._dec(unpack.rd(f"cifar100/{split}_{number:02d}.jxl")))
        pixels = pixels.reshape(40, 32, 50, 32, 3).transpose(0, 2, 4, 1, 3).reshape(2000, 3, 32, 32)
        rows = torch.arange(2000)
        return Split(torch.from_numpy(pixels.copy()), rows, rows + 2000 * number, ("any",))

    test = mosaic("test", 0)
    train = [mosaic("train", row // 2000) for row in OVERLAP.values()]
    assert [shared_images(test, each) for each in train] == [1, 1]
    found = np.isin(
        image_digests(test.images), np.concatenate([image_digests(each.images) for each in train])
    )
    assert test.ids[torch.from_numpy(found)].tolist() == list(OVERLAP)
