"""Small stores of layers and brains, and comparisons of them."""

import numpy as np
from scipy.spatial.distance import pdist

from rdl_cli.commands.compare_rdms.compare_rdms import compare_rdms
from rdl_cli.commands.settings import CompareRdmsSettings
from rdl_cli.store.layout import ActivationSpec, RdmSpec
from rdl_cli.store.store import Stimuli
from rdl_cli.store.writer import create_store

N = 12
RNG = np.random.default_rng(0)
TRUTH = RNG.normal(size=(N, 6))
QUICK = {"tv": "tv:samples=200", "jsd": "jsd:samples=200", "js-distance": "js-distance:samples=200"}


def digest(k):
    return f"{k:064x}"


def stimuli(ids=range(N), named=True, labels=None, known=True):
    digests = np.array([digest(k) if known else "" for k in ids], "S64")
    return Stimuli(digests, np.array([f"{k}.png" for k in ids]) if named else None, labels)


def store(path, layers, about=None):
    """Write activations (n ...) and RDMs: `{name: array | (RDMs (k, p), subjects, distance)}`."""
    specs = []
    for name, value in layers.items():
        if isinstance(value, tuple):
            specs.append(RdmSpec(name, len(value[0]), "float64", value[2], name, "", value[1]))
        else:
            specs.append(ActivationSpec(name, value.shape[1:], "float32", ("identity",), "mse"))
    with create_store(
        path, stimuli() if about is None else about, {"command": "test"}, specs, "f"
    ) as writer:
        for name, value in layers.items():
            if isinstance(value, tuple):
                for k, values in enumerate(value[0]):
                    writer.write_rdm(name, k, 0, values)
            else:
                writer.write(name, 0, value.astype(np.float32), 0)
    return path


def noisy(seed, amount=1.0, d=6):
    rng = np.random.default_rng(seed)
    return TRUTH @ rng.normal(size=(6, d)) + amount * rng.normal(size=(N, d))


def subjects(count, seed, amount=1.0):
    return np.stack([pdist(noisy(seed + s, amount), "correlation") for s in range(count)])


def compare(*paths, **settings):
    return compare_rdms(
        list(paths), CompareRdmsSettings(**{"n_resamples": 0, "device": "cpu"} | settings)
    )
