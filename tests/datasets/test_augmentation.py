"""Laws of every set of views."""

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
def test_views_start_with_the_image_itself(spec: str, images: torch.Tensor):
    views = VIEWS.make(spec)
    assert (
        views.spec == spec
        and views.names[0] == "identity"
        and len(views) == len(views.names) == len(set(views.names))
    )
    assert torch.equal(seen(views, images, 0), images)


@pytest.mark.parametrize("spec", SPECS)
def test_views_differ_and_apply_per_image(spec: str, images: torch.Tensor):
    views, before = VIEWS.make(spec), images.clone()
    all_views = torch.stack([seen(views, images, view) for view in range(len(views))])
    assert all_views.dtype == torch.uint8 and all_views.shape[1:] == images.shape
    assert len(all_views[:, 0].flatten(1).unique(dim=0)) == len(views)
    drawn = torch.randint(0, len(views), (len(images),), generator=torch.Generator().manual_seed(2))
    assert torch.equal(views.apply(images, drawn), all_views[drawn, torch.arange(len(images))])
    assert torch.equal(images, before)


def test_hflip_twice_is_the_image_itself(images: torch.Tensor):
    flip = VIEWS.make("hflip")
    assert torch.equal(seen(flip, seen(flip, images, 1), 1), images)
    assert np.array_equal(seen(flip, images, 1).numpy(), np.flip(images.numpy(), 3))


@pytest.mark.parametrize("pixels", [1, 2])
def test_shift_moves_and_pads_with_zeros(pixels: int, images: torch.Tensor):
    views = VIEWS.make(f"shift:{pixels}")
    assert len(views) == (2 * pixels + 1) ** 2
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
def test_views_refuse_wrong_specs(spec: str):
    with pytest.raises(UserError):
        VIEWS.make(spec)


@pytest.mark.parametrize(
    ("spec", "count"), [("hflip+shift:4", 162), ("shift:1+hflip", 18), ("none+hflip+shift:1", 18)]
)
def test_views_joined_by_plus_are_all_combinations(spec: str, count: int):
    views = VIEWS.make(spec)
    assert (len(views), len(set(views.names)), views.spec) == (count, count, spec)
    assert views.names[0] == "identity"
    images = torch.randint(0, 256, (count, 2, 9, 9), dtype=torch.uint8)
    shown = views.apply(images, torch.arange(count))
    assert torch.equal(shown[0], images[0])
    for view, name in enumerate(views.names):
        expected = images[view : view + 1]
        for part in name.split(", "):
            single = next(v for v in map(VIEWS.make, ("hflip", "shift:4")) if part in v.names)
            expected = single.apply(expected, torch.tensor([single.names.index(part)]))
        assert torch.equal(shown[view], expected[0])


def test_views_of_a_combination_shift_by_the_sum():
    assert VIEWS.make("shift:1+shift:2").max_shift == 3
    with pytest.raises(UserError, match="no set of views `hflop`"):
        VIEWS.make("shift:1+hflop")


def test_views_accept_plug_ins(tmp_path, monkeypatch):
    (tmp_path / "turned_views.py").write_text(
        "from rdl_cli.datasets.augmentation import Views\n"
        "def turned(*, quarters: int = 1):\n"
        "    turn = lambda images, views: images.rot90(quarters, (2, 3))\n"
        "    return Views('turned', ('turned',), turn)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    images = torch.randint(0, 256, (3, 1, 4, 4), dtype=torch.uint8)
    views = VIEWS.make("turned_views:turned:quarters=2+hflip")
    shown = views.apply(images, torch.tensor([1, 1, 1]))
    assert torch.equal(shown, images.rot90(2, (2, 3)).flip(3))
