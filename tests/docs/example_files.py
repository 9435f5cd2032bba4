"""Small files of the kinds that readers of the documentation have: stimuli, RDMs, responses."""

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat
from scipy.spatial.distance import pdist, squareform

CATEGORIES = ("animate", "inanimate")


def brain(folder: Path, n: int = 92, subjects: int = 4, voxels: int = 60) -> None:
    """Write `92images/`, `fmri.mat`, `responses.npy` and `categories.csv` into a folder.

    `fmri.mat` holds correlation distances, subjects × n × n, of two regions. IT follows coarse
    features of the images, EVC follows nothing. `responses.npy` holds the responses of one subject,
    runs × stimuli × voxels.
    """
    rng = np.random.default_rng(0)
    images = folder / "92images"
    images.mkdir()
    names = [f"{number:02}.png" for number in range(1, n + 1)]
    animate = np.arange(n) < n // 2
    coarse = rng.integers(0, 156, (n, 4, 4), dtype=np.uint8)
    coarse[animate, :2] += 100
    for name, pixels in zip(names, coarse, strict=True):
        Image.fromarray(pixels).resize((32, 32), Image.Resampling.BICUBIC).save(images / name)
    features = (coarse.reshape(n, 16) - 128) / 128
    signals = {
        "EVC_RDMs": rng.standard_normal((n, voxels)),
        "IT_RDMs": features @ rng.standard_normal((16, voxels)),
    }
    rdms = {
        region: np.stack([_rdm(signal, rng) for _ in range(subjects)])
        for region, signal in signals.items()
    }
    savemat(folder / "fmri.mat", rdms)
    noise = rng.standard_normal((3, n, voxels))
    np.save(folder / "responses.npy", signals["IT_RDMs"] + noise)
    rows = [f"{name},{CATEGORIES[not kind]}" for name, kind in zip(names, animate, strict=True)]
    (folder / "categories.csv").write_text("name,category\n" + "\n".join(rows) + "\n")


def _rdm(signal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the RDM of one subject: the signal with noise, n × n."""
    return squareform(pdist(signal + rng.standard_normal(signal.shape), "correlation"))


def photos(folder: Path, side: int = 32, images_per_class: int = 40) -> None:
    """Write `photos/CLASS/*.png`: stripes of three orientations, in colour, with noise."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side]
    for angle, name in enumerate(("flat", "tilted", "steep")):
        home = folder / "photos" / name
        home.mkdir(parents=True)
        slope = angle * np.pi / 4
        for number in range(images_per_class):
            wave = np.sin((np.cos(slope) * rows + np.sin(slope) * columns) / 2 + rng.uniform(0, 6))
            noise = rng.uniform(-40, 40, (side, side, 3))
            pixels = (128 + 80 * wave[..., None] + noise).astype(np.uint8)
            Image.fromarray(pixels).save(home / f"{number:03}.png")
