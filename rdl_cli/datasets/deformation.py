"""Elastic and affine deformations of small pictures, each a function of its number alone."""

import numpy as np
import torch
from torch.nn.functional import grid_sample

from rdl_cli.core.seeds import Seeds
from rdl_cli.datasets.augmentation import shift

SMOOTHNESS = 4.0  # px, sd of the Gaussian
MOTION = 1.0  # px, root mean square over the picture, in each direction
ROTATION = np.deg2rad(10)
SCALE = 0.1


def deform(pictures: np.ndarray, index: np.ndarray, seed: int) -> np.ndarray:
    """Each square picture, uint8 (n, side, side), deformed as its index says.

    Every pixel is moved by smoothed noise; half of the pictures are turned by up to 10° and scaled by up to 10 % as well; then
    each is moved by at most one pixel to one of nine places. In the spirit of InfiMNIST's fields, whose making is not
    published. In float64 throughout: in float32 the rounding of a matrix product, which depends on the size of the block
    and on the machine, would show in the pixels.
    """
    n, side = pictures.shape[:2]
    noise = torch.from_numpy(uniform(Seeds(seed).number("deformation"), index, 2 * side * side + 4))
    motion, (affine, angle, scale, place) = noise[:, :-4].view(n, 2, side, side), noise[:, -4:].T
    smooth = _gaussian(side)
    motion = smooth @ (2 * motion - 1) @ smooth.T
    motion *= MOTION / motion.square().mean((2, 3), keepdim=True).sqrt()

    at = torch.arange(side, dtype=torch.float64) - (side - 1) / 2  # px from the centre
    angle, scale = (
        ROTATION * (2 * angle - 1) * (affine < 0.5),
        1 + SCALE * (2 * scale - 1) * (affine < 0.5),
    )
    cosine, sine = (scale * angle.cos())[:, None, None], (scale * angle.sin())[:, None, None]
    x = cosine * at - sine * at[:, None] + motion[:, 0]
    y = sine * at + cosine * at[:, None] + motion[:, 1]
    grid = torch.stack([x, y], dim=3) * 2 / (side - 1)
    warped = grid_sample(
        torch.from_numpy(pictures).double()[:, None],
        grid,
        mode="bilinear",
        padding_mode="zeros",
        align_corners=True,
    )
    return shift(pixels="1").apply(warped.round().to(torch.uint8), (9 * place).long())[:, 0].numpy()


def uniform(seed: int, index: np.ndarray, count: int) -> np.ndarray:
    """`count` numbers from [0, 1) for each index, float64 (n, count), whatever else is asked for: SplitMix64 of (seed, index, place).

    NumPy's and PyTorch's generators would have to be seeded once for each picture, which takes longer than the picture.
    """
    streams = _mixed(_mixed(np.asarray(index).astype(np.uint64) + np.uint64(1)) ^ np.uint64(seed))
    places = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return (_mixed(streams[:, None] + places) >> np.uint64(11)) * 2.0**-53


def _mixed(x: np.ndarray) -> np.ndarray:
    """SplitMix64's finalizer (Steele, Lea & Flood 2014), modulo 2^64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _gaussian(side: int) -> torch.Tensor:
    at = torch.arange(side, dtype=torch.float64)
    return torch.exp(-((at - at[:, None]) ** 2) / (2 * SMOOTHNESS**2))
