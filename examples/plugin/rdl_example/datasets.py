"""A data set: three splits of uint8 images with labels."""

from pathlib import Path

import torch

from rdl_cli.datasets.base import Split, Splits


def stripes(root: Path, download: bool, *, images: int = 600) -> Splits:
    """Return grey stripes of 8 × 8 pixels in four orientations, made by this function.

    `root` is the folder of data sets, and `download` is true with `--download`; both are not used.
    Splits must be equal at each call: a run records the digests of its images.
    """
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(images) % 4
    angles = labels * torch.pi / 4
    phases = 6.28 * torch.rand(images, generator=rng)
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    waves = angles.cos()[:, None, None] * rows + angles.sin()[:, None, None] * columns
    noise = 0.3 * torch.randn(images, 8, 8, generator=rng)
    values = 128 + 100 * (torch.sin(1.5 * waves + phases[:, None, None]) + noise)
    whole = Split(
        values.clamp(0, 255).to(torch.uint8)[:, None],
        labels,
        torch.arange(images),
        ("horizontal", "falling", "vertical", "rising"),
    )
    order = torch.randperm(images, generator=rng)
    test, validation = images // 4, images // 4
    return Splits(
        train=whole.at(order[test + validation :]),
        validation=whole.at(order[test : test + validation]),
        test=whole.at(order[:test]),
    )
