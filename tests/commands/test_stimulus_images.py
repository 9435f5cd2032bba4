"""Stimuli are resized to a network's input as Pillow does it."""

import numpy as np
import pytest
import torch
from PIL import Image

from rdl_cli.commands.stimulus_images import resize_to_network
from rdl_cli.core.errors import UserError
from rdl_cli.networks.factory import InputShape


@pytest.fixture
def images():
    rng = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, 3, 35, 35), generator=rng, dtype=torch.uint8)


def to_pillow(image):
    return Image.fromarray(image.permute(1, 2, 0).numpy())


def max_difference(images, expected):
    expected = torch.from_numpy(np.stack([np.atleast_3d(np.asarray(one)) for one in expected]))
    return (images.permute(0, 2, 3, 1).int() - expected.int()).abs().max()


def test_resize_to_network_scales_as_pillow(images):
    resized, _ = resize_to_network(images, InputShape(3, 8, 8))
    expected = [to_pillow(image).resize((8, 8), Image.Resampling.BILINEAR) for image in images]
    assert max_difference(resized, expected) <= 1


def test_resize_to_network_makes_grey_as_pillow(images):
    grey, changes = resize_to_network(images, InputShape(1, 35, 35))
    assert max_difference(grey, [to_pillow(image).convert("L") for image in images]) <= 1
    assert changes == "RGB made grey"


def test_resize_to_network_keeps_images_that_fit(images):
    grey = images[:, :1]
    same, changes = resize_to_network(grey, InputShape(1, 35, 35))
    assert torch.equal(same, grey) and changes == "as they are"
    coloured, changes = resize_to_network(grey, InputShape(3, 35, 35))
    assert torch.equal(coloured, grey.expand(-1, 3, -1, -1)) and changes == "grey as RGB"
    changes = resize_to_network(grey, InputShape(1, 8, 10))[1]
    assert changes.endswith("their proportions changed")


def test_resize_to_network_refuses_other_channels(images):
    with pytest.raises(UserError, match="3 channels, the network takes 2"):
        resize_to_network(images, InputShape(2, 35, 35))
