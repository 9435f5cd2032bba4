"""Elastic and affine deformations of small images, each a function of its index alone."""

import numpy as np
import torch
from torch.nn.functional import grid_sample

from rdl_cli.core.seeds import Seeds
from rdl_cli.datasets.augmentation import shift

SMOOTHNESS = 4.0  # px, sd of the Gaussian
MOTION = 1.0  # px, root mean square over the image, in each direction
ROTATION = np.deg2rad(10)
SCALE = 0.1


def deform(images: np.ndarray, index: np.ndarray, seed: int) -> np.ndarray:
    """Return each square image, uint8 (n, side, side), with the deformation of its index.

    Every pixel moves by smoothed noise. Half of the images are also rotated by up to 10° and scaled
    by up to 10 %. Each is then shifted by at most one pixel, to one of nine places. Similar to
    InfiMNIST's fields, whose generation is unpublished. In float64 throughout: float32 rounding of
    a matrix product depends on block size and machine, and would change pixels.
    """
    n, side = images.shape[:2]
    noise = torch.from_numpy(uniform(Seeds(seed).number("deformation"), index, 2 * side * side + 4))
    motion, (affine, angle, scale, place) = noise[:, :-4].view(n, 2, side, side), noise[:, -4:].T
    smooth = _gaussian_filter(side)
    motion = smooth @ (2 * motion - 1) @ smooth.T
    motion *= MOTION / motion.square().mean((2, 3), keepdim=True).sqrt()

    place_px = torch.arange(side, dtype=torch.float64) - (side - 1) / 2  # from the centre
    angle, scale = (
        ROTATION * (2 * angle - 1) * (affine < 0.5),
        1 + SCALE * (2 * scale - 1) * (affine < 0.5),
    )
    cosine, sine = (scale * angle.cos())[:, None, None], (scale * angle.sin())[:, None, None]
    x = cosine * place_px - sine * place_px[:, None] + motion[:, 0]
    y = sine * place_px + cosine * place_px[:, None] + motion[:, 1]
    grid = torch.stack([x, y], dim=3) * 2 / (side - 1)
    warped = grid_sample(
        torch.from_numpy(images).double()[:, None],
        grid,
        mode="bilinear",
        padding_mode="zeros",
        align_corners=True,
    )
    return shift(pixels="1").apply(warped.round().to(torch.uint8), (9 * place).long())[:, 0].numpy()


def uniform(seed: int, index: np.ndarray, count: int) -> np.ndarray:
    """Return `count` numbers from [0, 1) for each index, float64 (n, count).

    SplitMix64 of (seed, index, place), so that no number depends on the other indices. Seeding a
    generator of NumPy or PyTorch for each image takes longer than deforming it.
    """
    streams = _mix(_mix(np.asarray(index).astype(np.uint64) + np.uint64(1)) ^ np.uint64(seed))
    places = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return (_mix(streams[:, None] + places) >> np.uint64(11)) * 2.0**-53


def _mix(x: np.ndarray) -> np.ndarray:
    """Return SplitMix64's finalizer of x (Steele, Lea & Flood 2014), modulo 2^64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _gaussian_filter(side: int) -> torch.Tensor:
    place_px = torch.arange(side, dtype=torch.float64)
    return torch.exp(-((place_px - place_px[:, None]) ** 2) / (2 * SMOOTHNESS**2))
