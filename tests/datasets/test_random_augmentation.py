"""Random augmentation: what is drawn depends on seed, epoch, step and column alone."""

import pytest
import torch

from rdl_cli.core.errors import UserError
from rdl_cli.core.seeds import Seeds
from rdl_cli.datasets.augmentation import VIEWS
from rdl_cli.datasets.base import Split
from rdl_cli.datasets.loader import Batches
from rdl_cli.datasets.preprocessing import PREPROCESSING
from rdl_cli.datasets.random_augmentation import make_augmentation

SPECS = ["RandomResizedCrop:size=8,scale=(0.3,1),antialias=True", "ColorJitter:brightness=0.5"]


def split_of(n: int, first: int = 0) -> Split:
    generator = torch.Generator().manual_seed(n)
    images = torch.randint(0, 256, (n, 3, 8, 8), generator=generator, dtype=torch.uint8)
    ids = torch.arange(first, first + n)
    return Split(images, ids % 2, ids, ("a", "b"))


def batches(labelled: Split, unlabelled: Split | None = None, steps: int = 3) -> Batches:
    unit = PREPROCESSING.make("unit", labelled)
    augmentation = make_augmentation(SPECS)
    return Batches(
        labelled, unlabelled, 6, VIEWS.make("hflip"), unit, steps=steps, augmentation=augmentation
    )


def images(stream: Batches, epoch: int = 0, seed: int = 0, **process) -> list[torch.Tensor]:
    return [batch.images for batch in stream.epoch(Seeds(seed), epoch, **process)]


def test_augmentation_differs_by_image_step_epoch_and_seed():
    one = split_of(1)
    repeated = one.at(torch.zeros(20, dtype=torch.long))
    drawn = torch.cat([torch.cat(images(batches(repeated), e, s)) for e in (0, 1) for s in (0, 1)])
    assert len(drawn.flatten(1).unique(dim=0)) == len(drawn) == 72


def test_augmentation_is_equal_after_a_resume_and_in_every_process():
    stream = batches(split_of(20))
    whole, again = images(stream, 2), images(batches(split_of(20)), 2)
    assert all(map(torch.equal, whole, again))
    assert all(map(torch.equal, whole[2:], images(stream, 2, first=2)))
    parts = [images(stream, 2, rank=rank, world=2) for rank in range(2)]
    for step, batch in enumerate(whole):
        for rank in range(2):
            assert torch.equal(parts[rank][step], batch[rank::2])


def test_augmentation_of_labelled_images_does_not_depend_on_the_unlabelled():
    alone = images(batches(split_of(20)))
    together = images(batches(split_of(20), split_of(40, 100)))
    assert all(torch.equal(a, b[:6]) for a, b in zip(alone, together, strict=True))


def test_augmentation_leaves_the_global_generator_and_evaluation_alone():
    split = split_of(20)
    stream = batches(split)
    before = torch.get_rng_state()
    images(stream)
    assert torch.equal(torch.get_rng_state(), before)
    plain = torch.cat([batch.images for batch in stream.in_order()])
    torch.testing.assert_close(plain, split.images / 255)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("RandomCrop:size=4", r"makes 3 × 4 × 4 uint8 of 3 × 8 × 8 uint8"),
        ("ToDtype:dtype=float", "dtype must be a dict or a torch.dtype"),
        ("RandomCrop:size=99", "fails for images of 3 × 8 × 8"),
        ("ColourJitter", "no transform .* `ColourJitter`; did you mean `ColorJitter`"),
        ("ColorJitter:hue=", "`--augment ColorJitter:hue=`"),
        ("ColorJitter:hue=0.1,colour=2", "unexpected keyword argument 'colour'"),
        ("ColorJitter:0.1", "is not a list of option=value"),
        ("ColorJitter:hue=__import__('os')", "malformed node"),
    ],
)
def test_augmentation_refuses_what_is_no_transform_of_the_images(spec: str, message: str):
    split = split_of(20)
    with pytest.raises(UserError, match=message):
        Batches(
            split,
            None,
            6,
            VIEWS.make("none"),
            PREPROCESSING.make("unit", split),
            augmentation=make_augmentation([spec]),
        )
