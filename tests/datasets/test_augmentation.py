"""Laws of every set of views: the picture itself first, as many different views as are promised, nothing changed in place."""

import numpy as np
import pytest
import torch

from rdl_cli.core.errors import UserError
from rdl_cli.datasets.augmentation import VIEWS, Views

SPECS = ["shift:1" if name == "shift" else name for name in VIEWS] + ["shift:2"]


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(
        1, 256, (6, 3, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )


def seen(views: Views, images: torch.Tensor, view: int) -> torch.Tensor:
    return views.apply(images, torch.full((len(images),), view))


@pytest.mark.parametrize("spec", SPECS)
def test_view_0_is_the_picture_itself(spec: str, images: torch.Tensor):
    views = VIEWS.make(spec)
    assert (
        views.spec == spec
        and views.names[0] == "identity"
        and len(views) == len(views.names) == len(set(views.names))
    )
    assert torch.equal(seen(views, images, 0), images)


@pytest.mark.parametrize("spec", SPECS)
def test_views_differ_and_each_picture_gets_its_own(spec: str, images: torch.Tensor):
    views, before = VIEWS.make(spec), images.clone()
    each = torch.stack([seen(views, images, view) for view in range(len(views))])
    assert each.dtype == torch.uint8 and each.shape[1:] == images.shape
    assert len(each[:, 0].flatten(1).unique(dim=0)) == len(views)
    drawn = torch.randint(0, len(views), (len(images),), generator=torch.Generator().manual_seed(2))
    assert torch.equal(views.apply(images, drawn), each[drawn, torch.arange(len(images))])
    assert torch.equal(images, before)


def test_a_picture_flipped_twice_is_itself(images: torch.Tensor):
    flip = VIEWS.make("hflip")
    assert torch.equal(seen(flip, seen(flip, images, 1), 1), images)
    assert np.array_equal(seen(flip, images, 1).numpy(), np.flip(images.numpy(), 3))


@pytest.mark.parametrize("reach", [1, 2])
def test_a_shift_moves_and_brings_in_zeros(reach: int, images: torch.Tensor):
    views = VIEWS.make(f"shift:{reach}")
    assert len(views) == (2 * reach + 1) ** 2
    height, width = images.shape[2:]
    for view, name in enumerate(views.names[1:], start=1):
        _, down, _, right = name.split()
        expected = torch.zeros_like(images)
        for y in range(height):
            for x in range(width):
                from_y, from_x = y - int(down), x - int(right)
                if 0 <= from_y < height and 0 <= from_x < width:
                    expected[:, :, y, x] = images[:, :, from_y, from_x]
        assert torch.equal(seen(views, images, view), expected), name


@pytest.mark.parametrize(
    "spec", ["shift", "shift:0", "shift:-1", "shift:one", "hflop", "hflip:p=1"]
)
def test_a_wrong_name_teaches(spec: str):
    with pytest.raises(UserError):
        VIEWS.make(spec)
