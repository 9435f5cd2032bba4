"""Small stores for the tests of this folder."""

from pathlib import Path

import numpy as np

from rdl_cli.core.checksum import pixel_digests
from rdl_cli.store.layout import ActivationSpec, RdmSpec
from rdl_cli.store.store import Stimuli, Store
from rdl_cli.store.writer import create_store

IDENTITY = ("identity",)


def make_stimuli(n=7, seed=0, only=("digests", "names", "labels", "images")):
    """Return n stimuli; `digests` are those of the images."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, 1, 4, 4), dtype=np.uint8)
    columns = {
        "digests": pixel_digests(images),
        "names": np.array([f"bild {i} – ü.png" for i in range(n)]),
        "labels": rng.integers(-1, 10, n),
        "images": images,
    }
    return Stimuli(**{key: columns[key] for key in only})


def write_store(path: Path, stimuli=None, layers=(), provenance=None, **options) -> Store:
    """Write a store of pairs (spec, values), in small blocks, and open it."""
    stimuli = stimuli or make_stimuli()
    specs = [spec for spec, _ in layers]
    record = provenance or {"command": "test"}
    with create_store(path, stimuli, record, specs, "f", **options) as writer:
        for spec, values in layers:
            if isinstance(spec, ActivationSpec):
                for view in range(len(spec.views)):
                    for start in range(0, values.shape[1], 3):
                        writer.write(spec.name, start, values[view, start : start + 3], view)
            elif isinstance(spec, RdmSpec):
                for index in range(spec.count):
                    for start in range(0, values.shape[1], 5):
                        part = values[index, start : start + 5]
                        writer.write_rdm(spec.name, index, start, part)
            else:
                writer.write_kernel(spec.name, 0, values)
    return Store.open(path)


def rdm_layer(name="V1", value=1.0, n=7, count=1, dtype="float32", distance="mse", **options):
    """Return a spec and RDMs in which all distances are equal."""
    values = np.full((count, n * (n - 1) // 2), value)
    return RdmSpec(name, count, dtype, distance, **options), values


def activation_layer(name="fc", shape=(5,), views=IDENTITY, dtype="float32", n=7, **options):
    """Return a spec and random activations."""
    values = np.random.default_rng(4).normal(size=(len(views), n, *shape)).astype(dtype)
    return ActivationSpec(name, shape, dtype, views, "mse", **options), values
